import type { Clock } from "../platform/ports/clock.ts";
import { Heap } from "../scheduling/heap.ts";

interface Timer {
  readonly atMs: number;
  readonly sequence: number;
  /** Null once it was cancelled. */
  run: (() => void) | null;
}

/** A Monday morning; far from 0, so that nothing works by taking "not set" for a time. */
const START_MS = Date.UTC(2026, 0, 5, 9, 0, 0);

/** Runs of one settle or advance after which something wakes itself without end. */
const STEPS_MAX = 5_000_000;

/**
 * Time that moves only when told to. Timers fire in the order of their time, then of their making; after each one all
 * promises that it freed run to their next wait, so a run is the same every time.
 */
export class VirtualClock implements Clock {
  readonly #timers = new Heap<Timer>((a, b) => (a.atMs === b.atMs ? a.sequence < b.sequence : a.atMs < b.atMs));
  #elapsedMs = 0;
  #wallOffsetMs = START_MS;
  #sequence = 0;
  #pending = 0;
  #listeners = 0;

  nowMs(): number {
    return this.#wallOffsetMs + this.#elapsedMs;
  }

  monotonicMs(): number {
    return this.#elapsedMs;
  }

  /** Timers that wait. */
  get pending(): number {
    return this.#pending;
  }

  /** Abort listeners that its sleeps hold: as many as sleeps with a signal are under way, or one has leaked. */
  get listeners(): number {
    return this.#listeners;
  }

  /** Sets the wall clock forward or back, as an administrator or NTP does; durations are not touched. */
  shiftWall(ms: number): void {
    this.#wallOffsetMs += ms;
  }

  /** Calls `run` once after `ms`. Returns what cancels it. */
  after(ms: number, run: () => void): () => void {
    const timer: Timer = { atMs: this.#elapsedMs + Math.max(0, ms), sequence: this.#sequence, run };
    this.#sequence += 1;
    this.#pending += 1;
    this.#timers.push(timer);
    return () => {
      if (timer.run === null) return;
      timer.run = null;
      this.#pending -= 1;
    };
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted === true) {
        resolve();
        return;
      }
      const end = (): void => {
        cancel();
        if (signal !== undefined) {
          signal.removeEventListener("abort", end);
          this.#listeners -= 1;
        }
        resolve();
      };
      const cancel = this.after(ms, end);
      if (signal === undefined) return;
      signal.addEventListener("abort", end);
      this.#listeners += 1;
    });
  }

  /** Moves to the next timer and runs it; false when there is none up to `limitMs` (of `monotonicMs`). */
  async step(limitMs = Number.POSITIVE_INFINITY): Promise<boolean> {
    await drain();
    for (let top = this.#timers.peek(); top !== undefined && top.atMs <= limitMs; top = this.#timers.peek()) {
      this.#timers.pop();
      const { run } = top;
      if (run === null) continue;
      top.run = null;
      this.#pending -= 1;
      this.#elapsedMs = Math.max(this.#elapsedMs, top.atMs);
      run();
      await drain();
      return true;
    }
    return false;
  }

  /** Lets `ms` pass. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#elapsedMs + ms;
    for (let steps = 0; await this.step(endMs); steps += 1) limitSteps(steps);
    this.#elapsedMs = endMs;
  }

  /** Lets time pass in steps of 10 ms until `holds`; gives the milliseconds. @throws Error naming what did not come true. */
  async advanceUntil(what: string, holds: () => boolean, limitMs = 60_000): Promise<number> {
    const startMs = this.#elapsedMs;
    await drain();
    while (!holds()) {
      if (this.#elapsedMs - startMs >= limitMs) throw new Error(`Waited ${limitMs} virtual ms for ${what}`);
      await this.advance(10);
    }
    return this.#elapsedMs - startMs;
  }

  /** Lets as much time pass as the promise needs. @throws when it still waits and no timer is left. */
  async settle<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const mark = (): void => {
      settled = true;
    };
    promise.then(mark, mark);
    for (let steps = 0; ; steps += 1) {
      await drain();
      if (settled) return promise;
      limitSteps(steps);
      if (!(await this.step())) {
        await drain();
        if (settled) return promise;
        throw new Error("Cannot settle promise: it waits for something that no timer brings about");
      }
    }
  }
}

/** Everything that can run without time passing has run when the next turn of the real event loop comes. */
function drain(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function limitSteps(steps: number): void {
  if (steps > STEPS_MAX) throw new Error(`Cannot reach the end: ${STEPS_MAX} timers fired`);
}
