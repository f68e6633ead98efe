import type { Clock } from "../ports/clock.ts";

interface Pending {
  readonly endMs: number;
  readonly expire: () => void;
}

/** The clock looks this often: being late by so much is nothing to a limit of a minute, and a timer a request is dear. */
const TICKS = 32;

/** One sleep for the time limits of all requests under way. */
export class Overdue {
  readonly #clock: Clock;
  readonly #limitMs: number;
  /** In the order of their ends, since all have the same limit. */
  readonly #pending = new Set<Pending>();
  #ticking = false;

  constructor(clock: Clock, limitMs: number) {
    this.#clock = clock;
    this.#limitMs = limitMs;
  }

  /** Calls `expire` once, not before the limit, unless the returned function was called. */
  watch(expire: () => void): () => void {
    const pending = { endMs: this.#clock.monotonicMs() + this.#limitMs, expire };
    this.#pending.add(pending);
    if (!this.#ticking) void this.#tick();
    return () => void this.#pending.delete(pending);
  }

  async #tick(): Promise<void> {
    this.#ticking = true;
    while (this.#pending.size > 0) {
      await this.#clock.sleep(this.#limitMs / TICKS);
      const nowMs = this.#clock.monotonicMs();
      for (const pending of this.#pending) {
        if (pending.endMs > nowMs) break;
        this.#pending.delete(pending);
        pending.expire();
      }
    }
    this.#ticking = false;
  }
}
