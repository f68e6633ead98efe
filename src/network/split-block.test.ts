import { expect, test } from "bun:test";
import fc from "fast-check";
import { cidrsOverlap, formatCidr, parseCidr } from "../model/ip.ts";
import { engineShare, splitBlocks } from "./split-block.ts";

test("the engine has the lower half of the first block, the agent the rest", () => {
  expect(engineShare("10.2.1.0/24")).toBe("10.2.1.0/25");
  expect(splitBlocks(["10.2.1.0/24", "10.2.9.0/24"], "10.2.1.0/25")).toEqual({
    engine: "10.2.1.0/25",
    own: ["10.2.1.128/25", "10.2.9.0/24"],
  });
});

test("a small block is the engine's alone, as is one that an older network hands out whole", () => {
  expect(engineShare("10.2.1.0/28")).toBe("10.2.1.0/28");
  for (const range of ["10.2.1.0/24", null, "10.9.0.0/25"]) {
    expect(splitBlocks(["10.2.1.0/24", "10.2.9.0/24"], range)).toEqual({ engine: "10.2.1.0/24", own: ["10.2.9.0/24"] });
  }
  expect(splitBlocks([], null)).toEqual({ engine: null, own: [] });
});

test("both shares make up all blocks and never overlap", () => {
  fc.assert(
    fc.property(fc.integer({ min: 16, max: 29 }), fc.nat({ max: 200 }), (prefix, at) => {
      const block = formatCidr({ first: 0x0a_02_00_00 + at * 2 ** (32 - prefix), prefix });
      const { engine, own } = splitBlocks([block], engineShare(block));
      const parts = [engine ?? "none", ...own].map(parseCidr);
      expect(parts.reduce((sum, part) => sum + 2 ** (32 - part.prefix), 0)).toBe(2 ** (32 - prefix));
      for (const part of parts.slice(1)) expect(cidrsOverlap(part, parseCidr(engine ?? "none"))).toBe(false);
    }),
  );
});
