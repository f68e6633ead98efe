/**
 * How well this process itself is served by its machine (after Lifeguard, Dadgar et al. 2017). A host that gets no processor
 * time sees its own timers late, and every time-out of its checks fires before the answer that lies in the socket is read. So a
 * short timer is watched: how late it fires is the lag. Time-outs grow with the lag, and a bad answer that came about while the
 * process stood still is tried again before it is believed.
 */
import { untilSharedTick } from "../../model/until-shared-tick.ts";
import type { Clock } from "../../platform/ports/clock.ts";

export interface LocalHealthSample {
  /** Worst lag of the last seconds. */
  readonly lagMs: number;
  /** 0 (well) to 8 (starved). */
  readonly score: number;
}

/** The watched timer. Ten a second, at the moments of other such ticks. */
const TICK_MS = 100;
/** Later than this, the process stood still; garbage collection and a busy turn stay below it. */
export const STALL_MS = 150;
/** A lag is remembered so long. */
const WINDOW_MS = 10_000;
/** Each so much lag is a point. */
const POINT_MS = 250;
const SCORE_MAX = 8;
/** From this score on people are told. */
export const SCORE_SHOWN = 2;

interface Stall {
  /** When the timer was due. */
  readonly fromMs: number;
  /** When it fired. */
  readonly untilMs: number;
}

export class LocalHealth {
  readonly #clock: Clock;
  #stalls: Stall[] = [];
  #dueMs: number | null = null;
  readonly #listeners = new Set<(sample: LocalHealthSample) => void>();
  #score = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Called when the score changes. */
  onChange(listener: (sample: LocalHealthSample) => void): void {
    this.#listeners.add(listener);
  }

  /** Watches until aborted. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const nowMs = this.#clock.monotonicMs();
      const waitMs = untilSharedTick(nowMs, TICK_MS);
      this.#dueMs = nowMs + waitMs;
      await this.#clock.sleep(waitMs, signal);
      if (!signal.aborted) this.#see();
    }
    this.#dueMs = null;
  }

  sample(): LocalHealthSample {
    const nowMs = this.#clock.monotonicMs();
    const lagMs = Math.max(
      0,
      this.#overdueMs(nowMs),
      ...this.#stalls
        .filter(({ untilMs }) => nowMs - untilMs < WINDOW_MS)
        .map(({ fromMs, untilMs }) => untilMs - fromMs),
    );
    return { lagMs, score: lagMs < STALL_MS ? 0 : Math.min(SCORE_MAX, Math.ceil(lagMs / POINT_MS)) };
  }

  /** A time-out as long as it has to be here: twice the lag more, which is one stall before and one after the answer. */
  stretch(timeoutMs: number): number {
    const { lagMs } = this.sample();
    return lagMs < STALL_MS ? timeoutMs : timeoutMs + Math.min(2 * lagMs, SCORE_MAX * timeoutMs);
  }

  /** Whether the process stood still at any moment since then: what it concluded meanwhile says more of itself than of others. */
  stalledSince(sinceMs: number): boolean {
    const nowMs = this.#clock.monotonicMs();
    return this.#overdueMs(nowMs) >= STALL_MS || this.#stalls.some(({ untilMs }) => untilMs >= sinceMs);
  }

  /** A stall shows in whichever timer fires first: this one may not have had its turn yet. */
  #overdueMs(nowMs: number): number {
    return this.#dueMs === null ? 0 : nowMs - this.#dueMs;
  }

  #see(): void {
    const nowMs = this.#clock.monotonicMs();
    const lateMs = this.#overdueMs(nowMs);
    if (lateMs >= STALL_MS) this.#stalls.push({ fromMs: nowMs - lateMs, untilMs: nowMs });
    this.#stalls = this.#stalls.filter(({ untilMs }) => nowMs - untilMs < WINDOW_MS);
    const sample = this.sample();
    if (sample.score === this.#score) return;
    this.#score = sample.score;
    for (const listener of this.#listeners) listener(sample);
  }
}
