/**
 * `npm run sim -- [--what rollout|cluster] [--seed N] [--count N] [--trace]`: lives of simulated clusters, one a seed; the
 * first that breaks a rule is told. `rollout` is the scheduler with hosts of the simulator's own, `cluster` the whole
 * product.
 */
import { simulateCluster } from "./cluster-sim.ts";
import { simulateRollout } from "./rollout-sim.ts";

interface Run {
  readonly first: number;
  readonly count: number;
  readonly trace: boolean;
}

interface Life {
  readonly broken: readonly string[];
  readonly virtualMs: number;
  readonly figures: Readonly<Record<string, number>>;
}

const SIMULATIONS = {
  rollout: async (seed: number): Promise<Life> => {
    const { broken, virtualMs, changes, faults, created, passes } = await simulateRollout(seed);
    return { broken, virtualMs, figures: { changes, faults, "instances placed": created, passes } };
  },
  cluster: async (seed: number, trace: boolean): Promise<Life> => {
    const options = trace ? { trace: (line: string) => console.log(line) } : {};
    const { broken, virtualMs, changes, faults, starts, compared } = await simulateCluster(seed, options);
    return { broken, virtualMs, figures: { changes, faults, "container starts": starts, comparisons: compared } };
  },
} as const;
const COUNTS = { rollout: 200, cluster: 50 } as const;
const USAGE = "Usage: npm run sim -- [--what rollout|cluster] [--seed N] [--count N] [--trace]";

async function runAll(what: keyof typeof SIMULATIONS, { first, count, trace }: Run): Promise<boolean> {
  const sums = new Map<string, number>();
  let virtualMs = 0;
  for (let seed = first; seed < first + count; seed += 1) {
    const life = await SIMULATIONS[what](seed, trace);
    if (life.broken.length > 0) {
      console.log(`${what}: seed ${seed} broke a rule; again with: npm run sim -- --what ${what} --seed ${seed}`);
      for (const each of life.broken) console.log(`  ${each}`);
      return false;
    }
    virtualMs += life.virtualMs;
    for (const [name, value] of Object.entries(life.figures)) sums.set(name, (sums.get(name) ?? 0) + value);
  }
  const figures = [...sums].map(([name, value]) => `${value} ${name}`).join(", ");
  const hours = (virtualMs / 3_600_000).toFixed(1);
  console.log(`${what}: ${count} seeds from ${first}: ${hours} virtual hours, ${figures}; every rule held`);
  return true;
}

async function main(argv: readonly string[]): Promise<number> {
  const text = (name: string): string | undefined => {
    const at = argv.indexOf(`--${name}`);
    return at < 0 ? undefined : argv[at + 1];
  };
  const what = text("what");
  const names = (["rollout", "cluster"] as const).filter((each) => what === undefined || each === what);
  const first = Number(text("seed") ?? 1);
  const chosen = text("count") ?? (argv.includes("--seed") ? "1" : undefined);
  const valid = names.length > 0 && Number.isSafeInteger(first) && (chosen === undefined || /^[1-9]\d*$/.test(chosen));
  if (!valid) {
    console.error(USAGE);
    return 2;
  }
  for (const name of names) {
    const count = chosen === undefined ? COUNTS[name] : Number(chosen);
    if (!(await runAll(name, { first, count, trace: argv.includes("--trace") }))) return 1;
  }
  return 0;
}

process.exitCode = await main(process.argv.slice(2));
