import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseIpv4 } from "../../model/ip.ts";
import type { PacketPath } from "./find-drop-rules.ts";
import { findDropRules } from "./find-drop-rules.ts";

const PATH: PacketPath = {
  hook: "forward",
  inDevice: "eth0",
  outDevice: "apollo0",
  source: parseIpv4("10.2.1.5"),
  destination: parseIpv4("10.2.2.7"),
  protocol: "tcp",
  port: 80,
  bytes: 60,
};

interface TestChain {
  readonly name: string;
  readonly hook?: string;
  readonly policy?: string;
  readonly rules: readonly (readonly object[])[];
  readonly family?: string;
  readonly table?: string;
}

function ruleset(...chains: readonly TestChain[]): string {
  let handle = 0;
  const nftables = chains.flatMap(({ name, hook, policy, rules, family = "ip", table = "filter" }) => [
    { chain: { family, table, name, handle: (handle += 1), ...(hook && { type: "filter", hook, prio: 0, policy }) } },
    ...rules.map((expr) => ({ rule: { family, table, chain: name, handle: (handle += 1), expr } })),
  ]);
  return JSON.stringify({ nftables: [{ metainfo: { version: "1.0.6" } }, ...nftables] });
}

const drop = { drop: null };
const accept = { accept: null };
const match = (left: object, right: unknown, op = "=="): object => ({ match: { op, left, right } });
const meta = (key: string): object => ({ meta: { key } });
const field = (protocol: string, name: string): object => ({ payload: { protocol, field: name } });
const jump = (target: string): object => ({ jump: { target } });
const xt = { xt: { type: "match", name: "physdev" } };

function found(rules: readonly (readonly object[])[], path: Partial<PacketPath> = {}, policy = "accept"): string {
  const drops = findDropRules(ruleset({ name: "FORWARD", hook: "forward", policy, rules }), { ...PATH, ...path });
  return drops.map(({ handle, certain }) => `${handle ?? "policy"}${certain ? "" : "?"}`).join(" ");
}

const CASES: readonly (readonly [what: string, rules: readonly (readonly object[])[], expected: string])[] = [
  ["every packet", [[drop]], "2"],
  ["a reject", [[{ reject: { type: "icmp" } }]], "2"],
  ["the destination's address", [[match(field("ip", "daddr"), "10.2.2.7"), drop]], "2"],
  ["another address", [[match(field("ip", "daddr"), "10.2.2.8"), drop]], ""],
  ["a range with the address", [[match(field("ip", "saddr"), { prefix: { addr: "10.2.0.0", len: 16 } }), drop]], "2"],
  ["all but a range", [[match(field("ip", "saddr"), { prefix: { addr: "10.2.0.0", len: 16 } }, "!="), drop]], ""],
  ["the port", [[match(field("tcp", "dport"), 80), drop]], "2"],
  ["a set of ports", [[match(field("tcp", "dport"), { set: [22, { range: [79, 90] }] }), drop]], "2"],
  ["a port of UDP", [[match(field("udp", "dport"), 80), drop]], ""],
  ["another device", [[match(meta("oifname"), "docker0"), drop]], ""],
  ["devices by pattern", [[match(meta("oifname"), "apollo*"), drop]], "2"],
  ["large packets", [[match(meta("length"), 1400, ">"), drop]], ""],
  ["new connections", [[match({ ct: { key: "state" } }, ["new", "invalid"]), drop]], "2"],
  ["connections that exist", [[match({ ct: { key: "state" } }, ["established", "related"]), accept], [drop]], "3"],
  ["after an accept", [[match(field("tcp", "dport"), 80), accept], [drop]], ""],
  ["after an accept that is not known", [[xt, accept], [drop]], "3?"],
  ["behind a match that is not known", [[xt, drop]], "2?"],
  ["a set by name", [[match(field("ip", "daddr"), "@banned"), drop]], "2?"],
  ["a jump to nowhere", [[jump("GONE")], [drop]], "3"],
];

for (const [what, rules, expected] of CASES) {
  test(`findDropRules() with a rule for ${what} gives "${expected}"`, () => expect(found(rules)).toBe(expected));
}

test("findDropRules() walks into other chains as far as their conditions hold", () => {
  const stage = { name: "STAGE", rules: [[match(meta("oifname"), "apollo0"), drop]] };
  const via = (device: string): string => {
    const base = {
      name: "FORWARD",
      hook: "forward",
      policy: "accept",
      rules: [[match(meta("iifname"), device), jump("STAGE")]],
    };
    return findDropRules(ruleset(base, stage), PATH)
      .map(({ chain }) => chain)
      .join(" ");
  };
  expect([via("docker0"), via("eth0")]).toEqual(["", "ip filter STAGE"]);
  const back = { name: "STAGE", rules: [[{ return: null }]] };
  const base = { name: "FORWARD", hook: "forward", policy: "drop", rules: [[jump("STAGE")]] };
  expect(findDropRules(ruleset(base, back), PATH)).toMatchObject([
    { handle: null, comment: "policy drop", certain: true },
  ]);
});

test("findDropRules() takes a chain's policy when no rule accepts, and only hooks that the packet passes", () => {
  expect(found([], {}, "drop")).toBe("policy");
  expect(found([[xt, accept]], {}, "drop")).toBe("policy?");
  expect(found([[accept]], {}, "drop")).toBe("");
  expect(found([[drop]], { hook: "input" })).toBe("");
});

test("findDropRules() leaves our own table, bridges and chains that loop alone", () => {
  const own = { name: "f", hook: "forward", rules: [[drop]], family: "inet", table: "apollo" };
  const bridge = { name: "f", hook: "forward", rules: [[drop]], family: "bridge" };
  const loop = { name: "L", hook: "forward", policy: "accept", rules: [[jump("L")], [jump("L")]] };
  expect(findDropRules(ruleset(own, bridge, loop), PATH)).toEqual([]);
});

test("findDropRules() gives a list for any text", () => {
  fc.assert(fc.property(fc.oneof(fc.string(), fc.json()), (text) => Array.isArray(findDropRules(text, PATH))));
  fc.assert(
    fc.property(
      fc.array(fc.array(fc.dictionary(fc.constantFrom("match", "drop", "jump", "xt"), fc.jsonValue()))),
      (rules) => Array.isArray(findDropRules(ruleset({ name: "F", hook: "forward", rules }), PATH)),
    ),
  );
});
