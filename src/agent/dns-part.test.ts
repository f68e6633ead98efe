import { expect, test } from "bun:test";
import fc from "fast-check";
import { DEFAULT_SETTINGS } from "../model/cluster.ts";
import type { NamedQuery } from "../model/consul.ts";
import type { Endpoint } from "../model/endpoint.ts";
import type { ServiceName } from "../model/ids.ts";
import { parseIpv4 } from "../model/ip.ts";
import { Bench, CONTAINER } from "./dns-part.fixture.ts";

test("createDnsPart() serves loopback first and the bridge when it is there, and only then changes the resolver", async () => {
  const bench = new Bench();
  bench.join();
  await bench.start();
  expect([...bench.listener.open.keys()]).toEqual(["udp 127.0.0.1:8600", "tcp 127.0.0.1:8600"]);
  expect(bench.codes()).toEqual(["info dns-no-bridge"]);
  expect(await bench.ask("h1.node.consul")).toBe("192.0.2.9");
  bench.gateway = parseIpv4("10.2.1.1");
  await bench.clock.tick();
  expect(bench.codes()).toEqual(["error dns-not-bound"]);
  expect(bench.resolver.installed).toBeNull();
  bench.listener.addresses.add("10.2.1.1");
  await bench.clock.tick();
  expect(bench.codes()).toEqual([]);
  expect(await bench.ask("ns.consul", "10.2.1.1:53")).toBe("10.2.1.1");
  expect(bench.resolver.installed).toBe(parseIpv4("10.2.1.1"));
  await bench.stop();
  expect([bench.listener.open.size, bench.resolver.installed]).toEqual([0, null]);
});

test("createDnsPart() is woken by the bridge, and tells once the host's resolver is led to it", async () => {
  const bench = new Bench();
  bench.join();
  await bench.start();
  expect(bench.state.resolverAt).toBeNull();
  const heard: unknown[] = [];
  bench.state.on("resolver", () => heard.push([bench.state.resolverAt, bench.resolver.installed]));
  bench.gateway = parseIpv4("10.2.1.1");
  bench.listener.addresses.add("10.2.1.1");
  bench.state.setConditions("network", []);
  // No sleep ends by itself here.
  for (let turn = 0; turn < 100; turn++) await Promise.resolve();
  expect(heard).toEqual([[parseIpv4("10.2.1.1"), parseIpv4("10.2.1.1")]]);
  bench.gateway = parseIpv4("10.2.7.1");
  bench.listener.addresses.add("10.2.7.1");
  await bench.clock.tick();
  expect(bench.state.resolverAt).toBe(parseIpv4("10.2.7.1"));
  await bench.stop();
});

test("createDnsPart() keeps nobody waiting for a resolver that cannot be led to it, and says why before", async () => {
  const linked = new Bench();
  linked.join();
  linked.gateway = parseIpv4("10.2.1.1");
  linked.listener.addresses.add("10.2.1.1");
  linked.resolver.fault = { code: "resolver-not-managed", severity: "info", text: "a link", hint: "" };
  await linked.start();
  expect(linked.state.resolverAt).toBe(parseIpv4("10.2.1.1"));
  await linked.stop();
  const taken = new Bench();
  taken.join();
  taken.gateway = parseIpv4("10.2.1.1");
  taken.listener.addresses.add("10.2.1.1");
  taken.listener.taken.add("udp 10.2.1.1:53");
  await taken.start();
  const seen: unknown[] = [];
  taken.state.on("resolver", () => seen.push(...taken.codes()));
  expect(taken.state.resolverAt).toBeNull();
  for (let passes = 0; passes < 10; passes += 1) await taken.clock.tick();
  expect([taken.state.resolverAt, seen]).toEqual([parseIpv4("10.2.1.1"), ["error dns-not-bound"]]);
  expect(taken.resolver.installed).toBeNull();
  await taken.stop();
});

test("createDnsPart() answers prepared queries as the server has them", async () => {
  const bench = new Bench();
  bench.join();
  await bench.start();
  const base = {
    port: 80,
    protocol: "tcp",
    meta: {},
    host: "h2",
    container: "c",
    instanceId: null,
    appId: null,
  } as const;
  const web = (id: string, tags: readonly string[]): Endpoint => ({
    ...base,
    id,
    service: "web" as ServiceName,
    address: `10.2.2.${id}`,
    tags,
    health: "passing",
  });
  const upsert = [web("4", ["old"]), web("5", ["new"])];
  bench.state.receive({ type: "catalog", reset: true, revision: 4, upsert, remove: [], hosts: null });
  expect(await bench.ask("front.query.consul")).toBe("NXDOMAIN");
  const service = { service: "web", onlyPassing: false, near: "", tags: ["!old"], nodeMeta: {}, serviceMeta: {} };
  const query: NamedQuery = {
    id: "q1",
    name: "front",
    template: { type: "", regexp: "", removeEmptyTags: false },
    service: { ...service, ignoreCheckIds: [], nearestN: 0, datacenters: [] },
    dnsTtl: "10s",
  };
  bench.state.receive({ type: "consul", consul: { acl: "off", queries: [query] } });
  expect(await bench.ask("Front.query.consul")).toBe("10.2.2.5");
  bench.state.receive({ type: "consul", consul: { acl: "off", queries: [] } });
  expect(await bench.ask("front.query.consul")).toBe("NXDOMAIN");
  await bench.stop();
});

test("createDnsPart() follows a gateway that changes", async () => {
  const bench = new Bench();
  bench.join();
  bench.gateway = parseIpv4("10.2.1.1");
  bench.listener.addresses.add("10.2.1.1").add("10.2.7.1");
  await bench.start();
  bench.gateway = parseIpv4("10.2.7.1");
  await bench.clock.tick();
  expect([...bench.listener.open.keys()].toSorted()).toEqual([
    "tcp 10.2.7.1:53",
    "tcp 127.0.0.1:8600",
    "udp 10.2.7.1:53",
    "udp 127.0.0.1:8600",
  ]);
  expect(bench.resolver.installed).toBe(parseIpv4("10.2.7.1"));
  await bench.stop();
});

test("createDnsPart() lives next to a program that holds Consul's port, and holds no half-bound socket", async () => {
  const bench = new Bench();
  bench.join();
  bench.gateway = parseIpv4("10.2.1.1");
  bench.listener.addresses.add("10.2.1.1");
  bench.listener.taken.add("tcp 127.0.0.1:8600");
  await bench.start();
  expect(bench.codes()).toEqual(["warning dns-not-bound"]);
  expect([...bench.listener.open.keys()]).toEqual(["udp 10.2.1.1:53", "tcp 10.2.1.1:53"]);
  expect(bench.resolver.installed).toBe(parseIpv4("10.2.1.1"));
  bench.listener.taken.clear();
  await bench.clock.tick();
  expect(bench.codes()).toEqual([]);
  await bench.stop();
});

test("createDnsPart() serves IPv6 loopback, too, where a host has it", async () => {
  const bench = new Bench();
  bench.join();
  bench.listener.addresses.add("::1");
  await bench.start();
  expect([...bench.listener.open.keys()]).toContain("udp ::1:8600");
  expect(bench.codes()).toEqual(["info dns-no-bridge"]);
  await bench.stop();
});

test("createDnsPart() gives the kernel what containers ask again, and nothing before its own zone and socket are there", async () => {
  const bench = new Bench();
  bench.gateway = parseIpv4("10.2.1.1");
  await bench.start();
  bench.join();
  expect(bench.kernel.gateway).toBeNull();
  bench.listener.addresses.add("10.2.1.1");
  await bench.clock.tick();
  expect(bench.kernel.gateway).toBe(parseIpv4("10.2.1.1"));
  await bench.ask("h1.node.consul", "10.2.1.1:53");
  expect(bench.askKernel("h1.node.consul")).toEqual([]);
  await bench.ask("h1.node.consul", "10.2.1.1:53");
  expect(bench.askKernel("h1.node.consul")).toEqual(["192.0.2.9"]);
  // The host itself asks by another address, and some containers are to be asked about each time.
  const askTwice = async (client: string): Promise<readonly string[]> => {
    for (let turn = 0; turn < 2; turn++) await bench.ask("h2.node.consul", "10.2.1.1:53", client);
    return bench.askKernel("h2.node.consul");
  };
  expect(await askTwice("192.0.2.9")).toEqual([]);
  bench.state.setSlowRanges("policy", { policy: [`${CONTAINER}/32`], virtual: [] });
  expect(await askTwice(CONTAINER)).toEqual([]);
  bench.state.setSlowRanges("policy", { policy: [], virtual: [] });
  expect(await askTwice(CONTAINER)).toEqual(["NXDOMAIN"]);
  await bench.stop();
});

test("createDnsPart() lets the kernel answer the host where answers of it come back, and only there", async () => {
  const bench = new Bench();
  bench.gateway = parseIpv4("10.2.1.1");
  bench.listener.addresses.add("10.2.1.1");
  bench.dropsKernelAnswers = true;
  bench.join();
  await bench.start();
  const places = (): readonly string[] =>
    bench.kernel.seats.flatMap(({ address, port, uncounted }) => (uncounted === true ? [] : [`${address}:${port}`]));
  const askTwice = async (): Promise<readonly string[]> => {
    for (let turn = 0; turn < 2; turn++) await bench.ask("h1.node.consul", "127.0.0.1:8600", "127.0.0.1");
    return bench.askKernel("h1.node.consul");
  };
  expect([places(), await askTwice()]).toEqual([[], []]);
  bench.dropsKernelAnswers = false;
  await bench.clock.tick();
  expect(places()).toEqual(["10.2.1.1:53", "127.0.0.1:8600"]);
  expect(await askTwice()).toEqual(["192.0.2.9"]);
  bench.dropsKernelAnswers = true;
  await bench.clock.tick();
  expect(places()).toEqual([]);
  await bench.stop();
});

test("createDnsPart() leaves the host's port to the Consul agent that holds it", async () => {
  const bench = new Bench();
  bench.gateway = parseIpv4("10.2.1.1");
  bench.listener.addresses.add("10.2.1.1");
  bench.listener.taken.add("udp 127.0.0.1:8600");
  bench.join();
  await bench.start();
  expect(bench.kernel.seats.map(({ address, port }) => `${address}:${port}`)).toEqual(["10.2.1.1:9", "10.2.1.1:53"]);
  await bench.stop();
});

test.each(["catalog", "hosts", "queries", "settings", "virtual addresses", "own endpoints"] as const)(
  "createDnsPart() takes the kernel's answers back with a change of %s",
  async (what) => {
    const bench = new Bench();
    bench.gateway = parseIpv4("10.2.1.1");
    bench.listener.addresses.add("10.2.1.1");
    bench.join();
    await bench.start();
    for (let turn = 0; turn < 2; turn++) await bench.ask("h1.node.consul", "10.2.1.1:53");
    expect(bench.askKernel("h1.node.consul")).toEqual(["192.0.2.9"]);
    const { state } = bench;
    const changed = (host: string): Endpoint => endpointAt({ host, box: 1, service: "a", last: 1 });
    const hosts = [{ name: "h1", address: parseIpv4("192.0.2.10"), up: true }];
    const catalog = { type: "catalog", reset: false, revision: 9, remove: [] } as const;
    switch (what) {
      case "catalog":
        state.receive({ ...catalog, upsert: [changed("h2")], hosts: null });
        break;
      case "hosts":
        state.receive({ ...catalog, upsert: [], hosts });
        break;
      case "queries":
        state.receive({ type: "consul", consul: { acl: "off", queries: [] } });
        break;
      case "settings":
        bench.join({ ...DEFAULT_SETTINGS, dnsDomain: "other" });
        break;
      case "virtual addresses":
        state.networkConfig = {
          ...state.networkConfig,
          virtuals: [{ name: "v", address: parseIpv4("10.3.0.1"), affinity: "none" }],
        };
        state.emit("network-config");
        break;
      case "own endpoints":
        state.setLocalEndpoints([changed("h1")]);
        break;
    }
    expect(bench.askKernel("h1.node.consul")).toEqual([]);
    await bench.stop();
  },
);

test("property: createDnsPart() follows changes alone and answers as if it had looked at everything", async () => {
  const service = fc.constantFrom("a", "b", "c");
  const place = fc.record({
    host: fc.constantFrom("h1", "h2", "h3"),
    box: fc.nat({ max: 3 }),
    service,
    last: fc.nat({ max: 3 }),
  });
  const change = fc.record({
    kind: fc.constantFrom("delta", "delta", "delta", "reset", "local"),
    upsert: fc.array(place, { maxLength: 4 }),
    remove: fc.array(place, { maxLength: 3 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(change, { maxLength: 12 }), async (changes) => {
      const bench = new Bench();
      bench.gateway = parseIpv4("10.2.1.1");
      bench.listener.addresses.add("10.2.1.1");
      bench.join();
      await bench.start();
      for (const [index, { kind, upsert, remove }] of changes.entries()) {
        const endpoints = [...new Map(upsert.map(endpointAt).map((each) => [each.id, each])).values()];
        const gone = remove.map((each) => endpointAt(each).id);
        if (kind === "local") bench.state.setLocalEndpoints(endpoints.filter(({ host }) => host === "h1"));
        else {
          const reset = kind === "reset";
          bench.state.receive({
            type: "catalog",
            reset,
            revision: index,
            upsert: endpoints,
            remove: gone,
            hosts: null,
          });
        }
        for (const name of ["a", "b", "c"]) {
          const wanted = new Set(
            [...bench.state.eachEndpoint()].filter((each) => each.service === name).map(({ address }) => address),
          );
          const kept = bench.askKernel(`${name}.service.consul`);
          const answers = [...kept, await bench.ask(`${name}.service.consul`, "10.2.1.1:53")];
          // The second time it is handed over.
          await bench.ask(`${name}.service.consul`, "10.2.1.1:53");
          const possible = wanted.size === 0 ? ["NXDOMAIN"] : [...wanted];
          expect(possible).toEqual(expect.arrayContaining(answers));
        }
      }
      await bench.stop();
    }),
    { numRuns: 60 },
  );
});

function endpointAt({
  host,
  box,
  service,
  last,
}: {
  host: string;
  box: number;
  service: string;
  last: number;
}): Endpoint {
  const fixed = {
    port: 80,
    protocol: "tcp",
    tags: [],
    meta: {},
    instanceId: null,
    appId: null,
    health: "passing",
  } as const;
  const address = parseIpv4(`10.2.${box}.${last}`);
  return { ...fixed, id: `${host}:${box}:80`, service: service as ServiceName, address, host, container: `${box}` };
}

test("createDnsPart() reports the revision it serves and knows nothing of a cluster before it joined", async () => {
  const bench = new Bench();
  await bench.start();
  expect(await bench.ask("h1.node.consul")).toBe("SERVFAIL");
  bench.join();
  expect(bench.state.appliedRevision()).toBe(3);
  expect(await bench.ask("h1.node.consul")).toBe("192.0.2.9");
  expect(await bench.ask("h2.node.consul")).toBe("NXDOMAIN");
  await bench.stop();
});

test("createDnsPart() forwards to the host's nameservers, or to the cluster's where those are set", async () => {
  const bench = new Bench();
  bench.join();
  await bench.start();
  expect(await bench.ask("example.org")).toBe("SERVFAIL");
  bench.join({ ...DEFAULT_SETTINGS, dnsUpstreams: [parseIpv4("198.51.100.53")] });
  expect(await bench.ask("example.org")).toBe("SERVFAIL");
  expect(bench.asked).toEqual(["192.0.2.53:53", "198.51.100.53:53"]);
  await bench.stop();
});

test("createDnsPart() shows what keeps the resolver from being changed", async () => {
  const bench = new Bench();
  bench.join();
  bench.gateway = parseIpv4("10.2.1.1");
  bench.listener.addresses.add("10.2.1.1");
  bench.resolver.fault = { code: "resolver-not-managed", severity: "info", text: "a link", hint: "resolvectl" };
  await bench.start();
  expect(bench.codes()).toEqual(["info resolver-not-managed"]);
  await bench.stop();
});
