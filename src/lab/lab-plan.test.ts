import { expect, test } from "bun:test";
import fc from "fast-check";
import { AppError } from "../model/error.ts";
import { cidrContains, parseCidr } from "../model/ip.ts";
import { labNameFrom, nodeOf, parseLabName, planLab } from "./lab-plan.ts";

test("planLab() puts every third host behind the router", () => {
  const plan = planLab("demo", 4);
  expect(plan.nodes.map(({ name, address, gateway }) => `${name} ${address} via ${gateway}`)).toEqual([
    "s1 10.77.1.2 via 10.77.1.1",
    "h1 10.77.1.11 via 10.77.1.1",
    "h2 10.77.1.12 via 10.77.1.1",
    "h3 10.77.2.13 via 10.77.2.1",
    "h4 10.77.1.14 via 10.77.1.1",
  ]);
});

test("planLab() gives every node an address and a mark of its own, inside its segment", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 60 }), (hosts) => {
      const { nodes, segments } = planLab("p", hosts);
      expect(new Set(nodes.map((node) => node.address)).size).toBe(hosts + 1);
      expect(new Set(nodes.map((node) => node.mark)).size).toBe(hosts + 1);
      for (const node of nodes) {
        const segment = segments.find(({ number }) => number === node.segment);
        expect(cidrContains(parseCidr(`10.77.${node.segment}.0/24`), node.address)).toBe(true);
        expect<string | undefined>(segment?.gateway).toBe(node.gateway);
        expect(node.mark).toBeGreaterThan(0);
      }
    }),
  );
});

test("planLab() refuses numbers of hosts that have no addresses", () => {
  for (const hosts of [0, -1, 61, 1.5, Number.NaN]) expect(() => planLab("p", hosts)).toThrow(AppError);
});

test("parseLabName() takes what fits in a socket path and a namespace name, and nothing else", () => {
  for (const name of ["a", "demo", "lab-1a2b3c", "a-b-c"]) expect(parseLabName(name)).toBe(name);
  for (const name of ["", "-a", "a-", "A", "a/b", "..", "a b", "a".repeat(21)]) {
    expect(() => parseLabName(name)).toThrow(AppError);
  }
});

test("labNameFrom() makes names that parse", () => {
  fc.assert(fc.property(fc.uuid(), (uuid) => parseLabName(labNameFrom(uuid)) !== ""));
});

test("nodeOf() names the hosts there are", () => {
  const plan = planLab("demo", 2);
  expect(nodeOf(plan, "h2").address as string).toBe("10.77.1.12");
  expect(() => nodeOf(plan, "h9")).toThrow("s1, h1, h2");
});
