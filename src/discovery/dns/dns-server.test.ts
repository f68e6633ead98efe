import { expect, test } from "bun:test";
import { Buffer } from "node:buffer";
import packet from "dns-packet";
import fc from "fast-check";
import type { Endpoint } from "../../model/endpoint.ts";
import { type Ipv4, formatIpv4, parseCidr, parseIpv4 } from "../../model/ip.ts";
import { DnsServer, type Transport } from "./dns-server.ts";
import { type Zone, buildZone } from "./zone.ts";
import { endpointOf } from "../../model/endpoint.fixture.ts";
import { EDNS, seeded } from "./dns.fixture.ts";

/** A deterministic stand-in for chance: a linear congruential generator. */
const ENDPOINTS: readonly Endpoint[] = [
  endpointOf({ id: "h1:web1:8080", service: "web", address: "10.2.1.7", tags: ["v1"] }),
  endpointOf({ id: "h2:web2:8080", service: "web", address: "10.2.2.7", tags: ["v1", "Blue"], host: "h2" }),
  endpointOf({ id: "h2:web3:8080", service: "web", address: "10.2.2.8", tags: ["v2"], host: "h2" }),
  endpointOf({ id: "h1:web4:8080", service: "web", address: "10.2.1.9", tags: ["v1", "sick"], health: "critical" }),
  endpointOf({ id: "h1:dns:53", service: "names", address: "10.2.1.20", port: 53 }),
  endpointOf({ id: "h1:dns:53:udp", service: "names", address: "10.2.1.20", port: 53, protocol: "udp", tags: ["udp"] }),
  endpointOf({ id: "h1:ill:1", service: "ill", address: "10.2.1.30", health: "critical" }),
  endpointOf({ id: "h1:a.b:1", service: "a.b", address: "10.2.1.40" }),
  endpointOf({ id: "h1:b:1", service: "b", address: "10.2.1.41", tags: ["a", "x.y"] }),
  endpointOf({ id: "h1:node:1", service: "node", address: "10.2.1.50" }),
];
const HOSTS = [
  { name: "h1", address: parseIpv4("192.168.0.1"), up: true },
  { name: "h2", address: parseIpv4("192.168.0.2"), up: false },
];
const ZONE = zoneOf(ENDPOINTS);

function zoneOf(endpoints: readonly Endpoint[]): Zone {
  const nameserver = parseIpv4("10.2.1.1");
  const range = parseCidr("10.2.0.0/16");
  return buildZone(endpoints, HOSTS, { domain: "consul", datacenter: "dc1", ttlSeconds: 0, range, nameserver });
}

interface Asked {
  readonly rcode: string;
  readonly tc: boolean;
  readonly aa: boolean;
  readonly bytes: number;
  readonly question: string;
  readonly answers: readonly string[];
  readonly authorities: readonly string[];
  readonly additionals: readonly string[];
}

interface AskOptions {
  readonly zone?: Zone;
  readonly transport?: Transport;
  readonly edns?: number;
  readonly seed?: number;
}

function rawAsk(message: Uint8Array, { zone = ZONE, transport = "udp", seed = 1 }: AskOptions = {}): Uint8Array | null {
  const server = new DnsServer({ random: seeded(seed), zone: () => zone, forwarder: null });
  let answer: Uint8Array | null = null;
  server.answer(message, transport, (bytes) => {
    expect(answer).toBeNull();
    answer = bytes;
  });
  return answer;
}

function ask(name: string, type: string, options: AskOptions = {}): Asked {
  const { edns } = options;
  const message = packet.encode({
    type: "query",
    id: 4711,
    flags: packet.RECURSION_DESIRED,
    questions: [{ name, type: type as "A", class: "IN" }],
    additionals:
      edns === undefined
        ? []
        : [
            {
              type: "OPT",
              name: ".",
              udpPayloadSize: edns,
              flags: 0,
              options: [],
              extendedRcode: 0,
              ednsVersion: 0,
              flag_do: false,
            },
          ],
  });
  const answer = rawAsk(message, options);
  if (answer === null) throw new Error("no answer");
  const decoded = packet.decode(Buffer.from(answer));
  expect(decoded.id).toBe(4711);
  expect(decoded.flag_rd).toBe(true);
  expect(decoded.flag_ra).toBe(false);
  expect(decoded.additionals?.some((each) => each.type === "OPT")).toBe(edns !== undefined);
  const show = (records: readonly packet.Answer[] | undefined): readonly string[] =>
    (records ?? []).flatMap((record) => {
      if (record.type === "OPT") return [];
      const data =
        record.type === "SRV"
          ? `${record.data.port} ${record.data.target}`
          : "data" in record
            ? String(typeof record.data === "object" ? "..." : record.data)
            : "";
      return [`${record.name} ${record.type} ${data}`];
    });
  return {
    rcode: (decoded as unknown as { rcode: string }).rcode,
    tc: decoded.flag_tc,
    aa: decoded.flag_aa,
    bytes: answer.length,
    question: decoded.questions?.[0]?.name ?? "",
    answers: show(decoded.answers),
    authorities: show(decoded.authorities),
    additionals: show(decoded.additionals),
  };
}

const addressesOf = (asked: Asked): readonly string[] =>
  asked.answers.map((each) => each.split(" ")[2] ?? "").toSorted();

const A_TABLE: readonly (readonly [name: string, addresses: readonly string[]])[] = [
  ["web.service.consul", ["10.2.1.7", "10.2.2.7", "10.2.2.8"]],
  ["web.service.dc1.consul", ["10.2.1.7", "10.2.2.7", "10.2.2.8"]],
  ["web.service.dc1.dc.consul", ["10.2.1.7", "10.2.2.7", "10.2.2.8"]],
  ["v1.web.service.consul", ["10.2.1.7", "10.2.2.7"]],
  ["v2.web.service.dc1.consul", ["10.2.2.8"]],
  ["blue.web.service.consul", ["10.2.2.7"]],
  ["_web._tcp.service.consul", ["10.2.1.7", "10.2.2.7", "10.2.2.8"]],
  ["_web._tcp.consul", ["10.2.1.7", "10.2.2.7", "10.2.2.8"]],
  ["_web._v2.service.consul", ["10.2.2.8"]],
  ["names.service.consul", ["10.2.1.20"]],
  ["_names._udp.service.consul", ["10.2.1.20"]],
  ["a.b.service.consul", ["10.2.1.40"]],
  ["x.y.b.service.consul", ["10.2.1.41"]],
  ["node.service.consul", ["10.2.1.50"]],
  ["h1.node.consul", ["192.168.0.1"]],
  ["H2.Node.dc1.Consul", ["192.168.0.2"]],
  ["0a020107.addr.dc1.consul", ["10.2.1.7"]],
  ["ns.consul", ["10.2.1.1"]],
];

test("DnsServer answers A with every passing address of the name", () => {
  for (const [name, addresses] of A_TABLE) {
    const asked = ask(name, "A");
    expect([name, asked.rcode, asked.aa, addressesOf(asked)]).toEqual([name, "NOERROR", true, [...addresses]]);
  }
});

test("DnsServer answers a service's own address, also under the datacenter's name, for as long as it has one", () => {
  const zone = zoneOf(ENDPOINTS);
  const asked = (name: string) => addressesOf(ask(name, "A", { zone }));
  expect(ask("web.virtual.consul", "A", { zone }).rcode).toBe("NXDOMAIN");
  zone.setVirtuals(new Map([["web", [parseIpv4("10.3.0.7")]]]));
  expect([asked("web.virtual.consul"), asked("WEB.virtual.dc1.consul")]).toEqual([["10.3.0.7"], ["10.3.0.7"]]);
  expect(ask("db.virtual.consul", "A", { zone }).rcode).toBe("NXDOMAIN");
  expect(ask("web.virtual.consul", "SRV", { zone }).rcode).toBe("NOERROR");
  zone.setVirtuals(new Map());
  expect(ask("web.virtual.consul", "A", { zone }).rcode).toBe("NXDOMAIN");
});

const MISSING = [
  "nobody.service.consul",
  "v9.web.service.consul",
  "web.service.dc2.consul",
  "h3.node.consul",
  "x.consul",
];
const MISSING_TOO = [
  "www.example.org.service.consul",
  "zz.addr.consul",
  "0a0201.addr.consul",
  "_web._udp.service.consul",
  "9.9.2.10.in-addr.arpa",
];

test("DnsServer says NXDOMAIN with SOA for a name that nobody has", () => {
  for (const name of [...MISSING, ...MISSING_TOO]) {
    const asked = ask(name, "A");
    expect([name, asked.rcode, asked.answers, asked.authorities.length]).toEqual([name, "NXDOMAIN", [], 1]);
  }
  expect(ask("x.consul", "A").authorities).toEqual(["consul SOA ..."]);
  expect(ask("9.9.2.10.in-addr.arpa", "PTR").authorities).toEqual(["2.10.in-addr.arpa SOA ..."]);
});

const NO_DATA: readonly (readonly [string, string])[] = [
  ["web.service.consul", "AAAA"],
  ["web.service.consul", "TXT"],
  ["ill.service.consul", "A"],
  ["sick.web.service.consul", "SRV"],
  ["h1.node.consul", "AAAA"],
  ["service.consul", "A"],
  ["dc1.consul", "A"],
  ["service.dc1.consul", "A"],
  ["_tcp.service.consul", "SRV"],
  ["consul", "A"],
];

test("DnsServer says no data with SOA for a name that exists without that type", () => {
  for (const [name, type] of NO_DATA) {
    const asked = ask(name, type);
    expect([name, asked.rcode, asked.answers, asked.authorities]).toEqual([name, "NOERROR", [], ["consul SOA ..."]]);
  }
});

test("DnsServer pairs each SRV target with its own address", () => {
  const asked = ask("_web._tcp.service.consul", "SRV");
  expect(asked.answers.toSorted()).toEqual([
    "_web._tcp.service.consul SRV 8080 0a020107.addr.dc1.consul",
    "_web._tcp.service.consul SRV 8080 0a020207.addr.dc1.consul",
    "_web._tcp.service.consul SRV 8080 0a020208.addr.dc1.consul",
  ]);
  expect(asked.additionals.length).toBe(3);
  const targets = asked.answers.map((each) => each.split(" ")[3] ?? "");
  expect(asked.additionals).toEqual(targets.map((target) => `${target} A ${fromHex(target)}`));
  expect(ask("names.service.consul", "SRV").answers.length).toBe(1);
});

function fromHex(target: string): Ipv4 {
  return formatIpv4(Number.parseInt(target.slice(0, 8), 16));
}

test("DnsServer answers PTR, SOA, NS and ANY", () => {
  expect(ask("7.1.2.10.in-addr.arpa", "PTR").answers).toEqual(["7.1.2.10.in-addr.arpa PTR web.service.dc1.consul"]);
  expect(ask("1.0.168.192.in-addr.arpa", "PTR").answers).toEqual(["1.0.168.192.in-addr.arpa PTR h1.node.dc1.consul"]);
  expect(ask("consul", "SOA").answers).toEqual(["consul SOA ..."]);
  expect(ask("consul", "NS").answers).toEqual(["consul NS ns.consul"]);
  expect(ask("web.service.consul", "ANY").answers.length).toBe(3);
});

test("DnsServer refuses outside names when it has no forwarder", () => {
  expect(ask("example.org", "A").rcode).toBe("REFUSED");
  expect(ask("1.1.168.192.in-addr.arpa", "PTR").rcode).toBe("REFUSED");
});

test("DnsServer keeps the case of the question (0x20)", () => {
  const asked = ask("wEB.sErvICe.CONsul", "A");
  expect(asked.question).toBe("wEB.sErvICe.CONsul");
  expect(asked.answers.every((each) => each.startsWith("wEB.sErvICe.CONsul "))).toBe(true);
});

test("DnsServer puts every endpoint first about equally often", () => {
  const first = new Map<string, number>();
  const server = new DnsServer({ random: seeded(7), zone: () => ZONE, forwarder: null });
  const message = packet.encode({ type: "query", id: 1, questions: [{ name: "web.service.consul", type: "A" }] });
  for (let round = 0; round < 3000; round++) {
    server.answer(message, "udp", (bytes) => {
      const record = packet.decode(Buffer.from(bytes)).answers?.[0];
      const address = record?.type === "A" ? record.data : "none";
      first.set(address, (first.get(address) ?? 0) + 1);
    });
  }
  expect([...first.keys()].toSorted()).toEqual(["10.2.1.7", "10.2.2.7", "10.2.2.8"]);
  for (const count of first.values()) expect(count).toBeWithin(850, 1150);
});

const MANY = Array.from({ length: 100 }, (_, index) =>
  endpointOf({ id: `h1:c${index}:8080`, service: "many", address: `10.2.3.${index + 1}` }),
);

test("DnsServer cuts to the client's size, says so, and gives all over TCP", () => {
  const zone = zoneOf(MANY);
  const plain = ask("many.service.consul", "A", { zone });
  expect([plain.tc, plain.bytes <= 512, plain.answers.length]).toEqual([true, true, 29]);
  const small = ask("many.service.consul", "SRV", { zone, edns: 1232 });
  expect([small.tc, small.bytes <= 1232]).toEqual([true, true]);
  const targets = small.answers.map((each) => each.split(" ")[3]);
  expect(small.additionals.every((each) => targets.includes(each.split(" ")[0]))).toBe(true);
  const large = ask("many.service.consul", "A", { zone, edns: 4096 });
  expect([large.tc, large.answers.length]).toEqual([false, 100]);
  const huge = ask("many.service.consul", "SRV", { zone, edns: 4096 });
  expect([huge.tc, huge.bytes <= 4096]).toEqual([true, true]);
  expect(ask("many.service.consul", "SRV", { zone, edns: 65_535 }).tc).toBe(false);
  const tcp = ask("many.service.consul", "SRV", { zone, transport: "tcp" });
  expect([tcp.tc, tcp.answers.length, new Set(tcp.additionals).size]).toEqual([false, 100, 100]);
});

test("DnsServer names targets in full where compression pointers do not reach", () => {
  const endpoints = Array.from({ length: 600 }, (_, index) =>
    endpointOf({
      id: `h1:c${index}:8080`,
      service: "crowd",
      address: `10.2.${4 + Math.floor(index / 200)}.${(index % 200) + 1}`,
    }),
  );
  const asked = ask("crowd.service.consul", "SRV", { zone: zoneOf(endpoints), transport: "tcp" });
  expect([asked.tc, asked.answers.length]).toEqual([false, 600]);
  expect(asked.additionals).toEqual(
    asked.answers.map((each) => each.split(" ")[3] ?? "").map((target) => `${target} A ${fromHex(target)}`),
  );
});

test("DnsServer follows changes of one service, tag by tag", () => {
  const zone = zoneOf(ENDPOINTS);
  expect(ask("v2.web.service.consul", "A", { zone }).rcode).toBe("NOERROR");
  zone.remove("h2:web3:8080");
  expect(ask("v2.web.service.consul", "A", { zone }).rcode).toBe("NXDOMAIN");
  expect(ask("web.service.consul", "A", { zone }).answers.length).toBe(2);
  zone.put(endpointOf({ id: "h1:web1:8080", service: "web", address: "10.2.1.7", health: "critical" }));
  expect(addressesOf(ask("web.service.consul", "A", { zone }))).toEqual(["10.2.2.7"]);
  expect(ask("a.b.service.consul", "A", { zone }).answers).toEqual(["a.b.service.consul A 10.2.1.40"]);
  zone.remove("h1:a.b:1");
  expect(ask("a.b.service.consul", "A", { zone }).answers).toEqual(["a.b.service.consul A 10.2.1.41"]);
  zone.put(endpointOf({ id: "h1:a.b:1", service: "a.b", address: "10.2.1.40" }));
  expect(ask("a.b.service.consul", "A", { zone }).answers).toEqual(["a.b.service.consul A 10.2.1.40"]);
});

/** Hand-written datagrams: header, then what is named. */
const HOSTILE: readonly (readonly [what: string, hex: string, rcode: number | null])[] = [
  ["empty", "", null],
  ["short header", "0001010000010000", null],
  ["an answer", "00018100000100000000000003777777000001 0001", null],
  ["no question", "000101000000000000000000", 1],
  ["two questions", "000101000002000000000000 0161000001000101620000010001", 1],
  ["name without end", "000101000001000000000000 3f61", 1],
  ["name without type", "000101000001000000000000 016100", 1],
  ["pointer to itself", "000101000001000000000000 c00c00010001", 1],
  ["pointer into the header", "000101000001000000000000 c00000010001", 1],
  ["reserved label type", "000101000001000000000000 806100000100 01", 1],
  ["name of 256 bytes", `000101000001000000000000 ${`3f${"61".repeat(63)}`.repeat(4)}0000010001`, 1],
  ["additional count without records", "000101000001000000000001 016100 00010001", 1],
  ["OPT longer than the datagram", "000101000001000000000001 016100 00010001 0000291000000000000fff", 1],
  ["two OPT records", "000101000001000000000002 016100 00010001 0000290200000000000000 0000290200000000000000", 1],
  ["EDNS version 1", "000101000001000000000001 016100 00010001 0000290200000100000000", 0],
  ["status operation", "000111000001000000000000 016100 00010001", 4],
  ["zone transfer", "000101000001000000000000 06636f6e73756c00 00fc0001", 4],
  ["chaos class", "000101000001000000000000 0776657273696f6e0462696e6400 00100003", 5],
];

test("DnsServer refuses or drops what is malformed", () => {
  for (const [what, hex, rcode] of HOSTILE) {
    const answer = rawAsk(Buffer.from(hex.replaceAll(" ", ""), "hex"));
    expect([what, answer === null ? null : (answer[3] ?? 0) & 15]).toEqual([what, rcode]);
    if (answer !== null) expect(() => packet.decode(Buffer.from(answer))).not.toThrow();
  }
  const version = rawAsk(
    Buffer.from("0001010000010000000000010161000001000100002902000001000000 00".replaceAll(" ", ""), "hex"),
  );
  // BADVERS is 16: its upper bits are in the OPT record.
  expect(version?.at(-6)).toBe(1);
});

test("DnsServer never throws and never answers longer than allowed, whatever the bytes", () => {
  const zone = zoneOf([...ENDPOINTS, ...MANY]);
  const limitOf = (message: Uint8Array): number => (message.length < 12 ? 0 : 8192);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), (message) => {
      const answer = rawAsk(message, { zone });
      if (answer !== null) expect(answer.length).toBeLessThanOrEqual(limitOf(message));
    }),
    { numRuns: 2000 },
  );
});

test("DnsServer survives any change to a real query", () => {
  const zone = zoneOf([...ENDPOINTS, ...MANY]);
  const base = packet.encode({
    type: "query",
    id: 9,
    questions: [{ name: "many.service.consul", type: "SRV" }],
    additionals: [EDNS],
  });
  const edits = fc.array(fc.tuple(fc.nat(base.length - 1), fc.integer({ min: 0, max: 255 })), { maxLength: 6 });
  fc.assert(
    fc.property(edits, fc.nat(base.length), (changes, cut) => {
      const message = new Uint8Array(base);
      for (const [at, value] of changes) message[at] = value;
      const answer = rawAsk(message.subarray(0, message.length - (cut % 3)), { zone });
      if (answer !== null) {
        expect(answer.length).toBeLessThanOrEqual(8192);
        expect(() => packet.decode(Buffer.from(answer))).not.toThrow();
      }
    }),
    { numRuns: 2000 },
  );
});

test("DnsServer answers an independent decoder with the addresses it was given, for any service name", () => {
  const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$/);
  const addresses = fc.uniqueArray(fc.integer({ min: 0x0a020000, max: 0x0a02ffff }), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(label, label, addresses, (service, tag, numbers) => {
      const zone = zoneOf(
        numbers.map((number) => endpointOf({ id: `h1:${number}`, service, address: formatIpv4(number), tags: [tag] })),
      );
      const wanted = numbers.map((number) => formatIpv4(number) as string).toSorted();
      expect(addressesOf(ask(`${service}.service.consul`, "A", { zone }))).toEqual(wanted);
      expect(addressesOf(ask(`${tag}.${service}.service.consul`, "A", { zone }))).toEqual(wanted);
    }),
    { numRuns: 200 },
  );
});
