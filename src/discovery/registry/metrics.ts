/**
 * Counters and samples as Consul's clients read them. A JSON reader sees the last whole interval of ten seconds (the running
 * one until there is a whole one); Prometheus sees totals since the start, and quantiles of the latest values.
 */
import type { Clock } from "../../platform/ports/clock.ts";

export type Labels = Readonly<Record<string, string>>;

/** What one series came to within an interval. */
export interface Aggregate {
  readonly name: string;
  readonly labels: Labels;
  readonly count: number;
  readonly sum: number;
  readonly min: number;
  readonly max: number;
  readonly stddev: number;
  /** Sum by second of the interval. */
  readonly rate: number;
}

/** What one series came to since the start. */
export interface Total {
  readonly name: string;
  readonly labels: Labels;
  readonly count: number;
  readonly sum: number;
  /** The latest values, ascending; of a counter none. */
  readonly latest: readonly number[];
}

type Kind = "counter" | "sample";

interface Sums {
  count: number;
  sum: number;
  squares: number;
  min: number;
  max: number;
}

interface Series {
  readonly kind: Kind;
  readonly name: string;
  readonly labels: Labels;
  readonly total: Sums;
  readonly latest: number[];
  next: number;
}

interface Interval {
  readonly slot: number;
  readonly startedMs: number;
  readonly sums: Map<Series, Sums>;
}

const INTERVAL_MS = 10_000;
/** Labels hold what clients ask for: further series are not kept, so that nobody can fill the memory with them. */
const SERIES_MAX = 2000;
const LATEST_MAX = 256;

export class Metrics {
  readonly #clock: Pick<Clock, "nowMs" | "monotonicMs">;
  readonly #series = new Map<string, Series>();
  #now: Interval;
  #whole: Interval | null = null;

  constructor(clock: Pick<Clock, "nowMs" | "monotonicMs">) {
    this.#clock = clock;
    this.#now = this.#newInterval();
  }

  count(name: string, labels: Labels = {}): void {
    this.#add("counter", name, { labels, value: 1 });
  }

  /** Durations are in milliseconds. */
  sample(name: string, value: number, labels: Labels = {}): void {
    this.#add("sample", name, { labels, value });
  }

  /** Of the interval that is shown. */
  interval(kind: Kind): { readonly startedMs: number; readonly series: readonly Aggregate[] } {
    this.#turn();
    const { startedMs, sums } = this.#whole ?? this.#now;
    const series = [...sums].filter(([each]) => each.kind === kind).map(([each, of]) => aggregate(each, of));
    return { startedMs, series: series.toSorted(byName) };
  }

  totals(kind: Kind): readonly Total[] {
    return [...this.#series.values()]
      .filter((each) => each.kind === kind)
      .map(({ name, labels, total, latest }) => ({
        name,
        labels,
        count: total.count,
        sum: total.sum,
        latest: latest.toSorted((a, b) => a - b),
      }))
      .toSorted(byName);
  }

  #add(kind: Kind, name: string, { labels, value }: { readonly labels: Labels; readonly value: number }): void {
    const series = this.#seriesOf(kind, name, labels);
    if (series === null) return;
    this.#turn();
    const sums = this.#now.sums.get(series) ?? emptySums();
    this.#now.sums.set(series, sums);
    for (const each of [sums, series.total]) addTo(each, value);
    if (kind === "counter") return;
    series.latest[series.next] = value;
    series.next = (series.next + 1) % LATEST_MAX;
  }

  #seriesOf(kind: Kind, name: string, labels: Labels): Series | null {
    let key = name;
    for (const label of Object.keys(labels)) key += `\0${labels[label] ?? ""}`;
    const known = this.#series.get(key);
    if (known !== undefined) return known;
    if (this.#series.size >= SERIES_MAX) return null;
    const made: Series = { kind, name, labels, total: emptySums(), latest: [], next: 0 };
    this.#series.set(key, made);
    return made;
  }

  #turn(): void {
    const { slot } = this.#now;
    const current = this.#slot();
    if (current === slot) return;
    const now = this.#newInterval();
    // An interval in which nothing happened is one of no series.
    this.#whole = current === slot + 1 ? this.#now : { ...now, sums: new Map() };
    this.#now = now;
  }

  #slot(): number {
    return Math.floor(this.#clock.monotonicMs() / INTERVAL_MS);
  }

  #newInterval(): Interval {
    return { slot: this.#slot(), startedMs: this.#clock.nowMs(), sums: new Map() };
  }
}

function emptySums(): Sums {
  return { count: 0, sum: 0, squares: 0, min: Infinity, max: -Infinity };
}

function addTo(sums: Sums, value: number): void {
  sums.count += 1;
  sums.sum += value;
  sums.squares += value * value;
  sums.min = Math.min(sums.min, value);
  sums.max = Math.max(sums.max, value);
}

function aggregate({ name, labels }: Series, { count, sum, squares, min, max }: Sums): Aggregate {
  const spread = count < 2 ? 0 : (squares * count - sum * sum) / (count * (count - 1));
  const stddev = Math.sqrt(Math.max(0, spread));
  return { name, labels, count, sum, min, max, stddev, rate: (sum * 1000) / INTERVAL_MS };
}

function byName(a: Pick<Total, "name" | "labels">, b: Pick<Total, "name" | "labels">): number {
  const [left, right] = [a, b].map(({ name, labels }) => `${name} ${Object.values(labels).join(" ")}`);
  return (left ?? "") < (right ?? "") ? -1 : 1;
}
