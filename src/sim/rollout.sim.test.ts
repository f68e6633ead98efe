import { expect, test } from "bun:test";
import { simulateRollout } from "./rollout-sim.ts";

/** `npm run sim` runs more; SIM_SEEDS sets the number for a quick or a nightly run. */
const SEEDS = Number(process.env["SIM_SEEDS"] ?? 200);

test(
  `a cluster of any seed keeps the rules of rollout and comes to rest (${SEEDS} seeds)`,
  async () => {
    const sums = { passes: 0, created: 0, faults: 0, changes: 0 };
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const { broken, passes, created, faults, changes } = await simulateRollout(seed);
      if (broken.length > 0) {
        throw new Error(`Seed ${seed} broke a rule (npm run sim -- --seed ${seed}):\n  ${broken.join("\n  ")}`);
      }
      sums.passes += passes;
      sums.created += created;
      sums.faults += faults;
      sums.changes += changes;
    }
    // A simulator in which nothing happens would pass too.
    expect(sums.created).toBeGreaterThan(10 * SEEDS);
    expect(sums.changes).toBeGreaterThan(5 * SEEDS);
    expect(sums.faults).toBeGreaterThan(2 * SEEDS);
    expect(sums.passes).toBeGreaterThan(100 * SEEDS);
  },
  120_000,
);

test("a seed repeats its life to the millisecond", async () => {
  for (const seed of [7, 57, 411]) {
    const first = await simulateRollout(seed);
    expect(await simulateRollout(seed)).toEqual(first);
  }
});
