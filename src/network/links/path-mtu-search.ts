/**
 * Finds the largest packet that a path carries, from answers alone: where ICMP is filtered, large packets vanish without a
 * word (RFC 8899). The device's own MTU is asked first, which is the answer nearly everywhere; then the half is taken
 * between what passed and what did not. Each size gets three tries, so that loss is not taken for narrowness.
 */

/** IPv4 must carry packets of this size (RFC 791). */
export const PATH_MTU_MIN = 576;
const TRIES = 3;
const TRY_MS = 250;
/** A path may become wider, and no packet would tell. */
const AGAIN_MS = 600_000;
/** One narrower than its device may have been measured in a bad moment. */
const AGAIN_NARROW_MS = 60_000;

export class PathMtuSearch {
  /** Bytes of the largest IP packet that passed when the search last ended; null before. */
  found: number | null = null;
  #ceiling: number;
  #passed = PATH_MTU_MIN;
  /** The least that did not pass; above the ceiling while nothing failed. */
  #failed: number;
  #size: number;
  #tries = 0;
  #tokens: number[] = [];
  #nextMs: number;
  #active = true;

  constructor(ceiling: number, nowMs: number) {
    this.#ceiling = ceiling;
    this.#failed = ceiling + 1;
    this.#size = ceiling;
    this.#nextMs = nowMs;
  }

  get active(): boolean {
    return this.#active;
  }

  /** Starts anew: the device carries something else, or what passed before does not any more. */
  restart(ceiling: number, nowMs: number): void {
    this.#ceiling = ceiling;
    this.#passed = PATH_MTU_MIN;
    this.#failed = ceiling + 1;
    this.#try(ceiling, nowMs);
    this.#active = true;
  }

  get ceiling(): number {
    return this.#ceiling;
  }

  /** Size of the packet to send now; null for none. */
  wanted(nowMs: number): number | null {
    if (nowMs < this.#nextMs) return null;
    if (!this.#active) this.restart(this.#ceiling, nowMs);
    if (this.#tries >= TRIES) {
      this.#failed = this.#size;
      this.#narrow(nowMs);
    }
    return this.#active ? this.#size : null;
  }

  sent(token: number, nowMs: number): void {
    this.#tokens.push(token);
    this.#tries += 1;
    this.#nextMs = nowMs + TRY_MS;
  }

  /** False when it is no answer to a probe of this search's present size. */
  answered(token: number, nowMs: number): boolean {
    if (!this.#active || !this.#tokens.includes(token)) return false;
    this.#passed = this.#size;
    this.#narrow(nowMs);
    return true;
  }

  #narrow(nowMs: number): void {
    if (this.#failed - this.#passed <= 1) {
      this.found = this.#passed;
      this.#active = false;
      this.#tokens = [];
      this.#nextMs = nowMs + (this.found < this.#ceiling ? AGAIN_NARROW_MS : AGAIN_MS);
      return;
    }
    this.#try(Math.floor((this.#passed + this.#failed) / 2), nowMs);
  }

  #try(size: number, nowMs: number): void {
    this.#size = size;
    this.#tries = 0;
    this.#tokens = [];
    this.#nextMs = nowMs;
  }
}
