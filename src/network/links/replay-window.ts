/** Remembers which sequence numbers of one sender were seen, RFC 4303 §3.4.3 with 32 numbers. */

const WINDOW = 32;
/**
 * A sender's clock may have been set back before it started anew: after this long without a datagram of the later
 * session the earlier one counts.
 */
const SESSION_FORGOTTEN_MS = 10_000;

export class ReplayWindow {
  #session = -1;
  #highest = 0;
  /** Bit n: `#highest - n` was seen. */
  #seen = 0;
  #lastMs = 0;

  /** False for a datagram that came before, or so late that nobody remembers. */
  accept(session: number, sequence: number, nowMs: number): boolean {
    if (session < this.#session && nowMs - this.#lastMs < SESSION_FORGOTTEN_MS) return false;
    if (session !== this.#session) {
      this.#session = session;
      this.#highest = sequence;
      this.#seen = 1;
      this.#lastMs = nowMs;
      return true;
    }
    const ahead = sequence - this.#highest;
    if (ahead > 0) {
      this.#seen = ahead >= WINDOW ? 1 : ((this.#seen << ahead) | 1) >>> 0;
      this.#highest = sequence;
    } else {
      if (-ahead >= WINDOW) return false;
      const bit = (1 << -ahead) >>> 0;
      if ((this.#seen & bit) !== 0) return false;
      this.#seen = (this.#seen | bit) >>> 0;
    }
    this.#lastMs = nowMs;
    return true;
  }
}
