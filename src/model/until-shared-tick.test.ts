import { expect, test } from "bun:test";
import fc from "fast-check";
import { untilSharedTick } from "./until-shared-tick.ts";

test("untilSharedTick() ends at the next multiple, and leaves out one that is as good as now", () => {
  expect([1000, 1030, 1090, 1090.5, 1091, 1099.6].map((nowMs) => untilSharedTick(nowMs, 100))).toEqual([
    100, 70, 10, 10, 109, 101,
  ]);
});

test("property: whoever sleeps so, from whichever moment, wakes together with all others", () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1e9, noNaN: true }), fc.integer({ min: 20, max: 5000 }), (nowMs, tickMs) => {
      const sleepMs = untilSharedTick(nowMs, tickMs);
      expect(sleepMs).toBeGreaterThanOrEqual(10);
      expect(sleepMs).toBeLessThan(tickMs + 10);
      // Timers know whole milliseconds alone.
      expect((nowMs + sleepMs) % tickMs).toBeLessThan(1.001);
    }),
  );
});
