import { expect, test } from "bun:test";
import fc from "fast-check";
import { rollingLimits } from "./rolling-limits.ts";

test("rollingLimits() gives Marathon's examples", () => {
  const table = [
    { n: 10, m: 1, o: 1, healthyMin: 10, totalMax: 20 },
    { n: 10, m: 0.5, o: 0, healthyMin: 5, totalMax: 10 },
    { n: 10, m: 1, o: 0, healthyMin: 10, totalMax: 11 },
    { n: 2, m: 1, o: 0.1, healthyMin: 2, totalMax: 3 },
    { n: 10, m: 0.7, o: 0.7, healthyMin: 7, totalMax: 17 },
    { n: 100, m: 0.07, o: 0.29, healthyMin: 7, totalMax: 129 },
    { n: 3, m: 0.5, o: 0.5, healthyMin: 2, totalMax: 4 },
    { n: 0, m: 1, o: 1, healthyMin: 0, totalMax: 1 },
  ];
  for (const { n, m, o, healthyMin, totalMax } of table) {
    expect(rollingLimits(n, { minimumHealthCapacity: m, maximumOverCapacity: o })).toEqual({ healthyMin, totalMax });
  }
});

test("rollingLimits() always leaves room to move", () => {
  const share = fc.double({ min: 0, max: 1, noNaN: true });
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 5000 }), share, share, (n, m, o) => {
      const { healthyMin, totalMax } = rollingLimits(n, { minimumHealthCapacity: m, maximumOverCapacity: o });
      expect(healthyMin).toBeLessThanOrEqual(n);
      expect(totalMax).toBeGreaterThan(healthyMin);
      expect(totalMax).toBeLessThanOrEqual(2 * n + 1);
    }),
  );
});
