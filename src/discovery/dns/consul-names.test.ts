/** Consul's names and records, row by row of docs/consul-dns.md, on one zone. */
import { expect, test } from "bun:test";
import packet from "dns-packet";
import { DEFAULT_DNS, type DnsSettings, chooseServiceTtl } from "../../model/dns-settings.ts";
import { META_NAME_ONLY, NAMES_SERVER } from "../../model/endpoint.ts";
import { parseCidr, parseIpv4 } from "../../model/ip.ts";
import { parseIpv6 } from "../../model/ip6.ts";
import type { Clock } from "../../platform/ports/clock.ts";
import { addressBytes, formatAddress } from "./address-bytes.ts";
import { Asker, instance, seeded } from "./dns.fixture.ts";
import { Forwarder } from "./forwarder.ts";
import { type Zone, buildZone } from "./zone.ts";
import type { PreparedLookup, ZoneInstance } from "./zone-instance.ts";

const V6 = "2001:db8::7";
const V6_HEX = "20010db8000000000000000000000007";
const NODES = [
  { name: "h1", address: "192.168.0.1", meta: { rack: "r1", "rfc1035-owner": "ops" } },
  { name: "deep.node", address: "192.168.0.2" },
  { name: "six", address: "2001:db8::53" },
];
const INSTANCES: readonly ZoneInstance[] = [
  instance({ id: "a", service: "web", address: "10.2.1.7", tags: ["v1", "x.y"], weights: { passing: 7, warning: 2 } }),
  instance({
    id: "b",
    service: "web",
    address: "10.2.1.8",
    tags: ["v2"],
    health: "warning",
    weights: { passing: 7, warning: 2 },
  }),
  instance({ id: "c", service: "web", address: "10.2.1.9", tags: ["v2"], health: "critical" }),
  instance({ id: "d", service: "dual", address: "10.2.1.20" }),
  instance({ id: "e", service: "dual", address: V6, port: 81 }),
  instance({ id: "f", service: "onnode", address: "", port: 1 }),
  instance({ id: "g", service: "onnode", address: "192.168.0.1", port: 2 }),
  instance({ id: "h", service: "far", address: "db.example.org", port: 5432 }),
  instance({ id: "i", service: "near", address: "web.service.consul" }),
  instance({ id: "j", service: "tcp-only", address: "10.2.1.30", meta: { zone: "a" }, tags: ["blue", "big"] }),
  instance({ id: "k", service: "Mixed", address: "10.2.1.31" }),
  instance({ id: "l", service: "ill", address: "10.2.1.40", health: "critical" }),
  instance({ id: "m", service: "node", address: "10.2.1.50", tags: ["service"] }),
];

function zoneOf(settings: Partial<DnsSettings> = {}, instances = INSTANCES): Zone {
  return buildZone(instances, NODES, {
    domain: "consul",
    datacenter: "dc1",
    ttlSeconds: 0,
    range: parseCidr("10.2.0.0/16"),
    nameserver: parseIpv4("10.2.1.1"),
    settings: { ...DEFAULT_DNS, ...settings },
    serial: 1_700_000_000,
  });
}

const ZONE = zoneOf();
const asker = new Asker(() => ZONE);
const dataOf = (records: readonly string[]): readonly string[] =>
  records.map((each) => each.split(" ").slice(2).join(" "));

test.each<[string, string, readonly string[]]>([
  ["web.service.consul", "A", ["A 10.2.1.7", "A 10.2.1.8"]],
  ["x.y.web.service.consul", "A", ["A 10.2.1.7"]],
  ["web.service.default.ns.default.ap.dc1.dc.consul", "A", ["A 10.2.1.7", "A 10.2.1.8"]],
  ["web.service.dc1.consul", "A", ["A 10.2.1.7", "A 10.2.1.8"]],
  ["_web._v1.consul", "A", ["A 10.2.1.7"]],
  ["service.node.service.consul", "A", ["A 10.2.1.50"]],
  ["mixed.service.consul", "A", ["A 10.2.1.31"]],
  ["dual.service.consul", "AAAA", ["AAAA 2001:db8::7"]],
  ["dual.service.consul", "ANY", ["A 10.2.1.20", "AAAA 2001:db8::7"]],
  ["onnode.service.consul", "A", ["A 192.168.0.1"]],
  ["deep.node.node.consul", "A", ["A 192.168.0.2"]],
  ["six.node.dc1.consul", "AAAA", ["AAAA 2001:db8::53"]],
  ["h1.node.consul", "TXT", ["TXT rack=r1", "TXT ops"]],
  ["0a020107.addr.consul", "A", ["A 10.2.1.7"]],
  [`${V6_HEX}.addr.dc1.consul`, "AAAA", ["AAAA 2001:db8::7"]],
  ["ns.consul", "A", ["A 10.2.1.1"]],
  ["consul", "NS", ["NS ns.consul"]],
  [`${V6_HEX.split("").toReversed().join(".")}.ip6.arpa`, "PTR", ["PTR dual.service.dc1.consul"]],
  ["1.0.168.192.in-addr.arpa", "PTR", ["PTR h1.node.dc1.consul", "PTR onnode.service.dc1.consul"]],
])("%s %s", async (name, type, data) => {
  const { code, answers } = await asker.ask(name, type);
  expect([code, dataOf(answers).toSorted()]).toEqual(["NOERROR", [...data].toSorted()]);
});

test.each([
  "web.service.dc2.consul",
  "web.service.other.ns.consul",
  "web.service.p.peer.consul",
  "web.connect.consul",
  "web.ingress.consul",
  "web.virtual.consul",
  "any.query.consul",
  "q._tcp.query.consul",
  "zz.addr.consul",
  "web.service.dc1.dc1.consul",
])("%s does not exist, and the SOA says so", async (name) => {
  const { code, answers, authorities } = await asker.ask(name, "A");
  const soa = "consul 0 SOA ns.consul hostmaster.consul 1700000014 3600 600 86400 0";
  expect([code, answers, authorities]).toEqual(["NXDOMAIN", [], [soa]]);
});

test.each([
  ["dual.service.consul", "TXT"],
  ["web.service.consul", "AAAA"],
  ["six.node.consul", "A"],
  ["deep.node.node.consul", "TXT"],
  ["dc.consul", "A"],
  ["ap.consul", "A"],
  ["query.consul", "A"],
  ["ill.service.consul", "A"],
  ["web.service.consul", "TYPE65"],
])("%s exists without %s, and the SOA says so", async (name, type) => {
  const { code, answers, authorities } = await asker.ask(name, type === "TYPE65" ? "HINFO" : type);
  expect([code, answers, authorities.length]).toEqual(["NOERROR", [], 1]);
});

test("SRV has weights by health, the target of its own address, and its address beside it", async () => {
  const { answers, additionals } = await asker.ask("_web._tcp.service.consul", "SRV");
  expect(dataOf(answers).toSorted()).toEqual([
    "SRV 1 2 8080 0a020108.addr.dc1.consul",
    "SRV 1 7 8080 0a020107.addr.dc1.consul",
  ]);
  expect(additionals.toSorted()).toEqual([
    "0a020107.addr.dc1.consul 0 A 10.2.1.7",
    "0a020108.addr.dc1.consul 0 A 10.2.1.8",
  ]);
  const dual = await asker.ask("dual.service.consul", "SRV");
  expect(dual.additionals).toContain(`${V6_HEX}.addr.dc1.consul 0 AAAA ${V6}`);
});

test("SRV of what has its node's address names the node, once for each port, with its address and texts", async () => {
  const { answers, additionals } = await asker.ask("onnode.service.consul", "SRV", { edns: 4096 });
  expect(dataOf(answers).toSorted()).toEqual(["SRV 1 1 1 h1.node.dc1.consul", "SRV 1 1 2 h1.node.dc1.consul"]);
  expect(additionals.filter((each) => each.includes(" A "))).toEqual(
    ["h1.node.dc1.consul 0 A 192.168.0.1", "h1.node.dc1.consul 0 A 192.168.0.1"],
  ); // prettier-ignore
  expect(additionals).toContain("h1.node.dc1.consul 0 TXT rack=r1");
});

test("a node's texts come along with its address, unless set otherwise", async () => {
  expect((await asker.ask("h1.node.consul", "A")).additionals.toSorted()).toEqual([
    "h1.node.consul 0 TXT ops",
    "h1.node.consul 0 TXT rack=r1",
  ]);
  const without = new Asker(() => zoneOf({ nodeMetaTxt: false }));
  expect((await without.ask("h1.node.consul", "A")).additionals).toEqual([]);
  expect((await asker.ask("consul", "NS")).additionals).toEqual(["ns.consul 0 A 10.2.1.1"]);
});

test("TTLs are those of the settings: exact name, longest prefix, any; nodes have theirs", async () => {
  const ttls = { web: 1, "we*": 2, "w*": 3, "*": 4 };
  expect(["web", "web2", "wild", "other"].map((name) => chooseServiceTtl(ttls, name))).toEqual([1, 2, 3, 4]);
  const set = new Asker(() => zoneOf({ serviceTtlSeconds: ttls, nodeTtlSeconds: 9 }));
  expect((await set.ask("v1.web.service.consul", "A")).answers).toEqual(["v1.web.service.consul 1 A 10.2.1.7"]);
  expect((await set.ask("deep.node.node.consul", "A")).answers).toEqual(["deep.node.node.consul 9 A 192.168.0.2"]);
});

test("health settings: only passing, critical is missing, or critical is better than nothing", async () => {
  const strict = new Asker(() => zoneOf({ onlyPassing: true, criticalIsMissing: true }));
  expect(dataOf((await strict.ask("web.service.consul", "A")).answers)).toEqual(["A 10.2.1.7"]);
  expect((await strict.ask("ill.service.consul", "A")).code).toBe("NXDOMAIN");
  const kind = new Asker(() => zoneOf({ serveCritical: true }));
  expect(dataOf((await kind.ask("ill.service.consul", "A")).answers)).toEqual(["A 10.2.1.40"]);
});

test("addressesMax draws that many anew and calls nothing cut; SRV is not limited", async () => {
  const limited = new Asker(() => zoneOf({ addressesMax: 1 }));
  const seen = new Set<string>();
  for (let turn = 0; turn < 60; turn++) {
    const { answers, tc } = await limited.ask("web.service.consul", "A");
    expect([answers.length, tc]).toEqual([1, false]);
    seen.add(answers[0] ?? "");
  }
  expect(seen.size).toBe(2);
  expect((await limited.ask("web.service.consul", "SRV")).answers.length).toBe(2);
});

test("who weighs more comes first more often", async () => {
  let first = 0;
  for (let turn = 0; turn < 900; turn++) {
    const { answers } = await asker.ask("web.service.consul", "A");
    if (answers[0]?.endsWith("10.2.1.7") === true) first += 1;
  }
  // 7 of 9 is 700; four standard deviations are 50.
  expect(Math.abs(first - 700)).toBeLessThan(50);
});

test("several domains are answered, each in its own name", async () => {
  const both = new Asker(() => zoneOf({ altDomains: ["mesh.example"] }));
  const { answers } = await both.ask("v1.web.service.mesh.example", "SRV");
  expect(dataOf(answers)).toEqual(["SRV 1 7 8080 0a020107.addr.dc1.mesh.example"]);
  const missing = await both.ask("no.service.mesh.example", "A");
  expect(missing.authorities[0]).toStartWith("mesh.example 0 SOA ns.mesh.example hostmaster.mesh.example");
  expect((await both.ask("v1.web.service.consul", "A")).answers.length).toBe(1);
});

test("a service's address for life is answered for as long as it has one", async () => {
  const zone = zoneOf();
  const here = new Asker(() => zone);
  const own = [parseIpv4("10.3.0.7"), parseIpv6("fd12:3456:789a:0:a03::a03:7")];
  zone.setVirtuals(new Map([["web", own]]));
  expect(dataOf((await here.ask("WEB.virtual.dc1.consul", "A")).answers)).toEqual(["A 10.3.0.7"]);
  expect(dataOf((await here.ask("web.virtual.consul", "AAAA")).answers)).toEqual(["AAAA fd12:3456:789a:0:a03:0:a03:7"]);
  const { revision } = zone;
  zone.setVirtuals(new Map([["web", [...own]]]));
  expect(zone.revision).toBe(revision);
  zone.setVirtuals(new Map());
  expect((await here.ask("web.virtual.consul", "A")).code).toBe("NXDOMAIN");
});

test("prepared queries are found by name, also as SRV", async () => {
  const zone = zoneOf();
  const lookup: PreparedLookup = {
    service: "tcp-only",
    tags: ["Blue", "big"],
    onlyPassing: false,
    nodeMeta: { rack: "r1" },
    serviceMeta: { zone: "a" },
    ttlSeconds: 30,
  };
  zone.setQueries((name) => (name === "my.query" ? lookup : name === "none" ? { ...lookup, tags: ["red"] } : null));
  const here = new Asker(() => zone);
  expect((await here.ask("my.query.query.consul", "A")).answers).toEqual(["my.query.query.consul 30 A 10.2.1.30"]);
  expect((await here.ask("_my.query._tcp.query.consul", "SRV")).answers.length).toBe(1);
  expect((await here.ask("none.query.consul", "A")).code).toBe("NXDOMAIN");
  zone.setQueries(() => null);
  expect((await here.ask("my.query.query.consul", "A")).code).toBe("NXDOMAIN");
});

test("a host name as address is an alias, with the addresses of what it names", async () => {
  const still: Clock = { nowMs: () => 0, monotonicMs: () => 0, sleep: () => Promise.resolve() };
  const asked: string[] = [];
  const outside = (bytes: Uint8Array): Promise<Uint8Array> => {
    const query = packet.decode(Buffer.from(bytes));
    const name = query.questions?.[0]?.name ?? "";
    asked.push(name);
    const answers: packet.Answer[] = [
      { name, type: "CNAME", ttl: 60, data: "real.example.org" },
      { name: "real.example.org", type: "A", ttl: 60, data: "198.51.100.9" },
    ];
    const { id = 0, questions = [] } = query;
    return Promise.resolve(packet.encode({ type: "response", id, questions, answers }));
  };
  const forwarder = new Forwarder({
    clock: still,
    random: seeded(3),
    datagrams: { ask: outside, askStream: outside },
    upstreams: () => [{ address: parseIpv4("192.0.2.53"), port: 53 }],
    own: () => [],
  });
  const recursive = new Asker(() => ZONE, forwarder);
  const far = await recursive.ask("far.service.consul", "A");
  expect([far.code, far.ra, asked]).toEqual(["NOERROR", true, ["db.example.org"]]);
  expect(far.answers).toEqual(["far.service.consul 0 CNAME db.example.org", "db.example.org 60 A 198.51.100.9"]);
  expect(dataOf((await recursive.ask("far.service.consul", "SRV")).answers)).toEqual(["SRV 1 1 5432 db.example.org"]);
  const near = await recursive.ask("near.service.consul", "A");
  expect(dataOf(near.answers).toSorted()).toEqual(["A 10.2.1.7", "A 10.2.1.8", "CNAME web.service.consul"]);
  expect(dataOf((await asker.ask("far.service.consul", "A")).answers)).toEqual(["CNAME db.example.org"]);
});

test("what a server remembers of a question never outlives a change", async () => {
  const zone = zoneOf();
  const here = new Asker(() => zone);
  const ask = async (name: string): Promise<string> => (await here.ask(name, "A")).code;
  expect([await ask("new.service.consul"), await ask("new.service.consul")]).toEqual(["NXDOMAIN", "NXDOMAIN"]);
  zone.put(instance({ id: "n", service: "new", address: "10.2.1.60" }));
  expect(await ask("NEW.service.consul")).toBe("NOERROR");
  zone.put(instance({ id: "o", service: "other", address: "10.2.1.61" }));
  expect((await here.ask("new.service.consul", "A")).answers.length).toBe(1);
  zone.remove("n");
  expect(await ask("new.service.consul")).toBe("NXDOMAIN");
  expect((await here.ask("h1.node.consul", "A")).answers.length).toBe(1);
  zone.setHosts([]);
  expect(await ask("h1.node.consul")).toBe("NXDOMAIN");
});

test("another zone is answered from at once", async () => {
  let zone = zoneOf();
  const here = new Asker(() => zone);
  const ask = async (): Promise<readonly string[]> => (await here.ask("v1.web.service.consul", "A")).answers;
  expect([(await ask()).length, (await ask()).length]).toEqual([1, 1]);
  zone = zoneOf({}, []);
  expect(await ask()).toEqual([]);
});

test("addressBytes() reads what addresses look like and nothing else", () => {
  const shown = ["::", "::1", "1::", "::ffff:10.0.0.1", "1:2:3:4:5:6:7:8", "FE80::A"].map((text) => {
    const bytes = addressBytes(text);
    return bytes === null ? null : formatAddress(bytes);
  });
  expect(shown).toEqual([
    "0:0:0:0:0:0:0:0",
    "0:0:0:0:0:0:0:1",
    "1:0:0:0:0:0:0:0",
    "0:0:0:0:0:ffff:a00:1",
    "1:2:3:4:5:6:7:8",
    "fe80:0:0:0:0:0:0:a",
  ]);
  for (const text of ["", "1.2.3", ":", "1:2", "1::2::3", "1:2:3:4:5:6:7::8", "g::", "::10.0.0.1:1", "host"]) {
    expect([text, addressBytes(text)]).toEqual([text, null]);
  }
});

test("servers are found as the service `consul`, which gives their address no further name", async () => {
  const meta = { [META_NAME_ONLY]: NAMES_SERVER };
  const servers = ["192.168.0.1", "192.168.0.9"].map((address, at) => {
    return instance({ id: `s${at}`, service: "consul", address, port: 8300, container: "", host: `h${at + 1}`, meta });
  });
  const zone = zoneOf({}, [...INSTANCES, ...servers]);
  const its = new Asker(() => zone);
  expect(dataOf((await its.ask("consul.service.consul", "A")).answers).toSorted()).toEqual([
    "A 192.168.0.1",
    "A 192.168.0.9",
  ]);
  const found = dataOf((await its.ask("consul.service.consul", "SRV")).answers).toSorted();
  expect(found).toEqual(["SRV 1 1 8300 c0a80009.addr.dc1.consul", "SRV 1 1 8300 h1.node.dc1.consul"]);
  expect((await its.ask("consul.node.consul", "A")).code).toBe("NXDOMAIN");
  expect((await its.ask("9.0.168.192.in-addr.arpa", "PTR")).answers).toEqual([]);
});
