import type { Clock } from "../platform/ports/clock.ts";
import type { VirtualClock } from "./virtual-clock.ts";

/**
 * A program that can be killed as a real one is: from that moment on nothing of it runs any more. Its code cannot be taken
 * from under it, so its waits never end instead: each goes through this clock or through an adapter that `guard` made.
 */
export class SimProcess {
  readonly clock: Clock;
  readonly #world: VirtualClock;
  readonly #sleeps = new Set<() => void>();
  /** What came while it was paused, in order; null when it runs. */
  #backlog: (() => void)[] | null = null;
  #alive = true;
  #listeners = 0;

  constructor(world: VirtualClock) {
    this.#world = world;
    this.clock = {
      nowMs: () => world.nowMs(),
      monotonicMs: () => world.monotonicMs(),
      sleep: (ms, signal) => this.#sleep(ms, signal),
    };
  }

  get alive(): boolean {
    return this.#alive;
  }

  /** What it still waits for: after its orderly end, what it has leaked. */
  get leaks(): { readonly sleeps: number; readonly listeners: number } {
    return { sleeps: this.#sleeps.size, listeners: this.#listeners };
  }

  get paused(): boolean {
    return this.#backlog !== null;
  }

  /** Stands still for a time, as under SIGSTOP or in a machine that swaps: time goes on, and what comes waits. */
  pause(ms: number): void {
    if (this.#backlog !== null || !this.#alive) return;
    this.#backlog = [];
    this.#world.after(ms, () => {
      const waiting = this.#backlog ?? [];
      this.#backlog = null;
      for (const run of waiting) this.enter(run);
    });
  }

  /** Runs what comes from outside: now, after a pause, or never. */
  enter(run: () => void): void {
    if (!this.#alive) return;
    if (this.#backlog === null) run();
    else this.#backlog.push(run);
  }

  kill(): void {
    this.#alive = false;
    for (const cancel of this.#sleeps) cancel();
    this.#sleeps.clear();
  }

  /** The adapter as this program sees it: what was asked for still happens after a kill, but no answer or event comes. */
  guard<Adapter extends object>(adapter: Adapter): Adapter {
    return new Proxy(adapter, {
      get: (target, key) => {
        const value: unknown = Reflect.get(target, key, target);
        if (typeof value !== "function") return value;
        return (...args: unknown[]) => this.#call(target, value as (...args: never[]) => unknown, args);
      },
    });
  }

  #call(target: object, method: (...args: never[]) => unknown, args: readonly unknown[]): unknown {
    if (!this.#alive) return new Promise(() => {});
    const guarded = args.map((arg) =>
      typeof arg === "function"
        ? (...given: unknown[]): void => this.enter(() => void Reflect.apply(arg, undefined, given))
        : arg,
    );
    const result: unknown = Reflect.apply(method, target, guarded);
    return result instanceof Promise ? this.#answer(result) : result;
  }

  #answer(result: Promise<unknown>): Promise<unknown> {
    return new Promise((resolve, reject) => {
      result.then(
        (value) => this.enter(() => resolve(value)),
        (error: unknown) => this.enter(() => reject(error)),
      );
    });
  }

  #sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (!this.#alive) return;
      if (signal?.aborted === true) {
        resolve();
        return;
      }
      let over = false;
      const end = (): void => {
        if (over) return;
        over = true;
        cancel();
        this.#sleeps.delete(cancel);
        if (signal !== undefined) {
          signal.removeEventListener("abort", end);
          this.#listeners -= 1;
        }
        resolve();
      };
      const cancel = this.#world.after(ms, () => this.enter(end));
      this.#sleeps.add(cancel);
      if (signal === undefined) return;
      signal.addEventListener("abort", end);
      this.#listeners += 1;
    });
  }
}
