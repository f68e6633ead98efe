/**
 * Packets as strangers send them: valid questions with bytes changed, cut, doubled, pointers set into loops, and noise.
 * Whatever comes, the server answers at most once, within the size, in a form that an independent check reads, and holds
 * nothing of it. `APOLLO_FUZZ_PACKETS=5000000` runs long; a failure prints the packet.
 */
import { expect, test } from "bun:test";
import packet from "dns-packet";
import { parseCidr } from "../../model/ip.ts";
import { DnsServer, type Transport } from "./dns-server.ts";
import { instance, seeded } from "./dns.fixture.ts";
import { endOfName } from "./parse-query.ts";
import { HEADER_BYTES, readUint16 } from "./wire-format.ts";
import { buildZone } from "./zone.ts";

const PACKETS = Number(process.env["APOLLO_FUZZ_PACKETS"] ?? 50_000);
const SEED = Number(process.env["APOLLO_FUZZ_SEED"] ?? 20_260_101);
const TYPES = ["A", "AAAA", "SRV", "TXT", "ANY", "SOA", "NS", "PTR", "CNAME", "MX", "AXFR", "IXFR", "HINFO"];
const NAMES = [
  "web.service.consul",
  "v1.web.service.dc1.consul",
  "_web._tcp.service.consul",
  "h1.node.consul",
  "0a020107.addr.consul",
  "q.query.consul",
  "web.virtual.consul",
  "consul",
  "7.1.2.10.in-addr.arpa",
  `${"1.".repeat(32)}ip6.arpa`,
  "box.weave.local",
  "box",
  "example.org",
  `${"a.".repeat(115)}service.consul`,
  `${"x".repeat(63)}.service.consul`,
];

const many = Array.from({ length: 300 }, (_, index) =>
  instance({
    id: `m${index}`,
    service: "web",
    address: `10.2.${index >> 8}.${index & 255}`,
    tags: ["v1"],
    port: index,
    host: "h2",
  }),
);
const nodes = [
  { name: "h1", address: "192.168.0.1", meta: { long: "x".repeat(700) } },
  { name: "h2", address: "10.2.0.5", meta: { rack: "r1" } },
];
const zone = buildZone(many, nodes, {
  domain: "consul",
  datacenter: "dc1",
  ttlSeconds: 0,
  range: parseCidr("10.2.0.0/16"),
  containerDomain: "weave.local",
});

type Draw = (below: number) => number;

function drawPacket(draw: Draw): Uint8Array {
  if (draw(12) === 0) return Uint8Array.from({ length: draw(700) }, () => draw(256));
  const name = NAMES[draw(NAMES.length)] ?? "";
  const type = TYPES[draw(TYPES.length)] ?? "A";
  const opt = { type: "OPT", name: ".", udpPayloadSize: draw(70_000) & 0xffff, flags: 0, extendedRcode: 0 } as const;
  const bytes = packet.encode({
    type: "query",
    id: draw(65_536),
    flags: draw(4) === 0 ? draw(65_536) & 0x7fff : packet.RECURSION_DESIRED,
    questions: [{ name, type: type as "A", class: draw(8) === 0 ? "CH" : "IN" }],
    additionals: draw(2) === 0 ? [] : [{ ...opt, ednsVersion: draw(9) === 0 ? 1 : 0, flag_do: false, options: [] }],
  });
  const message = new Uint8Array(bytes);
  for (let change = draw(4); change > 0; change--) spoil(message, draw);
  if (draw(8) === 0) return message.subarray(0, draw(message.length + 1));
  // As long as TCP allows, with the question repeated to the end.
  if (draw(2000) === 0) return Uint8Array.from({ length: 65_535 }, (_, index) => message[index % message.length] ?? 0);
  return message;
}

function spoil(message: Uint8Array, draw: Draw): void {
  const at = draw(message.length);
  switch (draw(5)) {
    case 0:
      message[at] = draw(256);
      break;
    case 1:
      message[at] = 0xc0 | draw(64);
      break;
    // A pointer to itself.
    case 2:
      if (at + 1 < message.length) message.set([0xc0 | (at >> 8), at & 255], at);
      break;
    // Counts that promise more than there is.
    case 3:
      message[4 + draw(8)] = draw(256);
      break;
    default:
      message.copyWithin(at, draw(message.length));
  }
}

/** Walks an answer to its last byte; throws where it cannot be read. */
function check(query: Uint8Array, answer: Uint8Array, transport: Transport): void {
  const fault = (what: string): Error => new Error(`${what}: ${Buffer.from(query.subarray(0, 700)).toString("hex")}`);
  if (answer.length > (transport === "tcp" ? 65_535 : 8192)) throw fault("too long");
  if (readUint16(answer, 0) !== readUint16(query, 0)) throw fault("another id");
  if ((readUint16(answer, 2) & 0x8000) === 0) throw fault("no answer");
  let at = HEADER_BYTES;
  const next = (): number => {
    const end = endOfName(answer, at);
    if (end === null) throw fault("a name that does not end");
    return end;
  };
  if (readUint16(answer, 4) === 1) at = next() + 4;
  const records = readUint16(answer, 6) + readUint16(answer, 8) + readUint16(answer, 10);
  for (let record = 0; record < records; record++) {
    const end = next();
    at = end + 10 + readUint16(answer, end + 8);
  }
  if (at !== answer.length) throw fault("bytes left over");
}

test(
  `DnsServer takes ${PACKETS} packets of any kind`,
  () => {
    const random = seeded(SEED);
    const draw: Draw = (below) => Math.floor(random.next() * below);
    const server = new DnsServer({ random, zone: () => zone, forwarder: null });
    const codes = new Set<number>();
    let answered = 0;
    for (let count = 0; count < PACKETS; count++) {
      const query = drawPacket(draw);
      const before = query.slice();
      const transport: Transport = draw(4) === 0 ? "tcp" : "udp";
      let replies = 0;
      server.answer(query, transport, (answer) => {
        replies += 1;
        check(before, answer, transport);
        codes.add(readUint16(answer, 2) & 15);
      });
      if (replies > 1) throw new Error("answered twice");
      answered += replies;
      if (!Buffer.from(before).equals(query)) throw new Error("changed the query");
    }
    // Answers, malformed, missing, not implemented, refused: the packets did reach everything.
    expect([...codes].toSorted((a, b) => a - b)).toEqual([0, 1, 3, 4, 5]);
    expect(answered).toBeGreaterThan(PACKETS / 2);
  },
  { timeout: 3_600_000 },
);

test(
  "DnsServer holds no more after many names that nobody has than after few",
  () => {
    const server = new DnsServer({ random: seeded(1), zone: () => zone, forwarder: null });
    const questions = [{ name: "00000.no.web.service.consul", type: "A", class: "IN" } as const];
    const message = new Uint8Array(packet.encode({ type: "query", id: 1, flags: 0, questions }));
    const ask = (from: number, to: number): void => {
      for (let index = from; index < to; index++) {
        message.set(new TextEncoder().encode(String(index).padStart(5, "0")), HEADER_BYTES + 1);
        server.answer(message, "udp", () => undefined);
      }
    };
    const heap = (): number => {
      Bun.gc(true);
      return process.memoryUsage().heapUsed;
    };
    // Fills every place of the table first.
    ask(0, 40_000);
    const before = heap();
    ask(40_000, 80_000);
    expect((heap() - before) / 2 ** 20).toBeLessThan(4);
  },
  { timeout: 60_000 },
);
