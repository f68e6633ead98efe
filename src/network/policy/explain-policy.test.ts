import { expect, test } from "bun:test";
import { parseIpv4 } from "../../model/ip.ts";
import type { Ipv4 } from "../../model/ip.ts";
import type { PolicyRule } from "../../model/network-config.ts";
import { parseNetworkObject } from "../../model/network-config.ts";
import { chooseParty } from "./choose-parties.ts";
import type { PolicyAnswer } from "./explain-policy.ts";
import { explainPolicy } from "./explain-policy.ts";
import { holder, input } from "./policy.fixture.ts";

const HOLDERS = [
  holder({ address: parseIpv4("10.2.1.5"), app: "/web", services: ["web"], instance: "web.instance-0123abcd-9" }),
  holder({ address: parseIpv4("10.2.1.6"), app: "/db", services: ["db"], container: "database" }),
  holder({ address: parseIpv4("10.2.2.5"), app: "/web", services: ["web"], host: "h2" }),
  holder({ address: parseIpv4("10.2.2.9"), host: "h2", container: "tool" }),
];
const PARTIES = {
  holders: HOLDERS,
  hosts: [{ name: "h1", address: parseIpv4("192.0.2.1"), up: true }],
  hostAddresses: new Map([["h1", [parseIpv4("192.0.2.1"), parseIpv4("10.2.1.1")]]]),
};
const rule = (value: object): PolicyRule => parseNetworkObject("policy", value);
const DB = rule({
  name: "db",
  from: [{ app: "/web" }],
  to: [{ service: "db" }],
  ports: [{ protocol: "tcp", from: 5432, to: 5432 }],
});

function why(
  from: string,
  to: string,
  port: number,
  rules: readonly PolicyRule[] = [DB],
  policy: "open" | "deny" = "open",
): PolicyAnswer {
  const given = input({ holders: HOLDERS, rules, networks: [{ name: "apollo", bridge: "apollo0", policy }] });
  const question = { from: chooseParty(from, PARTIES), to: chooseParty(to, PARTIES), protocol: "tcp" as const, port };
  return explainPolicy(given, question);
}

const CASES: readonly (readonly [string, PolicyAnswer, string, string | null])[] = [
  ["allowed by a rule", why("web", "db", 5432), "true rule db h1 2", null],
  [
    "port that is not open",
    why("web", "db", 80),
    "false not-allowed - h1 2",
    "apollo policy put web-to-db --from app=/web --to app=/db --port 80/tcp",
  ],
  [
    "not in the rule",
    why("tool", "db", 5432),
    "false not-allowed - h1 1",
    "apollo policy put 10-2-2-9-32-to-db --from cidr=10.2.2.9/32 --to app=/db --port 5432/tcp",
  ],
  [
    "from a host",
    why("host:h1", "database", 5432),
    "false not-allowed - h1 2",
    "apollo policy put hosts-to-db --from host=any --to app=/db --port 5432/tcp",
  ],
  ["to nobody's rule", why("db", "web", 80), "true open - - 2", null],
  ["to the outside", why("web", "203.0.113.9", 80), "true outside - - 2", null],
  [
    "in a closed network",
    why("db", "tool", 80, [DB], "deny"),
    "false closed - h2 1",
    "apollo policy put db-to-10-2-2-9-32 --from app=/db --to cidr=10.2.2.9/32 --port 80/tcp",
  ],
  ["to itself", why("tool", "10.2.2.9", 80, [DB], "deny"), "true same - - 1", null],
];

test("explainPolicy() says what decides, where, and what would allow it", () => {
  for (const [name, answer, line, cure] of CASES) {
    const said = answer.cases.map(
      (one) => `${one.allowed} ${one.reason} ${one.by ?? "-"} ${one.host ?? "-"} ${one.pairs}`,
    );
    expect([name, said, answer.cure]).toEqual([name, [line], cure]);
  }
});

test("explainPolicy() knows the borders of networks, and the rule that opens one", () => {
  const [blue, red] = [parseIpv4("10.50.1.10"), parseIpv4("10.51.1.10")];
  const holders = [
    holder({ address: blue, network: "blue", container: "shop" }),
    holder({ address: red, network: "red", container: "store" }),
    holder({ address: parseIpv4("10.2.1.5"), container: "both" }),
    holder({ address: parseIpv4("10.51.1.11"), network: "red", container: "both" }),
  ];
  const networks = ["apollo", "blue", "red"].map((name) => ({ name, bridge: name, policy: "open" as const }));
  const ask = (from: string, to: string, rules: readonly PolicyRule[] = []): string => {
    const parties = { ...PARTIES, holders };
    const question = {
      from: chooseParty(from, parties),
      to: chooseParty(to, parties),
      protocol: "tcp" as const,
      port: 80,
    };
    const { cases, cure } = explainPolicy(input({ holders, rules, networks }), question);
    return `${cases.map(({ allowed, reason }) => `${allowed} ${reason}`).join(", ")}; ${cure}`;
  };
  const opening = {
    name: "shop",
    network: "red",
    from: [{ network: "blue" }],
    ports: [{ protocol: "tcp", from: 80, to: 80 }],
  };
  const cure = "apollo policy put 10-50-1-10-32-to-10-51-1-10-32 --from network=blue,cidr=10.50.1.10/32";
  expect(ask("10.50.1.10", "10.51.1.10")).toBe(
    `false border; ${cure} --to cidr=10.51.1.10/32 --port 80/tcp --network red`,
  );
  expect(ask("10.50.1.10", "10.51.1.10", [rule(opening)])).toBe("true rule; null");
  expect(ask("10.51.1.10", "10.50.1.10", [rule(opening)])).toContain("false border");
  expect(ask("10.2.1.5", "10.50.1.10")).toBe("false border; null");
  // One that is on both networks is not at a border.
  expect(ask("10.2.1.5", "10.51.1.10")).toBe("true open; null");
});

test("explainPolicy() keeps pairs with different answers apart", () => {
  const web = rule({ name: "web", from: [{ app: "/db" }], to: [{ cidr: "10.2.1.0/24" }] });
  const answer = why("db", "web", 80, [web]);
  expect(answer.cases.map(({ reason, destination, pairs }) => [reason, destination, pairs])).toEqual([
    ["rule", "10.2.1.5" as Ipv4, 1],
    ["open", "10.2.2.5" as Ipv4, 1],
  ]);
});

test("chooseParty() finds by any name, and says what there is not", () => {
  const kinds = ["web", "/web", "0123abcd", "database", "10.2.1.6", "host:h1"].map(
    (text) => chooseParty(text, PARTIES).kind,
  );
  expect(kinds).toEqual(["app", "app", "instance", "container", "address", "host"]);
  expect(() => chooseParty("host:h9", PARTIES)).toThrow('Cannot find host "h9"');
  expect(() => chooseParty("nobody", PARTIES)).toThrow('Cannot find "nobody"');
});
