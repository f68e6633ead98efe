import { expect, test } from "bun:test";
import fc from "fast-check";
import { cidrsOverlap, parseCidr } from "../model/ip.ts";
import { checkRangeClash, chooseBlock, gatewayOf } from "./blocks.ts";

const SEED = { range: "10.2.0.0/16", blockPrefix: 24, taken: [], avoid: [] };

function blockOf(choice: ReturnType<typeof chooseBlock>): string {
  return choice.kind === "block" ? choice.block : choice.message;
}

test("chooseBlock() gives the first host block 1, the next ones the lowest that is free", () => {
  expect(blockOf(chooseBlock(SEED))).toBe("10.2.1.0/24");
  expect(blockOf(chooseBlock({ ...SEED, taken: ["10.2.1.0/24", "10.2.3.0/24"] }))).toBe("10.2.2.0/24");
  expect(blockOf(chooseBlock({ ...SEED, taken: ["10.2.0.0/23"], avoid: ["10.2.2.128/25"] }))).toBe("10.2.3.0/24");
});

test("chooseBlock() takes block 0 last and then says that the range is full", () => {
  const taken = Array.from({ length: 255 }, (_, index) => `10.2.${index + 1}.0/24`);
  expect(blockOf(chooseBlock({ ...SEED, taken }))).toBe("10.2.0.0/24");
  const full = chooseBlock({ ...SEED, taken: [...taken, "10.2.0.0/24"] });
  expect(full).toMatchObject({ kind: "problem", message: expect.stringContaining("all 256 blocks") });
});

test("chooseBlock() refuses blocks that do not fit the range or hold no containers", () => {
  expect(chooseBlock({ ...SEED, blockPrefix: 15 }).kind).toBe("problem");
  expect(chooseBlock({ ...SEED, blockPrefix: 30 }).kind).toBe("problem");
  expect(blockOf(chooseBlock({ ...SEED, range: "192.168.4.0/24", blockPrefix: 24 }))).toBe("192.168.4.0/24");
});

test("chooseBlock() never gives out what is taken or to be avoided", () => {
  const block = fc.record({ third: fc.nat(15), prefix: fc.constantFrom(22, 23, 24, 25) }).map(({ third, prefix }) => {
    const width = prefix < 24 ? 2 ** (24 - prefix) : 1;
    return `10.2.${third - (third % width)}.0/${prefix}`;
  });
  fc.assert(
    fc.property(fc.array(block), fc.array(block), fc.constantFrom(22, 24, 26), (taken, avoid, blockPrefix) => {
      const choice = chooseBlock({ range: "10.2.0.0/20", blockPrefix, taken, avoid });
      if (choice.kind === "problem") return;
      const got = parseCidr(choice.block);
      expect(got.prefix).toBe(blockPrefix);
      expect([...taken, ...avoid].filter((other) => cidrsOverlap(parseCidr(other), got))).toEqual([]);
    }),
  );
});

test("checkRangeClash() names what overlaps and suggests a range that does not", () => {
  expect(checkRangeClash("10.2.0.0/16", ["0.0.0.0/0", "192.168.1.0/24", "10.3.0.0/16"])).toBeNull();
  expect(checkRangeClash("10.2.0.0/16", ["10.2.7.0/24", "10.0.0.0/16"])).toEqual({
    range: "10.2.0.0/16",
    with: ["10.2.7.0/24"],
    suggestion: "10.1.0.0/16",
  });
  expect(checkRangeClash("10.2.0.0/16", ["10.0.0.0/8"])?.suggestion).toBe("172.16.0.0/16");
  expect(checkRangeClash("10.2.0.0/16", ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/17"])?.suggestion).toBeNull();
});

test("checkRangeClash() suggests only free ranges", () => {
  const range = fc
    .record({ a: fc.constantFrom(10, 172, 192), b: fc.nat(255), prefix: fc.integer({ min: 8, max: 16 }) })
    .map(({ a, b, prefix }) => {
      const width = 2 ** (16 - prefix);
      return `${a}.${b - (b % width)}.0.0/${prefix}`;
    });
  fc.assert(
    fc.property(range, fc.array(range, { maxLength: 6 }), (wanted, own) => {
      const clash = checkRangeClash(wanted, own);
      const overlaps = own.some((other) => cidrsOverlap(parseCidr(other), parseCidr(wanted)));
      expect(clash !== null).toBe(overlaps);
      if (clash === null || clash.suggestion === null) return;
      const suggestion = parseCidr(clash.suggestion);
      expect(own.some((other) => cidrsOverlap(parseCidr(other), suggestion))).toBe(false);
    }),
  );
});

test("gatewayOf() is the .1 of the first block", () => {
  expect(String(gatewayOf(["10.2.3.0/24", "10.2.9.0/24"]))).toBe("10.2.3.1");
  expect(() => gatewayOf([])).toThrow("it has no block");
});
