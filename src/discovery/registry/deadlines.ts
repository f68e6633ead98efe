/**
 * Many deadlines, one sleep. Deadlines are rounded to buckets that are a small share of their distance, so ten thousand
 * five-minute waits lie in some dozens of buckets; adding and cancelling one costs a set operation.
 */
import type { Clock } from "../../platform/ports/clock.ts";

export interface Deadline {
  cancel(): void;
}

interface Entry {
  readonly run: () => void;
}

/** A bucket is at most this share of the wait. */
const BUCKET_SHARE = 64;

export class Deadlines {
  readonly #clock: Clock;
  /** By the time at which all in the bucket are due, on the monotonic clock. */
  readonly #buckets = new Map<number, Set<Entry>>();
  #earliestMs = Infinity;
  #nap: AbortController | null = null;
  #closed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    let size = 0;
    for (const bucket of this.#buckets.values()) size += bucket.size;
    return size;
  }

  /** Calls `run` once, not before `ms` and at most 1/64 of it (and the clock's own grain) later. */
  after(ms: number, run: () => void): Deadline {
    const grain = Math.max(1, 2 ** Math.floor(Math.log2(Math.max(1, ms / BUCKET_SHARE))));
    const atMs = Math.ceil((this.#clock.monotonicMs() + Math.max(0, ms)) / grain) * grain;
    const entry: Entry = { run };
    const bucket = this.#buckets.get(atMs) ?? new Set<Entry>();
    this.#buckets.set(atMs, bucket.add(entry));
    if (atMs < this.#earliestMs) {
      this.#earliestMs = atMs;
      if (this.#nap === null) void this.#loop();
      else this.#nap.abort();
    }
    return {
      cancel: () => {
        if (bucket.delete(entry) && bucket.size === 0) this.#buckets.delete(atMs);
      },
    };
  }

  /** Nothing is called any more. */
  close(): void {
    this.#closed = true;
    this.#buckets.clear();
    this.#nap?.abort();
  }

  async #loop(): Promise<void> {
    while (!this.#closed && this.#buckets.size > 0) {
      this.#earliestMs = Math.min(...this.#buckets.keys());
      this.#nap = new AbortController();
      await this.#clock.sleep(Math.max(0, this.#earliestMs - this.#clock.monotonicMs()), this.#nap.signal);
      this.#fire(this.#clock.monotonicMs());
    }
    this.#nap = null;
    this.#earliestMs = Infinity;
  }

  #fire(nowMs: number): void {
    const due = [...this.#buckets.keys()].filter((atMs) => atMs <= nowMs).toSorted((a, b) => a - b);
    for (const atMs of due) {
      const bucket = this.#buckets.get(atMs);
      this.#buckets.delete(atMs);
      for (const entry of bucket ?? []) {
        // One that ran may cancel another of the same bucket.
        bucket?.delete(entry);
        entry.run();
      }
    }
  }
}
