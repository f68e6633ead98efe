import type { Clock } from "../ports/clock.ts";

/** Folds a burst of calls into one call of `run`, `ms` after the first of them; nothing is called after an abort. */
export function settle(
  run: () => void,
  ms: number,
  { clock, signal }: { clock: Clock; signal: AbortSignal },
): () => void {
  let waiting = false;
  const wait = async (): Promise<void> => {
    waiting = true;
    await clock.sleep(ms, signal);
    waiting = false;
    if (!signal.aborted) run();
  };
  return () => {
    if (!waiting) void wait();
  };
}
