/**
 * Tries a better mode beside the one in use: three probes between the hosts' probe addresses, whose routes go over the
 * better mode already. All must be answered. Pauses between tests grow, since each finds mostly what the last one did.
 */
const PROBES = 3;
const GAP_MS = 200;
const ANSWERS_WITHIN_MS = 1500;
const PAUSE_FIRST_MS = 10_000;
const PAUSE_MAX_MS = 300_000;
/** A mode that failed again this soon after it was taken up is tried again later than the time before. */
const STABLE_MS = 60_000;
/** The other side's test is joined at most this often. */
const HASTEN_MS = 5000;

export class CandidateTest {
  #pauseMs = PAUSE_FIRST_MS;
  #startMs: number;
  #lastMs = 0;
  #tokens: number[] = [];
  #answers = new Set<number>();
  #nextMs = 0;
  #passed = false;

  constructor(nowMs: number) {
    this.#startMs = nowMs + PAUSE_FIRST_MS;
  }

  get pauseMs(): number {
    return this.#pauseMs;
  }

  /** The mode in use failed; `sinceMs` is when it was taken up, none for a link that is new. */
  reset(nowMs: number, sinceMs = Number.NEGATIVE_INFINITY): void {
    const flapped = nowMs - sinceMs < STABLE_MS && this.#passed;
    this.#pauseMs = flapped ? Math.min(PAUSE_MAX_MS, 2 * this.#pauseMs) : PAUSE_FIRST_MS;
    this.#passed = false;
    this.#begin(nowMs + this.#pauseMs);
  }

  due(nowMs: number): boolean {
    return nowMs >= this.#startMs && nowMs >= this.#nextMs && this.#tokens.length < PROBES;
  }

  sent(token: number, nowMs: number): void {
    this.#tokens.push(token);
    this.#nextMs = nowMs + GAP_MS;
    this.#lastMs = nowMs;
  }

  answered(token: number): boolean {
    if (!this.#tokens.includes(token)) return false;
    this.#answers.add(token);
    return true;
  }

  /** True once when all probes were answered; a test that was not plans the next one. */
  passed(nowMs: number): boolean {
    if (this.#tokens.length < PROBES) return false;
    if (this.#answers.size === PROBES) {
      this.#passed = true;
      this.#begin(nowMs + this.#pauseMs);
      return true;
    }
    if (nowMs - this.#lastMs < ANSWERS_WITHIN_MS) return false;
    this.#pauseMs = Math.min(PAUSE_MAX_MS, 2 * this.#pauseMs);
    this.#begin(nowMs + this.#pauseMs);
    return false;
  }

  hasten(nowMs: number): void {
    if (this.#tokens.length === 0 && nowMs < this.#startMs && nowMs - this.#lastMs > HASTEN_MS) this.#startMs = nowMs;
  }

  #begin(startMs: number): void {
    this.#startMs = startMs;
    this.#tokens = [];
    this.#answers = new Set();
    this.#nextMs = 0;
  }
}
