/**
 * A server that left may still have requests under way. The instance behind it must not be stopped before they ended,
 * so the revision that took it out counts as served only then, or when this time is over: a WebSocket may stay open for
 * days, and the instance gets its own grace period after it.
 */
export const DRAIN_HOLD_MS = 5000;

/** Which catalog revision the proxy serves, counting requests that still run on servers which left. */
export class DrainHold {
  readonly #leavers = new Map<string, { readonly revision: number; readonly sinceMs: number }>();

  /** Takes what a pass saw: the servers that are out of revision `revision` and still busy. Times are monotonic. */
  note(busy: readonly string[], revision: number, nowMs: number): void {
    const seen = new Set(busy);
    for (const key of this.#leavers.keys()) if (!seen.has(key)) this.#leavers.delete(key);
    for (const key of busy) if (!this.#leavers.has(key)) this.#leavers.set(key, { revision, sinceMs: nowMs });
  }

  /** Whether a later call of `served` can give more than now. */
  holds(nowMs: number): boolean {
    return [...this.#leavers.values()].some(({ sinceMs }) => nowMs - sinceMs < DRAIN_HOLD_MS);
  }

  /** The highest revision up to `revision` whose leavers are all idle or over their time. */
  served(revision: number, nowMs: number): number {
    let highest = revision;
    for (const leaver of this.#leavers.values()) {
      if (nowMs - leaver.sinceMs < DRAIN_HOLD_MS) highest = Math.min(highest, leaver.revision - 1);
    }
    return highest;
  }

  /** Revisions of another server do not compare with these. */
  clear(): void {
    this.#leavers.clear();
  }
}
