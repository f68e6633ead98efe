/** Runs the checks of one host, each at its interval, and tells what changes in what they say. */
import type { HostCheck, HostCheckResult } from "../../model/host-check.ts";
import type { CheckAnswer, CheckRunner } from "../../platform/ports/check-runner.ts";
import type { Clock } from "../../platform/ports/clock.ts";
import type { Random } from "../../platform/ports/random.ts";
import { applyCheckAnswer, type CheckCount, untried } from "./apply-check-answer.ts";
import type { LocalHealth } from "./local-health.ts";
import { parseDuration } from "../registry/parse-duration.ts";
import { parseHostCheck, type RunnableCheck } from "./parse-host-check.ts";

export interface HostChecksDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly runner: CheckRunner;
  readonly local: LocalHealth;
  /** A check says something else, or it ended (null). */
  readonly onResult: (id: string, result: HostCheckResult | null) => void;
}

/** A new check is known within a second: nobody waits a whole interval for the first word. */
const FIRST_MS_MAX = 1000;
/** The same status with another output is told this often at most: watchers of a service must not wake for a changed date. */
const OUTPUT_INTERVAL_MS = 300_000;
/** So often a bad answer of a starved moment is tried again; then it is believed, whatever the machine's state. */
const HOLDS_MAX = 3;
const HOLD_MS = 200;

const TTL_MS_MIN = 1000;

interface Watch {
  /** The definition, to see whether it changed. */
  readonly text: string;
  readonly abort: AbortController;
  /** Of a check that is told: takes a word. */
  hear: ((result: HostCheckResult) => void) | null;
}

interface Told {
  readonly result: HostCheckResult;
  readonly atMs: number;
}

export class HostChecks {
  readonly #deps: HostChecksDeps;
  readonly #watches = new Map<string, Watch>();
  readonly #told = new Map<string, Told>();
  readonly #running = new Set<Promise<void>>();

  constructor(deps: HostChecksDeps) {
    this.#deps = deps;
  }

  get size(): number {
    return this.#watches.size;
  }

  /** All checks there are. Those that did not change run on as they were, whatever status comes with them. */
  set(checks: Iterable<HostCheck>): void {
    const wanted = new Map([...checks].map((check) => [check.id, check]));
    for (const [id, { abort }] of this.#watches) {
      const check = wanted.get(id);
      if (check !== undefined && this.#watches.get(id)?.text === textOf(check)) continue;
      abort.abort();
      this.#watches.delete(id);
      this.#told.delete(id);
      if (check === undefined) this.#deps.onResult(id, null);
    }
    for (const check of wanted.values()) if (!this.#watches.has(check.id)) this.#begin(check);
  }

  /** A client's word on a check with a time to live; for others nobody's word counts. */
  report(result: HostCheckResult): void {
    this.#watches.get(result.id)?.hear?.(result);
  }

  /** Ends all; resolves when nothing runs any more. */
  async close(): Promise<void> {
    for (const { abort } of this.#watches.values()) abort.abort();
    this.#watches.clear();
    await Promise.all(this.#running);
  }

  #begin(check: HostCheck): void {
    const abort = new AbortController();
    const watch: Watch = { text: textOf(check), abort, hear: null };
    this.#watches.set(check.id, watch);
    const ttlMs = ttlOf(check);
    if (ttlMs !== null) return this.#track(this.#awaitWords(check, ttlMs, watch));
    const runnable = parseHostCheck(check);
    if (typeof runnable === "string") return this.#tell({ id: check.id, status: "critical", output: runnable });
    this.#track(this.#repeat(check, runnable, abort.signal));
  }

  #track(task: Promise<void>): void {
    const running = task.finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  /** Nobody is asked: clients tell, and one that is silent for too long is critical. */
  async #awaitWords(check: HostCheck, ttlMs: number, watch: Watch): Promise<void> {
    const { clock } = this.#deps;
    const { signal } = watch.abort;
    let last = "";
    this.#tell({ id: check.id, status: check.status, output: "" });
    while (!signal.aborted) {
      const nap = new AbortController();
      const wake = (): void => nap.abort();
      signal.addEventListener("abort", wake);
      watch.hear = (result) => {
        last = result.output;
        this.#tell(result);
        wake();
      };
      await clock.sleep(ttlMs, nap.signal);
      signal.removeEventListener("abort", wake);
      if (nap.signal.aborted) continue;
      const output = last === "" ? "TTL expired" : `TTL expired (last output before timeout follows): ${last}`;
      this.#tell({ id: check.id, status: "critical", output });
    }
  }

  async #repeat(check: HostCheck, runnable: RunnableCheck, signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#deps;
    let count: CheckCount = untried(check.status);
    await clock.sleep(Math.min(runnable.intervalMs, FIRST_MS_MAX) * random.next(), signal);
    while (!signal.aborted) {
      const startedMs = clock.monotonicMs();
      const answer = await this.#ask(runnable, signal);
      if (signal.aborted) return;
      if (answer !== null) {
        count = applyCheckAnswer(count, answer.status, runnable.thresholds);
        this.#tell({ id: check.id, status: count.status, output: answer.output.slice(0, runnable.outputMax) });
      }
      // From start to start, so that a slow answer does not make the checks rarer; but never without a pause.
      const leftMs = runnable.intervalMs - (clock.monotonicMs() - startedMs);
      await clock.sleep(Math.max(leftMs, HOLD_MS), signal);
    }
  }

  /** A bad answer of a moment in which this process stood still is no answer. */
  async #ask({ target, timeoutMs, outputMax }: RunnableCheck, signal: AbortSignal): Promise<CheckAnswer | null> {
    const { clock, runner, local } = this.#deps;
    for (let holds = 0; ; holds += 1) {
      const startedMs = clock.monotonicMs();
      const answer = await runner.run(target, { timeoutMs: local.stretch(timeoutMs), outputMax, signal });
      if (answer === null || answer.status !== "critical" || signal.aborted) return answer;
      if (holds >= HOLDS_MAX || !local.stalledSince(startedMs)) return answer;
      await clock.sleep(HOLD_MS, signal);
      if (signal.aborted) return null;
    }
  }

  #tell(result: HostCheckResult): void {
    const nowMs = this.#deps.clock.monotonicMs();
    const before = this.#told.get(result.id);
    if (before !== undefined && before.result.status === result.status) {
      if (before.result.output === result.output || nowMs - before.atMs < OUTPUT_INTERVAL_MS) return;
    }
    this.#told.set(result.id, { result, atMs: nowMs });
    this.#deps.onResult(result.id, result);
  }
}

/** Null for a check that is not told. */
function ttlOf({ type, definition }: HostCheck): number | null {
  const ttl = definition["TTL"];
  const ms = type === "ttl" && typeof ttl === "string" ? parseDuration(ttl) : null;
  return ms === null || ms <= 0 ? null : Math.max(ms, TTL_MS_MIN);
}

function textOf({ type, definition, declaredByContainer = false }: HostCheck): string {
  return JSON.stringify([type, definition, declaredByContainer]);
}
