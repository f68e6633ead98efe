import { expect, test } from "bun:test";
import fc from "fast-check";
import { PATH_MTU_MIN, PathMtuSearch } from "./path-mtu-search.ts";

/** Runs until the search rests; `lost` says which of the packets that would fit are lost. Gives the time it took. */
function measure(search: PathMtuSearch, carries: number, startMs = 0, lost: (number: number) => boolean = () => false) {
  let sent = 0;
  let nowMs = startMs;
  for (; search.active && nowMs < startMs + 60_000; nowMs += 50) {
    const size = search.wanted(nowMs);
    if (size === null) continue;
    const token = sent++;
    search.sent(token, nowMs);
    if (size <= carries && !lost(token)) search.answered(token, nowMs);
  }
  return { sent, tookMs: nowMs - startMs };
}

test("PathMtuSearch asks once where the path carries what the device does", () => {
  const search = new PathMtuSearch(9000, 0);
  expect(measure(search, 9000).sent).toBe(1);
  expect(search.found).toBe(9000);
});

test("PathMtuSearch finds any size to the byte, within fifteen seconds, a lost packet or two at each size aside", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: PATH_MTU_MIN + 1, max: 16_000 }),
      fc.integer({ min: PATH_MTU_MIN, max: 16_000 }),
      fc.boolean(),
      (ceiling, carries, lossy) => {
        const search = new PathMtuSearch(ceiling, 0);
        const { tookMs } = measure(search, carries, 0, (token) => lossy && token % 2 === 0);
        expect(search.found).toBe(Math.min(ceiling, carries));
        expect(tookMs).toBeLessThan(15_000);
      },
    ),
  );
});

test("PathMtuSearch looks again by itself, keeps its word meanwhile, and finds a path that became wider", () => {
  const search = new PathMtuSearch(1500, 0);
  measure(search, 1400);
  expect([search.found, search.wanted(59_000)]).toEqual([1400, null]);
  expect(search.wanted(70_000)).toBe(1500);
  expect([search.active, search.found]).toEqual([true, 1400]);
  measure(search, 1500, 70_000);
  expect(search.found).toBe(1500);
  expect(search.wanted(70_000 + 500_000)).toBeNull();
  expect(search.wanted(70_000 + 700_000)).toBe(1500);
});
