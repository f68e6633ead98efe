import { expect, test } from "bun:test";
import { parseIpv4 } from "../model/ip.ts";
import { parseIpv6 } from "../model/ip6.ts";
import { parseNetworkObject } from "../model/network-config.ts";
import { planOpenings } from "./plan-openings.ts";
import { holder } from "./policy/policy.fixture.ts";

const HOLDERS = [
  holder({ address: parseIpv4("10.50.1.10"), address6: parseIpv6("fd00::1"), network: "blue", app: "/web" }),
  holder({ address: parseIpv4("10.50.2.10"), network: "blue", app: "/eve", host: "h2" }),
  holder({ address: parseIpv4("10.51.1.10"), network: "red", app: "/db" }),
  holder({ address: parseIpv4("10.51.2.10"), address6: parseIpv6("fd00::2"), network: "red", app: "/web" }),
  holder({ address: parseIpv4("10.9.0.10"), network: "lab", app: "/web" }),
  holder({ address: parseIpv4("10.2.1.10"), app: "/web" }),
];

function opened(...rules: readonly object[]): readonly string[] {
  const parsed = rules.map((rule, index) => parseNetworkObject("policy", { name: `r${index}`, ...rule }));
  return planOpenings({ rules: parsed, holders: HOLDERS }, new Set(["blue", "red"])).map(
    ({ name, from, to, ports }) =>
      `${name}: ${from.addresses.join(" ")} > ${to.addresses.join(" ")}${ports === "all" ? "" : ` ${ports.length}`}`,
  );
}

test("a rule opens the border of its network for whom it names of another, and for what it means there", () => {
  const ports = [{ protocol: "tcp", from: 80, to: 80 }];
  expect(opened({ network: "red", from: [{ network: "blue" }] })).toEqual([
    "r0: 10.50.1.10 10.50.2.10 > 10.51.1.10 10.51.2.10",
  ]);
  expect(opened({ network: "red", from: [{ network: "blue", app: "web" }], to: [{ app: "/db" }], ports })).toEqual([
    "r0: 10.50.1.10 > 10.51.1.10 1",
  ]);
  const [both] = planOpenings(
    {
      rules: [parseNetworkObject("policy", { name: "r", network: "red", from: [{ network: "blue" }] })],
      holders: HOLDERS,
    },
    new Set(["blue", "red"]),
  );
  expect([both?.from.addresses6.map(String), both?.to.addresses6.map(String)]).toEqual([["fd00::1"], ["fd00::2"]]);
});

test("no border is opened by rules that do not name the other network, or one that is not declared and routed", () => {
  expect(opened({ network: "red", from: [{ app: "/web" }, { cidr: "10.50.0.0/16" }], to: [{ app: "/db" }] })).toEqual(
    [],
  );
  expect(opened({ network: "red" }, { network: "red", from: [{ network: "red" }] })).toEqual([]);
  expect(opened({ network: "red", from: [{ network: "lab" }, { network: "apollo" }] })).toEqual([]);
  expect(opened({ network: "lab", from: [{ network: "blue" }] }, { from: [{ network: "blue" }] })).toEqual([]);
  expect(opened({ network: "red", from: [{ network: "blue", app: "/gone" }] })).toEqual([]);
});
