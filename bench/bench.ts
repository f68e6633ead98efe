/** What a benchmark prints. Figures are medians over rounds; ratios are ours over the peer's rate: higher is better. */
export interface BenchResult {
  readonly name: string;
  readonly machine: { readonly cpus: number; readonly memoryGiB: number; readonly kernel: string };
  readonly rounds: number;
  readonly figures: Readonly<Record<string, number>>;
  readonly ratios: Readonly<Record<string, number>>;
  /** Sentences for a person: what was run, what to read into it. */
  readonly notes: readonly string[];
}

export interface BenchOptions {
  readonly rounds: number | null;
  readonly quick: boolean;
  readonly progress: (text: string) => void;
}

export type Bench = (options: BenchOptions) => Promise<Omit<BenchResult, "name" | "machine">>;

/** The middle value; of an even number, the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const high = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? high : ((sorted[middle - 1] ?? Number.NaN) + high) / 2;
}
