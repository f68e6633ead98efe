import { expect, test } from "bun:test";
import { Buffer } from "node:buffer";
import packet from "dns-packet";
import fc from "fast-check";
import { DEFAULT_DNS, type DnsSettings } from "../../model/dns-settings.ts";
import { type Ipv4, parseIpv4 } from "../../model/ip.ts";
import type { Clock } from "../../platform/ports/clock.ts";
import type { DatagramClient } from "../../platform/ports/listener.ts";
import { type Upstream, chooseUpstreams } from "./choose-upstreams.ts";
import { DnsServer, type Transport } from "./dns-server.ts";
import { Forwarder } from "./forwarder.ts";
import { parseResponse } from "./parse-response.ts";
import { EDNS } from "./dns.fixture.ts";

const A = parseIpv4("192.0.2.1");
const B = parseIpv4("192.0.2.2");
const upstream = (address: Ipv4, port = 53): Upstream => ({ address, port });
const RANDOM = { next: () => 0.25, uuid: () => "", secret: () => "" };

class StillClock implements Clock {
  now = 0;
  nowMs = (): number => this.now;
  monotonicMs = (): number => this.now;
  sleep = (): Promise<void> => Promise.resolve();
}

type Reply = (question: packet.DecodedPacket, transport: Transport) => Partial<packet.Packet> | Uint8Array | null;

/** Upstreams by address, each a function; remembers who was asked and how. */
class FakeUpstreams implements DatagramClient {
  readonly asked: string[] = [];
  readonly replies = new Map<string, Reply>();

  ask = (datagram: Uint8Array, server: Ipv4): Promise<Uint8Array | null> => this.#reply(datagram, server, "udp");
  askStream = (message: Uint8Array, server: Ipv4): Promise<Uint8Array | null> => this.#reply(message, server, "tcp");

  async #reply(bytes: Uint8Array, server: Ipv4, transport: Transport): Promise<Uint8Array | null> {
    const question = packet.decode(Buffer.from(bytes));
    this.asked.push(`${transport} ${server} ${question.questions?.[0]?.name}`);
    await Promise.resolve();
    const reply = this.replies.get(server)?.(question, transport) ?? null;
    if (reply === null || reply instanceof Uint8Array) return reply;
    return packet.encode({ type: "response", id: question.id ?? 0, questions: question.questions ?? [], ...reply });
  }
}

const found =
  (data: string, ttl = 60): Reply =>
  (question) => ({
    answers: [{ type: "A", name: question.questions?.[0]?.name ?? "", ttl, data }],
    additionals: question.additionals ?? [],
  });

interface Setup {
  readonly upstreams: FakeUpstreams;
  readonly clock: StillClock;
  readonly ask: (name: string, options?: { transport?: Transport; edns?: boolean }) => Promise<Asked>;
}

interface Asked {
  readonly rcode: string;
  readonly tc: boolean;
  readonly name: string;
  readonly answers: readonly string[];
  readonly opt: boolean;
}

function setUp(
  list: readonly Upstream[] = [upstream(A), upstream(B)],
  own: readonly Upstream[] = [],
  settings: Partial<DnsSettings> = {},
): Setup {
  const upstreams = new FakeUpstreams();
  const clock = new StillClock();
  const forwarder = new Forwarder({
    datagrams: upstreams,
    clock,
    random: RANDOM,
    upstreams: () => list,
    own: () => own,
    settings: () => ({ ...DEFAULT_DNS, ...settings }),
  });
  const server = new DnsServer({ random: RANDOM, zone: () => null, forwarder });
  let id = 0;
  const ask: Setup["ask"] = (name, { transport = "udp", edns = false } = {}) =>
    new Promise((resolve) => {
      id += 1;
      const sent = id;
      const message = packet.encode({
        type: "query",
        id: sent,
        flags: packet.RECURSION_DESIRED,
        questions: [{ name, type: "A" }],
        additionals: edns ? [EDNS] : [],
      });
      server.answer(message, transport, (bytes) => {
        const answer = packet.decode(Buffer.from(bytes));
        expect(answer.id).toBe(sent);
        resolve({
          rcode: (answer as unknown as { rcode: string }).rcode,
          tc: answer.flag_tc,
          name: answer.questions?.[0]?.name ?? "",
          answers: (answer.answers ?? []).map((each) => (each.type === "A" ? `${each.ttl} ${each.data}` : each.type)),
          opt: answer.additionals?.some((each) => each.type === "OPT") ?? false,
        });
      });
    });
  return { upstreams, clock, ask };
}

test("Forwarder passes an answer on with the client's id, case and EDNS", async () => {
  const { upstreams, ask } = setUp();
  upstreams.replies.set(A, found("198.51.100.1"));
  expect(await ask("ExAmple.org")).toEqual({
    rcode: "NOERROR",
    tc: false,
    name: "ExAmple.org",
    answers: ["60 198.51.100.1"],
    opt: false,
  });
  expect(await ask("example.ORG", { edns: true })).toMatchObject({ name: "example.ORG", opt: true });
});

test("Forwarder remembers answers, counts their TTL down and asks again after it", async () => {
  const { upstreams, clock, ask } = setUp();
  upstreams.replies.set(A, found("198.51.100.1", 60));
  await ask("example.org");
  clock.now = 20_000;
  expect((await ask("EXAMPLE.org")).answers).toEqual(["40 198.51.100.1"]);
  expect(upstreams.asked.length).toBe(1);
  clock.now = 60_000;
  expect((await ask("example.org")).answers).toEqual(["60 198.51.100.1"]);
  expect(upstreams.asked.length).toBe(2);
});

test("Forwarder believes no TTL above five minutes and remembers none of zero", async () => {
  const { upstreams, clock, ask } = setUp();
  upstreams.replies.set(A, found("198.51.100.1", 86_400));
  await ask("long.example");
  clock.now = 299_000;
  expect((await ask("long.example")).answers).toEqual(["1 198.51.100.1"]);
  clock.now = 300_000;
  await ask("long.example");
  upstreams.replies.set(A, found("198.51.100.1", 0));
  await ask("zero.example");
  await ask("zero.example");
  expect(upstreams.asked.map((each) => each.split(" ")[2])).toEqual([
    "long.example",
    "long.example",
    "zero.example",
    "zero.example",
  ]);
});

test("Forwarder goes on to the next upstream when one is silent, fails or answers another question", async () => {
  const bad: readonly Reply[] = [
    () => null,
    () => ({ flags: 2 }),
    () => ({ flags: 5 }),
    (question) => ({ id: (question.id ?? 0) + 1 }),
    () => ({ questions: [{ name: "other.example", type: "A" }] }),
    () => new Uint8Array([1, 2, 3]),
  ];
  for (const reply of bad) {
    const { upstreams, ask } = setUp();
    upstreams.replies.set(A, reply).set(B, found("198.51.100.2"));
    expect((await ask("example.org")).answers).toEqual(["60 198.51.100.2"]);
    // The one that answered is asked first from now on.
    await ask("example.net");
    expect(upstreams.asked.map((each) => each.split(" ")[1] ?? "")).toEqual([A, B, B]);
  }
});

test("Forwarder says SERVFAIL when nobody answers, and gives a stale answer where it has one", async () => {
  const { upstreams, clock, ask } = setUp();
  expect((await ask("example.org")).rcode).toBe("SERVFAIL");
  upstreams.replies.set(A, found("198.51.100.1"));
  await ask("example.org");
  upstreams.replies.clear();
  clock.now = 120_000;
  expect((await ask("example.org")).answers).toEqual(["30 198.51.100.1"]);
  clock.now = 120_000 + 3_600_000;
  expect((await ask("example.org")).rcode).toBe("SERVFAIL");
});

test("Forwarder asks over TCP when the answer was cut, and cuts it again only for a client that cannot take it", async () => {
  const { upstreams, ask } = setUp();
  const many = Array.from(
    { length: 40 },
    (_, index) => ({ type: "A", name: "big.example", ttl: 60, data: `198.51.100.${index}` }) as const,
  );
  upstreams.replies.set(A, (_, transport) =>
    transport === "udp" ? { flags: packet.TRUNCATED_RESPONSE } : { answers: many },
  );
  const udp = await ask("big.example");
  expect([udp.tc, udp.answers.length]).toEqual([true, 0]);
  const tcp = await ask("big.example", { transport: "tcp" });
  expect([tcp.tc, tcp.answers.length]).toEqual([false, 40]);
  expect((await ask("big.example", { edns: true })).answers.length).toBe(40);
  expect(upstreams.asked).toEqual([`udp ${A} big.example`, `tcp ${A} big.example`]);
});

test("Forwarder asks once for a question that many wait for", async () => {
  const { upstreams, ask } = setUp();
  upstreams.replies.set(A, found("198.51.100.1", 0));
  const answers = await Promise.all([ask("example.org"), ask("EXAMPLE.org"), ask("example.org")]);
  expect(answers.map(({ name }) => name)).toEqual(["example.org", "EXAMPLE.org", "example.org"]);
  expect(upstreams.asked.length).toBe(1);
});

test("chooseUpstreams() never chooses ourselves", () => {
  const own = [upstream(parseIpv4("10.2.1.1")), upstream(parseIpv4("127.0.0.1"), 8600)];
  const list = [
    ...own,
    upstream(A),
    upstream(A),
    upstream(parseIpv4("0.0.0.0")),
    upstream(parseIpv4("127.0.0.1")),
    upstream(B),
  ];
  const usable = [upstream(A), upstream(parseIpv4("127.0.0.1")), upstream(B)];
  expect(chooseUpstreams(list, own, null)).toEqual(usable);
  expect(chooseUpstreams(list, own, upstream(B))).toEqual([upstream(B), upstream(A), upstream(parseIpv4("127.0.0.1"))]);
  expect(chooseUpstreams(own, own, null)).toEqual([]);
});

test("parseResponse() takes any bytes", () => {
  const base = packet.encode({
    type: "response",
    id: 1,
    questions: [{ name: "example.org", type: "A" }],
    answers: [{ type: "A", name: "example.org", ttl: 60, data: "198.51.100.1" }],
    authorities: [
      {
        type: "SOA",
        name: "org",
        ttl: 9,
        data: { mname: "a", rname: "b", serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 5 },
      },
    ],
  });
  const edits = fc.array(fc.tuple(fc.nat(base.length - 1), fc.integer({ min: 0, max: 255 })), { maxLength: 8 });
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 300 }), edits), (change) => {
      const bytes = change instanceof Uint8Array ? change : new Uint8Array(base);
      if (!(change instanceof Uint8Array)) for (const [at, value] of change) bytes[at] = value;
      const parsed = parseResponse(bytes);
      for (const offset of parsed?.ttlOffsets ?? []) expect(offset + 4).toBeLessThanOrEqual(bytes.length);
      expect(parsed === null || parsed.ttlSeconds >= 0).toBe(true);
    }),
    { numRuns: 2000 },
  );
  expect(parseResponse(base)).toMatchObject({ rcode: 0, ttlSeconds: 60, truncated: false });
});

test("Forwarder gives no stale answer where none is wanted, and stops asking when its askers are gone", async () => {
  const { upstreams, clock, ask } = setUp(undefined, undefined, { staleSeconds: 0 });
  upstreams.replies.set(A, found("198.51.100.1", 10));
  expect((await ask("a.example")).answers).toEqual(["10 198.51.100.1"]);
  upstreams.replies.clear();
  clock.now = 11_000;
  expect((await ask("a.example")).rcode).toBe("SERVFAIL");
  // Each of these takes three seconds to say nothing: after two of them nobody listens any more.
  const many = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map((address) => upstream(parseIpv4(address)));
  const slow = setUp(many);
  for (const { address } of many) {
    slow.upstreams.replies.set(address, () => {
      slow.clock.now += 3000;
      return null;
    });
  }
  expect((await slow.ask("b.example")).rcode).toBe("SERVFAIL");
  expect(slow.upstreams.asked.length).toBe(2);
});

test("chooseUpstreams() with chance orders anew", () => {
  const draws = [0.9, 0.1, 0.1, 0.9];
  const random = { ...RANDOM, next: () => draws.shift() ?? 0 };
  const chosen = [1, 2].map(() =>
    chooseUpstreams([upstream(A), upstream(B)], [], random).map(({ address }) => address),
  );
  expect(chosen).toEqual([
    [B, A],
    [A, B],
  ]);
});
