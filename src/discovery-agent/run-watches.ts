/** Calls the handlers of watches: each watch is a blocking query of the process's own API. */
import { eventIndex } from "../discovery/registry/user-events.ts";
import { AppError, describeError } from "../model/error.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Log } from "../platform/ports/log.ts";
import type { Watch, WatchHandler } from "./parse-watch.ts";

export interface WatchAnswer {
  readonly status: number;
  readonly text: string;
  /** "" for none. */
  readonly index: string;
}

export interface WatchDeps {
  /** Asks the process's own API; `target` is below `/v1/`. @throws AppError `unavailable` when there is no answer. */
  readonly ask: (target: string, token: string | null, signal: AbortSignal) => Promise<WatchAnswer>;
  /** Hands JSON to a handler and waits until it is through. @throws AppError when it fails. */
  readonly call: (handler: WatchHandler, body: string, index: string) => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
}

/** Consul waits longer with each failure; a process that asks itself need not. */
const RETRY_MS = 1000;
const WAIT = "5m";

/** Runs all of them until aborted. */
export async function runWatches(watches: readonly Watch[], deps: WatchDeps, signal: AbortSignal): Promise<void> {
  await Promise.all(watches.map((watch) => runWatch(watch, deps, signal)));
}

async function runWatch(watch: Watch, deps: WatchDeps, signal: AbortSignal): Promise<void> {
  const { clock, log } = deps;
  let index = "0";
  // A key or tree that is not there yet is no change.
  let last = watch.target.startsWith("kv/") ? absent(watch) : "";
  while (!signal.aborted) {
    try {
      const mark = watch.target.includes("?") ? "&" : "?";
      const wait = index === "0" ? "" : `${mark}index=${index}&wait=${WAIT}`;
      const answer = await deps.ask(`${watch.target}${wait}`, watch.token, signal);
      if (answer.status !== 200 && answer.status !== 404)
        throw new AppError("unavailable", `${answer.status} ${answer.text.trim()}`);
      const before = index;
      index = nextIndex(watch, before, answer.index);
      const body = bodyOf(watch, answer, before);
      if (body === null || body === last) continue;
      last = body;
      await untilAborted(deps.call(watch.handler, body, answer.index), signal);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      if (signal.aborted) return;
      log.warn(`Cannot follow the watch of ${watch.name}: ${describeError(error)}`);
      await clock.sleep(RETRY_MS, signal);
    }
  }
}

function absent({ shape }: Pick<Watch, "shape">): string {
  return shape === "one" ? "null" : "[]";
}

/** A handler that is slow does not hold up the end of the process. */
async function untilAborted(called: Promise<void>, signal: AbortSignal): Promise<void> {
  const ended = Promise.withResolvers<void>();
  const end = (): void => ended.resolve();
  signal.addEventListener("abort", end);
  if (signal.aborted) end();
  await Promise.race([called, ended.promise]).finally(() => signal.removeEventListener("abort", end));
}

/** An index that went back is another server's count: it is asked anew. That of events is a hash, and goes anywhere. */
function nextIndex({ shape }: Watch, before: string, now: string): string {
  if (!/^\d{1,20}$/.test(now)) return "0";
  return shape !== "events" && BigInt(now) < BigInt(before) ? "0" : now;
}

/** Null: nothing for the handler. */
function bodyOf({ shape }: Watch, { status, text }: WatchAnswer, before: string): string | null {
  if (status === 404) return absent({ shape });
  if (shape === "as-is") return text;
  // An array of one in minified JSON: its flags are larger than any number that can be read and written here.
  if (shape === "one") return text.slice(1, -1);
  const events = JSON.parse(text) as readonly { readonly ID: string }[];
  const seen = events.findIndex(({ ID }) => String(eventIndex(ID)) === before);
  const fresh = events.slice(seen + 1);
  return fresh.length === 0 ? null : JSON.stringify(fresh);
}
