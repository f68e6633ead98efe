import { AppError, describeError } from "../model/error.ts";
import { systemClock } from "../platform/clock/system-clock.ts";

export interface WaitOptions {
  /** Named in the progress line and the error: "the engine of h1". */
  readonly what: string;
  readonly timeoutMs: number;
  readonly intervalMs?: number;
  readonly signal?: AbortSignal | undefined;
  /** Called each further second with a line for a person. */
  readonly onProgress?: ((text: string) => void) | undefined;
}

const INTERVAL_MS = 50;
const PROGRESS_MS = 1000;

/**
 * Asks until the probe gives something else than null or false. A probe that throws an AppError counts as "not yet";
 * the last such reason, or what `reason` of the thrown error says, is part of the message when time runs out.
 * @throws AppError `unavailable` naming what was waited for.
 */
export async function waitFor<T>(probe: () => Promise<T | null | false>, options: WaitOptions): Promise<T> {
  const startMs = systemClock.monotonicMs();
  let nextProgressMs = PROGRESS_MS;
  let reason = "";
  for (;;) {
    const value = await probe().catch((error: unknown) => {
      if (!(error instanceof AppError)) throw error;
      reason = `: ${describeError(error)}`;
      return null;
    });
    if (value !== null && value !== false) return value;
    const elapsedMs = systemClock.monotonicMs() - startMs;
    if (options.signal?.aborted === true)
      throw new AppError("unavailable", `Cannot wait for ${options.what}: interrupted`);
    if (elapsedMs > options.timeoutMs) {
      throw new AppError(
        "unavailable",
        `Cannot wait longer for ${options.what}: not there after ${options.timeoutMs} ms${reason}`,
      );
    }
    if (elapsedMs > nextProgressMs) {
      options.onProgress?.(`waiting for ${options.what} (${Math.round(elapsedMs / 1000)} s)`);
      nextProgressMs += PROGRESS_MS;
    }
    await systemClock.sleep(options.intervalMs ?? INTERVAL_MS, options.signal);
  }
}
