import type { Clock } from "../platform/ports/clock.ts";

interface Timer {
  readonly atMs: number;
  readonly order: number;
  readonly fire: () => void;
}

/** Rounds of the event loop that code gets to settle between two timers. */
const SETTLE_ROUNDS = 3;

/** Time that only moves when a test moves it. Timers fire in order of time, then of creation. */
export class VirtualClock implements Clock {
  #nowMs: number;
  readonly #startMs: number;
  #order = 0;
  readonly #timers = new Set<Timer>();

  constructor(startMs = Date.UTC(2026, 0, 1)) {
    this.#nowMs = startMs;
    this.#startMs = startMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs - this.#startMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted === true) {
        resolve();
        return;
      }
      const end = (): void => {
        this.#timers.delete(timer);
        signal?.removeEventListener("abort", end);
        resolve();
      };
      const timer: Timer = { atMs: this.#nowMs + Math.max(0, ms), order: this.#order++, fire: end };
      this.#timers.add(timer);
      signal?.addEventListener("abort", end);
    });
  }

  /** Sleepers that wait now: 0 after everything was stopped, or something leaks. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Moves time on, firing what falls due, and lets the code it wakes settle. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await settle();
    for (let next = this.#next(endMs); next !== null; next = this.#next(endMs)) {
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.fire();
      await settle();
    }
    this.#nowMs = endMs;
  }

  /** Moves time on in steps until `holds`, at most `limitMs`. @throws Error naming what did not come true. */
  async advanceUntil(what: string, holds: () => boolean, limitMs = 60_000): Promise<number> {
    const startMs = this.#nowMs;
    await settle();
    while (!holds()) {
      if (this.#nowMs - startMs >= limitMs) throw new Error(`Waited ${limitMs} virtual ms for ${what}`);
      await this.advance(10);
    }
    return this.#nowMs - startMs;
  }

  #next(endMs: number): Timer | null {
    let best: Timer | null = null;
    for (const timer of this.#timers) {
      if (timer.atMs > endMs) continue;
      if (best === null || timer.atMs < best.atMs || (timer.atMs === best.atMs && timer.order < best.order)) best = timer;
    }
    return best;
  }
}

async function settle(): Promise<void> {
  for (let round = 0; round < SETTLE_ROUNDS; round += 1) await new Promise<void>((resolve) => setImmediate(resolve));
}
