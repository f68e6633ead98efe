/**
 * One kind of probe to one host over time: what is awaited, what was missed, how long answers take. A missed probe is
 * followed by the next one soon, so that an outage is known after three misses and not after three intervals.
 */

/** One lost packet, or one pause of a busy host, is no outage. */
export const MISSES_DOWN = 3;
/** After a miss the next probe does not wait for its turn. */
const RETRY_MS = 500;
/** An answer is awaited for four times as long as they take, within these bounds. */
const TIMEOUT_MIN_MS = 250;
const TIMEOUT_MAX_MS = 800;
/** Loss is told over this many probes. */
const HISTORY = 50;
/** Answers that come after their time still say that the path works. */
const PENDING_MAX = 8;

interface Pending {
  readonly sentMs: number;
  missed: boolean;
}

export class ProbeSeries {
  /** In a row. */
  misses = 0;
  /** In a row. */
  answers = 0;
  rttMs: number | null = null;
  /** When the probe was sent that was answered last, and the first of those missed since. */
  answeredSentMs = Number.NEGATIVE_INFINITY;
  missedSentMs = Number.POSITIVE_INFINITY;
  readonly #pending = new Map<number, Pending>();
  #history: boolean[] = [];
  #dueMs = 0;
  #awaited: number | null = null;

  /** Null until there is something to say. */
  get up(): boolean | null {
    if (this.misses >= MISSES_DOWN) return false;
    return this.answers > 0 || this.rttMs !== null ? true : null;
  }

  get lossPercent(): number {
    const missed = this.#history.filter((answered) => !answered).length;
    return this.#history.length === 0 ? 0 : Math.round((100 * missed) / this.#history.length);
  }

  /** How late the next probe is; negative before its time, or while an answer is awaited. */
  overdueMs(nowMs: number): number {
    return this.#awaited === null ? nowMs - this.#dueMs : -1;
  }

  sent(token: number, nowMs: number, intervalMs: number): void {
    this.#pending.set(token, { sentMs: nowMs, missed: false });
    for (const old of this.#pending.keys()) {
      if (this.#pending.size <= PENDING_MAX) break;
      this.#pending.delete(old);
    }
    this.#awaited = token;
    this.#dueMs = nowMs + intervalMs;
  }

  /** False when it is no answer to a probe of this series. */
  answered(token: number, nowMs: number): boolean {
    const pending = this.#pending.get(token);
    if (pending === undefined) return false;
    this.#pending.delete(token);
    if (this.#awaited === token) this.#awaited = null;
    if (pending.missed) this.#history[this.#history.lastIndexOf(false)] = true;
    else this.#note(true);
    const tookMs = Math.max(0, nowMs - pending.sentMs);
    // RFC 6298's weight for a new sample: smooth, and through a lasting change in some ten answers.
    this.rttMs = this.rttMs === null ? tookMs : this.rttMs + (tookMs - this.rttMs) / 8;
    this.misses = 0;
    this.answers += 1;
    this.answeredSentMs = Math.max(this.answeredSentMs, pending.sentMs);
    this.missedSentMs = Number.POSITIVE_INFINITY;
    return true;
  }

  /** True when a probe was found missed just now. */
  expire(nowMs: number): boolean {
    if (this.#awaited === null) return false;
    const pending = this.#pending.get(this.#awaited);
    if (pending === undefined || nowMs - pending.sentMs < this.#timeoutMs()) return false;
    pending.missed = true;
    this.#awaited = null;
    this.#note(false);
    if (this.misses === 0) this.missedSentMs = pending.sentMs;
    this.misses += 1;
    this.answers = 0;
    // One that has been down for long is asked at its usual pace.
    if (this.misses <= MISSES_DOWN) this.#dueMs = Math.min(this.#dueMs, Math.max(nowMs, pending.sentMs + RETRY_MS));
    return true;
  }

  /** Another question depends on this one. */
  hasten(nowMs: number): void {
    this.#dueMs = Math.min(this.#dueMs, nowMs);
  }

  /** This host itself stood still: what was under way says nothing. */
  excuse(nowMs: number): void {
    if (this.#awaited !== null) this.#dueMs = nowMs;
    this.#awaited = null;
  }

  /** The path became another one; `dueMs` is when to ask first. */
  restart(dueMs: number): void {
    this.misses = 0;
    this.answers = 0;
    this.rttMs = null;
    this.answeredSentMs = Number.NEGATIVE_INFINITY;
    this.missedSentMs = Number.POSITIVE_INFINITY;
    this.#pending.clear();
    this.#history = [];
    this.#awaited = null;
    this.#dueMs = dueMs;
  }

  #timeoutMs(): number {
    return Math.min(TIMEOUT_MAX_MS, Math.max(TIMEOUT_MIN_MS, 4 * (this.rttMs ?? TIMEOUT_MAX_MS)));
  }

  #note(answered: boolean): void {
    this.#history.push(answered);
    if (this.#history.length > HISTORY) this.#history.shift();
  }
}
