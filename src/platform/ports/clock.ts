/** Time. Every wait in the product goes through it, so that the simulator can turn it by hand. */
export interface Clock {
  /** Wall clock, milliseconds since 1970. */
  nowMs(): number;
  /** Never goes back; for durations only. */
  monotonicMs(): number;
  /** Resolves after `ms` or as soon as `signal` aborts, whichever is first; never rejects; leaves no listener behind. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}
