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
        ? (...given: unknown[]): unknown => (this.#alive ? Reflect.apply(arg, undefined, given) : undefined)
        : arg,
    );
    const result: unknown = Reflect.apply(method, target, guarded);
    return result instanceof Promise ? this.#answer(result) : result;
  }

  #answer(result: Promise<unknown>): Promise<unknown> {
    return new Promise((resolve, reject) => {
      result.then(
        (value) => (this.#alive ? resolve(value) : undefined),
        (error: unknown) => (this.#alive ? reject(error) : undefined),
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
      const end = (): void => {
        cancel();
        this.#sleeps.delete(cancel);
        if (signal !== undefined) {
          signal.removeEventListener("abort", end);
          this.#listeners -= 1;
        }
        if (this.#alive) resolve();
      };
      const cancel = this.#world.after(ms, end);
      this.#sleeps.add(cancel);
      if (signal === undefined) return;
      signal.addEventListener("abort", end);
      this.#listeners += 1;
    });
  }
}
