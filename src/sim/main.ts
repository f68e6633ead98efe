/** `npm run sim -- --seed N --count N`: lives of simulated clusters, one a seed; the first that breaks a rule is told. */
import { simulateRollout } from "./rollout-sim.ts";

async function main(argv: readonly string[]): Promise<number> {
  const option = (name: string, otherwise: number): number => {
    const at = argv.indexOf(`--${name}`);
    return at < 0 ? otherwise : Number(argv[at + 1]);
  };
  const first = option("seed", 1);
  const count = option("count", argv.includes("--seed") ? 1 : 200);
  if (!Number.isSafeInteger(first) || !Number.isSafeInteger(count) || count < 1) {
    console.error("Usage: npm run sim -- [--seed N] [--count N]");
    return 2;
  }
  const sums = { passes: 0, created: 0, changes: 0, faults: 0, hours: 0 };
  for (let seed = first; seed < first + count; seed += 1) {
    const report = await simulateRollout(seed);
    if (report.broken.length > 0) {
      console.log(`seed ${seed} broke a rule; again with: npm run sim -- --seed ${seed}`);
      for (const each of report.broken) console.log(`  ${each}`);
      return 1;
    }
    sums.passes += report.passes;
    sums.created += report.created;
    sums.changes += report.changes;
    sums.faults += report.faults;
    sums.hours += report.virtualMs / 3_600_000;
  }
  console.log(
    `${count} seeds from ${first}: ${sums.hours.toFixed(1)} virtual hours, ${sums.changes} changes, ${sums.faults} faults, ` +
      `${sums.created} instances placed in ${sums.passes} passes; every rule held`,
  );
  return 0;
}

process.exitCode = await main(process.argv.slice(2));
