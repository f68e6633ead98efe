import { describeError } from "../model/error.ts";
import { systemClock } from "../platform/clock/system-clock.ts";

/**
 * Runs checks one after another and prints a line for each: `ok NAME figure` or `FAIL NAME why`. A failed check does not
 * end the tour, unless the rest of its step needs what it checked.
 */
export class TourReport {
  passed = 0;
  failed = 0;
  leftOut = 0;
  readonly #print: (line: string) => void;

  constructor(print: (line: string) => void) {
    this.#print = print;
  }

  title(text: string): void {
    this.#print(`\n${text}`);
  }

  note(text: string): void {
    this.#print(`   ${text}`);
  }

  /** True when it held. `check` returns the figure to show, or throws with the reason. */
  async check(name: string, check: () => Promise<string>): Promise<boolean> {
    try {
      const figure = await check();
      this.passed += 1;
      this.#print(`ok   ${name.padEnd(NAME_WIDTH)} ${figure}`.trimEnd());
      return true;
    } catch (error) {
      this.failed += 1;
      this.#print(`FAIL ${name.padEnd(NAME_WIDTH)} ${describeError(error).replaceAll("\n", " | ")}`);
      return false;
    }
  }

  /** A check that cannot be made here: neither held nor failed, and said so. */
  leaveOut(name: string, why: string): void {
    this.leftOut += 1;
    this.#print(`skip ${name.padEnd(NAME_WIDTH)} ${why}`);
  }

  /** A check without which what follows makes no sense: ends the tour when it fails. @throws TourEnded. */
  async require(name: string, check: () => Promise<string>): Promise<void> {
    if (!(await this.check(name, check))) throw new TourEnded(name);
  }
}

const NAME_WIDTH = 28;

export class TourEnded extends Error {
  constructor(check: string) {
    super(`the rest needs "${check}"`);
    this.name = "TourEnded";
  }
}

/** Milliseconds that `work` took, beside its value. */
export async function timed<T>(work: () => Promise<T>): Promise<{ readonly value: T; readonly ms: number }> {
  const startMs = systemClock.monotonicMs();
  const value = await work();
  return { value, ms: Math.round(systemClock.monotonicMs() - startMs) };
}
