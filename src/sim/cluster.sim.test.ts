import { expect, test } from "bun:test";
import { simulateCluster } from "./cluster-sim.ts";

/** As many as take about a third of a minute; `npm run sim` runs more, SIM_SEEDS sets the number. */
const SEEDS = Number(process.env["SIM_SEEDS"] ?? 24);

test(`real agents and a real server keep the rules and come to rest (${SEEDS} seeds)`, async () => {
  const sums = { starts: 0, faults: 0, changes: 0, compared: 0 };
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const { broken, starts, faults, changes, compared } = await simulateCluster(seed);
    if (broken.length > 0) {
      const again = `npm run sim -- --what cluster --seed ${seed}`;
      throw new Error(`Seed ${seed} broke a rule (${again}):\n  ${broken.join("\n  ")}`);
    }
    sums.starts += starts;
    sums.faults += faults;
    sums.changes += changes;
    sums.compared += compared;
  }
  // A simulator in which nothing happens, or that compares nothing, would pass too.
  expect(sums.starts).toBeGreaterThan(10 * SEEDS);
  expect(sums.changes).toBeGreaterThan(4 * SEEDS);
  expect(sums.faults).toBeGreaterThan(2 * SEEDS);
  expect(sums.compared).toBeGreaterThan(500 * SEEDS);
}, 600_000);

test("a cluster's seed repeats its life to the millisecond", async () => {
  for (const seed of [3, 58]) {
    const lives: string[][] = [[], []];
    for (const life of lives) await simulateCluster(seed, { trace: (line) => life.push(line) });
    expect(lives[1]).toEqual(lives[0] ?? []);
  }
}, 120_000);
