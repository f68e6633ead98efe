/** A tick that would come sooner than this is left out: timers may fire a little early. */
const EARLY_MS = 10;

/**
 * How long to sleep until the next multiple of `tickMs` on `nowMs`'s clock. Loops that tick equally often wake the process once
 * for all of them, not each at a moment of its own.
 */
export function untilSharedTick(nowMs: number, tickMs: number): number {
  const leftMs = Math.ceil(tickMs - (nowMs % tickMs));
  return leftMs < EARLY_MS ? leftMs + tickMs : leftMs;
}
