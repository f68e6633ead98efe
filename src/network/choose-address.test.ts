import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Ipv4 } from "../model/ip.ts";
import { parseIpv4 } from "../model/ip.ts";
import { chooseAddress } from "./choose-address.ts";

const at = (last: number): Ipv4 => parseIpv4(`10.2.1.${last}`);
const all = Array.from({ length: 253 }, (_, index) => at(index + 2));

test("chooseAddress() starts behind the gateway and skips what is in use", () => {
  const block = "10.2.1.0/24";
  expect(chooseAddress({ block, used: new Set(), recent: [] })).toBe(at(2));
  expect(chooseAddress({ block, used: new Set([at(2), at(3)]), recent: [] })).toBe(at(4));
});

test("chooseAddress() prefers never used ones, then the one that was freed first", () => {
  const block = "10.2.1.0/24";
  expect(chooseAddress({ block, used: new Set(), recent: [at(2), at(3)] })).toBe(at(4));
  const recent = [at(200), ...all.filter((address) => address !== at(200))];
  expect(chooseAddress({ block, used: new Set(), recent })).toBe(at(200));
  expect(chooseAddress({ block, used: new Set([at(200)]), recent })).toBe(at(2));
});

test("chooseAddress() gives each address once, none of the reserved ones, then null", () => {
  fc.assert(
    fc.property(fc.shuffledSubarray(all), (recent) => {
      const used = new Set<Ipv4>();
      for (;;) {
        const address = chooseAddress({ block: "10.2.1.0/24", used, recent });
        if (address === null) break;
        expect(used.has(address)).toBe(false);
        used.add(address);
      }
      expect([...used].toSorted()).toEqual(all.toSorted());
    }),
    { numRuns: 10 },
  );
});
