import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Ipv4 } from "../model/ip.ts";
import { cidrContains, parseCidr, parseIpv4 } from "../model/ip.ts";
import { parseIpv6 } from "../model/ip6.ts";
import { parseNetworkObject } from "../model/network-config.ts";
import { checkPublication } from "./check-publication.ts";
import { chooseVirtualAddress } from "./choose-virtual-address.ts";
import { endpointAt } from "./outside.fixture.ts";
import { chooseImportOwner, isImported, planImportDuties, renderImport, targetKey } from "./plan-imports.ts";
import { planStaleFlows } from "./plan-stale-flows.ts";
import { virtual6Of } from "./address6.ts";

const ip = parseIpv4;

test("chooseVirtualAddress() gives every name another address of the range, until there is none", () => {
  const range = "10.3.0.0/28";
  const taken = new Map<Ipv4, string>();
  for (let number = 0; number < 14; number++) {
    const address = chooseVirtualAddress({ name: `s${number}`, range, taken, wanted: null });
    expect([taken.has(address), cidrContains(parseCidr(range), address)]).toEqual([false, true]);
    expect(["10.3.0.0", "10.3.0.15"]).not.toContain(address);
    taken.set(address, `s${number}`);
  }
  expect(() => chooseVirtualAddress({ name: "more", range, taken, wanted: null })).toThrow(/all 14/);
});

test("chooseVirtualAddress() finds a name where it was, and refuses a wish that cannot be", () => {
  const want = { name: "web", range: "10.3.0.0/16", taken: new Map<Ipv4, string>(), wanted: null };
  expect(chooseVirtualAddress(want)).toBe(chooseVirtualAddress(want));
  expect(() => chooseVirtualAddress({ ...want, wanted: ip("10.4.0.1") })).toThrow(/not one of 10.3.0.0/);
  expect(() => chooseVirtualAddress({ ...want, wanted: ip("10.3.255.255") })).toThrow(/not one of/);
  const taken = new Map([[ip("10.3.0.9"), "db"]]);
  expect(() => chooseVirtualAddress({ ...want, taken, wanted: ip("10.3.0.9") })).toThrow(/"db" has it/);
});

test("checkPublication() refuses ports of the platform, of apps, and of publications on hosts that can be the same", () => {
  const publication = (name: string, port: number, hosts = {}, protocol = "tcp") =>
    parseNetworkObject("publication", { name, service: "web", port, hosts, protocol });
  const others = [publication("one", 8080, { role: "edge" })];
  const apps = new Map([["9000/tcp", "/shop"]]);
  const refused = (wanted: ReturnType<typeof publication>) => () => checkPublication(wanted, others, apps);
  expect(refused(publication("new", 80))).toThrow(/the ingress has it/);
  expect(refused(publication("new", 9000))).toThrow(/app "\/shop"/);
  expect(refused(publication("new", 8080))).toThrow(/publication "one"/);
  expect(refused(publication("new", 8080, { disk: "ssd" }))).toThrow(/publication "one"/);
  for (const fine of [
    publication("new", 8080, { role: "core" }),
    publication("new", 8080, {}, "udp"),
    publication("one", 8080),
    publication("new", 80, {}, "udp"),
  ]) {
    expect(refused(fine)).not.toThrow();
  }
});

const anyHosts = fc.uniqueArray(
  fc.record({ name: fc.stringMatching(/^h[0-9]{1,3}$/), address: fc.constant(ip("192.0.2.1")), up: fc.boolean() }),
  { selector: ({ name }) => name, maxLength: 12 },
);

test("property: an import has one owner that is up, and a host that goes moves only its own", () => {
  fc.assert(
    fc.property(anyHosts, fc.array(fc.string({ minLength: 1 }), { maxLength: 10 }), (hosts, names) => {
      const [gone] = hosts.filter(({ up }) => up);
      for (const name of names) {
        const owner = chooseImportOwner(name, hosts);
        expect(owner === null).toBe(hosts.every(({ up }) => !up));
        if (owner !== null) expect(hosts.find((host) => host.name === owner)?.up).toBe(true);
        const without = chooseImportOwner(
          name,
          hosts.filter((host) => host !== gone),
        );
        if (owner !== gone?.name) expect(without).toBe(owner);
      }
    }),
  );
});

test("chooseImportOwner() spreads imports over the hosts", () => {
  const hosts = ["host-1", "host-2", "host-3"].map((name) => ({ name, address: ip("192.0.2.1"), up: true }));
  const owners = Array.from({ length: 300 }, (_, at) => chooseImportOwner(`db-${at}`, hosts));
  for (const { name } of hosts) expect(owners.filter((owner) => owner === name).length).toBeGreaterThan(60);
});

test("planImportDuties() keeps what a host has until the new owner has registered it", () => {
  const imported = parseNetworkObject("import", { name: "db", targets: [{ address: "192.0.2.9", port: 5432 }] });
  const hosts = ["h1", "h2"].map((name) => ({ name, address: ip("192.0.2.1"), up: true }));
  const owner = chooseImportOwner("db", hosts) ?? "";
  const other = owner === "h1" ? "h2" : "h1";
  const duties = (hostName: string, holders: readonly string[]) => {
    const [duty] = planImportDuties({ imports: [imported], hosts, hostName: owner, present: [] });
    if (duty === undefined) throw new Error("The owner has no duty");
    const present = holders.map((host) => renderImport(duty, host, new Map()));
    return planImportDuties({ imports: [imported], hosts, hostName, present }).length;
  };
  expect([duties(owner, []), duties(other, []), duties(other, [other]), duties(other, [other, owner])]).toEqual([
    1, 0, 1, 0,
  ]);
});

test("renderImport() is critical until the target was reached, unless nobody looks", () => {
  const made = (more: object, health: ReadonlyMap<string, boolean>) => {
    const imported = parseNetworkObject("import", {
      name: "db",
      targets: [{ address: "192.0.2.9", port: 53 }],
      ...more,
    });
    const [target] = imported.targets;
    if (target === undefined) throw new Error("no target");
    return renderImport({ imported, target, key: "k" }, "h1", health);
  };
  expect(isImported(made({}, new Map()))).toBe(true);
  expect(isImported(endpointAt("db", "h1 10.2.1.5:53/tcp"))).toBe(false);
  expect([
    made({}, new Map()).health,
    made({}, new Map([["k", true]])).health,
    made({ check: "none" }, new Map()).health,
    made({ protocol: "udp" }, new Map()).health,
  ]).toEqual(["critical", "passing", "passing", "passing"]);
});

test("planStaleFlows() ends flows to endpoints that are gone, and no flow of anybody else", () => {
  const backend = { address: ip("10.2.1.5"), port: 5353, weight: 1 };
  const front = { protocol: "udp", affinity: "none", family: 4 } as const;
  const fronts = [
    { ...front, id: "a", address: ip("10.3.0.7"), port: 53, backends: [backend] },
    { ...front, id: "b", address: null, port: 53, backends: [backend] },
    { ...front, id: "c", address: null, port: 54, backends: [] },
  ];
  const flow = (destination: string, port: number, answerFrom: string, answerPort: number) => ({
    destination: ip(destination),
    port,
    answerFrom: ip(answerFrom),
    answerPort,
  });
  const stale = [
    flow("10.3.0.7", 53, "10.2.1.6", 5353),
    flow("10.3.0.8", 53, "10.2.1.5", 5353),
    flow("10.3.0.7", 53, "10.3.0.7", 53),
    flow("192.0.2.1", 53, "10.2.2.5", 5353),
    flow("192.0.2.1", 53, "192.0.2.1", 53),
    flow("192.0.2.1", 54, "10.2.2.5", 5353),
  ];
  const fine = [
    flow("10.3.0.7", 53, "10.2.1.5", 5353),
    flow("192.0.2.1", 53, "10.2.1.5", 5353),
    flow("192.0.2.1", 54, "192.0.2.1", 54),
    flow("192.0.2.1", 55, "172.17.0.2", 55),
    flow("198.51.100.9", 53, "198.51.100.9", 53),
  ];
  const hostAddresses = new Set([ip("192.0.2.1")]);
  const flows = [...stale, ...fine];
  expect(planStaleFlows({ fronts, flows, virtualRange: "10.3.0.0/16", hostAddresses })).toEqual(stale);
});

test("planStaleFlows() judges IPv6 flows by the fronts of their family", () => {
  const six = parseIpv6;
  const front = { protocol: "udp", affinity: "none", family: 6 } as const;
  const backend = { address: six("fd12:3456:789a:0:a02:100:a02:105"), port: 5353, weight: 1 };
  const fronts = [
    { ...front, id: "a", address: six("fd12:3456:789a:0:a03:0:a03:7"), port: 53, backends: [backend] },
    { ...front, id: "b", address: null, port: 53, backends: [backend] },
    { ...front, family: 4, id: "b", address: null, port: 53, backends: [] } as const,
  ];
  const flow = (destination: string, answerFrom: string, answerPort: number) => ({
    destination: six(destination),
    port: 53,
    answerFrom: six(answerFrom),
    answerPort,
  });
  const stale = [
    flow("fd12:3456:789a:0:a03:0:a03:7", "fd12:3456:789a:0:a02:200:a02:205", 5353),
    flow("fd12:3456:789a:0:a03:0:a03:8", "fd12:3456:789a:0:a02:100:a02:105", 5353),
    flow("2001:db8::1", "2001:db8::1", 53),
  ];
  const fine = [
    flow("fd12:3456:789a:0:a03:0:a03:7", "fd12:3456:789a:0:a02:100:a02:105", 5353),
    flow("2001:db8::1", "fd12:3456:789a:0:a02:100:a02:105", 5353),
    flow("2001:db8::9", "2001:db8::9", 53),
  ];
  const virtual6 = virtual6Of("fd12:3456:789a::/64", "10.3.0.0/16");
  const want = { fronts, flows: [...stale, ...fine], hostAddresses: new Set([six("2001:db8::1")]) };
  expect(planStaleFlows({ ...want, virtualRange: "10.3.0.0/16", virtual6 })).toEqual(stale);
});

test("imports may be by IPv6, each target under a name of its own", () => {
  const targets = [
    { address: "2001:db8::9", port: 5432 },
    { address: "192.0.2.9", port: 5432 },
  ];
  const imported = parseNetworkObject("import", { name: "db", targets });
  expect(imported.targets.map((target) => targetKey(imported, target))).toEqual([
    "db:[2001:db8::9]:5432/tcp",
    "db:192.0.2.9:5432/tcp",
  ]);
  // Only the one form that is compared as text.
  for (const address of ["2001:DB8::9", "db.example", "[2001:db8::9]"]) {
    expect(() => parseNetworkObject("import", { name: "db", targets: [{ address, port: 1 }] })).toThrow(/address/);
  }
});
