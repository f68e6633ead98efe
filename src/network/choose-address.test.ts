import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Ipv4 } from "../model/ip.ts";
import { parseIpv4 } from "../model/ip.ts";
import { chooseAddress, countAddresses } from "./choose-address.ts";

const at = (last: number): Ipv4 => parseIpv4(`10.2.1.${last}`);
const all = Array.from({ length: 253 }, (_, index) => at(index + 2));

test("chooseAddress() starts behind the gateway and skips what is in use", () => {
  const base = { blocks: ["10.2.1.0/24"], resting: new Set<Ipv4>(), engineRange: null, keepShare: false };
  expect(chooseAddress({ ...base, used: new Set(), recent: [] })).toBe(at(2));
  expect(chooseAddress({ ...base, used: new Set([at(2), at(3)]), recent: [] })).toBe(at(4));
});

test("chooseAddress() prefers never used ones, then the one that was freed first", () => {
  const base = { blocks: ["10.2.1.0/24"], resting: new Set<Ipv4>(), engineRange: null, keepShare: false };
  expect(chooseAddress({ ...base, used: new Set(), recent: [at(2), at(3)] })).toBe(at(4));
  const recent = [at(200), ...all.filter((address) => address !== at(200))];
  expect(chooseAddress({ ...base, used: new Set(), recent })).toBe(at(200));
  expect(chooseAddress({ ...base, used: new Set([at(200)]), recent })).toBe(at(2));
});

test("chooseAddress() gives each address once, none of the reserved ones, then null", () => {
  fc.assert(
    fc.property(fc.shuffledSubarray(all), (recent) => {
      const used = new Set<Ipv4>();
      for (;;) {
        const address = chooseAddress({
          blocks: ["10.2.1.0/24"],
          used,
          recent,
          resting: new Set(),
          engineRange: null,
          keepShare: false,
        });
        if (address === null) break;
        expect(used.has(address)).toBe(false);
        used.add(address);
      }
      expect([...used].toSorted()).toEqual(all.toSorted());
    }),
    { numRuns: 10 },
  );
});

test("chooseAddress() leaves an eighth of the first block to the engine while other addresses can be had", () => {
  const blocks = ["10.2.1.0/28", "10.2.9.16/28", "10.2.77.77/32"];
  const want = { blocks, recent: [], resting: new Set<Ipv4>(), engineRange: null, keepShare: false };
  const used = new Set<Ipv4>();
  const given: Ipv4[] = [];
  for (let address = chooseAddress({ ...want, used }); address !== null; address = chooseAddress({ ...want, used })) {
    used.add(address);
    given.push(address);
  }
  expect(given.slice(10, 12).map(String)).toEqual(["10.2.1.12", "10.2.9.17"]);
  expect(given.slice(-2).map(String)).toEqual(["10.2.1.13", "10.2.1.14"]);
  expect(given.length).toBe(13 + 14);
  const almost = new Set(given.slice(0, -2));
  expect(chooseAddress({ ...want, used: almost, keepShare: true })).toBeNull();
  expect(countAddresses(blocks, new Set())).toEqual({ total: 13 + 14, free: 13 + 14 });
  expect(countAddresses(blocks, used)).toEqual({ total: 13 + 14, free: 0 });
});

test("chooseAddress() leaves an eighth of the first block to the engine within its own range", () => {
  const want = { blocks: ["10.2.1.0/24"], engineRange: "10.2.1.0/25", recent: [], resting: new Set<Ipv4>() };
  const used = new Set<Ipv4>();
  const given: Ipv4[] = [];
  const choose = (): Ipv4 | null => chooseAddress({ ...want, used, keepShare: false });
  for (let address = choose(); address !== null; address = choose()) {
    used.add(address);
    given.push(address);
  }
  expect(given[0]).toBe(at(2));
  expect(given.slice(92, 94)).toEqual([at(94), at(129)]);
  expect(new Set(given).size).toBe(given.length);
  expect(given.at(-1)).toBe(at(126));
});

test("chooseAddress() lets freed addresses rest, unless nothing else is left", () => {
  const base = {
    blocks: ["10.2.1.0/29"],
    engineRange: null,
    keepShare: false,
    used: new Set([at(2), at(3), at(4)]),
    recent: [at(5)],
  };
  expect(chooseAddress({ ...base, resting: new Set([at(5)]) })).toBe(at(6));
  const full = { ...base, used: new Set([at(2), at(3), at(4), at(6)]) };
  expect(chooseAddress({ ...full, resting: new Set([at(5)]) })).toBe(at(5));
});
