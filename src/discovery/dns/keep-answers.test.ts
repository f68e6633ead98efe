import { Buffer } from "node:buffer";
import { expect, test } from "bun:test";
import packet from "dns-packet";
import { instance, seeded } from "./dns.fixture.ts";
import { DnsServer } from "./dns-server.ts";
import { buildZone } from "./zone.ts";

const OPTIONS = { domain: "consul", datacenter: "dc1", ttlSeconds: 0 } as const;
const many = Array.from({ length: 40 }, (_, index) =>
  instance({ id: `m${index}`, service: "many", address: `10.9.1.${index + 1}` }),
);
const zone = buildZone(
  [
    instance({ id: "one", service: "one", address: "10.9.0.1" }),
    instance({ id: "heavy", service: "shares", address: "10.9.0.2", weights: { passing: 3, warning: 1 } }),
    instance({ id: "light", service: "shares", address: "10.9.0.3", weights: { passing: 1, warning: 1 } }),
    instance({ id: "far", service: "elsewhere", address: "far.example.org" }),
    ...many,
  ],
  [],
  OPTIONS,
);

/** Asks over UDP, with someone who keeps answers. */
class Keeper {
  readonly #server = new DnsServer({ random: seeded(3), zone: () => zone, forwarder: null });
  readonly kept: { readonly question: Uint8Array; readonly answers: readonly Uint8Array[] }[] = [];

  ask(message: Uint8Array): Uint8Array | null {
    let reply: Uint8Array | null = null;
    this.#server.answer(
      message,
      "udp",
      (bytes) => {
        reply = bytes;
      },
      (question, answers) => this.kept.push({ question: question.slice(), answers }),
    );
    return reply;
  }

  askTimes(times: number, message: Uint8Array): void {
    for (let turn = 0; turn < times; turn++) this.ask(message);
  }
}

function question(name: string, edns?: number): Uint8Array {
  const fixed = { extendedRcode: 0, ednsVersion: 0, flags: 0, flag_do: false, type: "OPT", name: "." } as const;
  const additionals = edns === undefined ? [] : [{ ...fixed, udpPayloadSize: edns, options: [] }];
  const questions = [{ name, type: "A" as const, class: "IN" as const }];
  return packet.encode({ type: "query", id: 5, flags: packet.RECURSION_DESIRED, questions, additionals });
}

/** RFC 7873: option 10 with the client's eight bytes, in the OPT record at the end. */
function withCookie(message: Uint8Array): Uint8Array {
  return Uint8Array.of(...message.subarray(0, -2), 0, 12, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8);
}

const first = (answer: Uint8Array): unknown => {
  const record = packet.decode(Buffer.from(answer)).answers?.[0];
  return record?.type === "A" ? record.data : record?.type;
};

test("an answer is given to the keeper when it is asked for again, each time", () => {
  const keeper = new Keeper();
  const asked = question("one.service.consul");
  const reply = keeper.ask(asked);
  expect(keeper.kept).toEqual([]);
  keeper.ask(asked);
  expect(keeper.kept).toEqual([{ question: asked, answers: [reply ?? new Uint8Array()] }]);
  keeper.ask(asked);
  expect(keeper.kept).toHaveLength(2);
});

test("no such name is kept once; where weights have a say, several draws of the same length", () => {
  const keeper = new Keeper();
  keeper.askTimes(2, question("nobody.service.consul", 1232));
  expect(keeper.kept.map(({ answers }) => answers.length)).toEqual([1]);
  keeper.kept.length = 0;
  keeper.askTimes(401, question("shares.service.consul"));
  const draws = keeper.kept.flatMap(({ answers }) => answers);
  expect(draws).toHaveLength(400 * 8);
  expect(new Set(draws.map(({ length }) => length)).size).toBe(1);
  const heavy = draws.filter((answer) => first(answer) === "10.9.0.2").length / draws.length;
  expect(heavy).toBeGreaterThan(0.7);
  expect(heavy).toBeLessThan(0.8);
});

test.each([
  ["a name in another case, which may be another each time", question("ONE.service.consul")],
  ["a question with a cookie, which is another for each client", withCookie(question("one.service.consul", 1232))],
  ["an answer that was cut", question("many.service.consul")],
  ["an answer of more than 512 bytes", question("many.service.consul", 4096)],
  ["an alias, whose target is not ours", question("elsewhere.service.consul")],
  ["a name from outside", question("example.org")],
  ["a question of more than 128 bytes", question(`${"x".repeat(60)}.${"y".repeat(60)}.service.consul`)],
  ["a question with bytes behind it", Uint8Array.of(...question("one.service.consul"), 0)],
  ["no question at all", new Uint8Array(12)],
])("the keeper does not get %s", (_, asked) => {
  const keeper = new Keeper();
  keeper.askTimes(20, asked);
  expect(keeper.kept).toEqual([]);
});
