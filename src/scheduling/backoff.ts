/**
 * How long an app that fails waits before it is started again. The key is app and definition (`lastConfigChangeAt`): a
 * changed or restarted app starts at once, a scaled one waits on.
 */
import type { AppVersion, Backoff } from "../model/app.ts";
import type { AppId, Version } from "../model/ids.ts";

/** Stored by the server, so that its restart does not forgive a crash loop. */
export interface BackoffState {
  readonly appId: AppId;
  /** The `lastConfigChangeAt` that failed. */
  readonly version: Version;
  readonly delayMs: number;
  /** No instance is started before this. */
  readonly untilMs: number;
}

/**
 * The state after a failure. Failures seen while the app waits are of instances started before the wait, mostly by the
 * same cause (a lost database fails a hundred at once), so they do not lengthen it.
 */
export function backoffAfterFailure(state: BackoffState | null, app: AppVersion, nowMs: number): BackoffState {
  const { initialMs, factor, maxMs } = app.spec.backoff;
  if (state !== null && nowMs < state.untilMs) return state;
  const delayMs = Math.min(maxMs, state === null ? initialMs : Math.max(initialMs, state.delayMs * factor));
  return { appId: app.spec.id, version: app.lastConfigChangeAt, delayMs, untilMs: nowMs + delayMs };
}

/** The state that still counts: null for another definition, and once the app was quiet for the longest delay. */
export function liveBackoff(state: BackoffState | undefined, app: AppVersion, nowMs: number): BackoffState | null {
  if (state === undefined || state.version !== app.lastConfigChangeAt) return null;
  return nowMs > quietAtMs(state, app.spec.backoff) ? null : state;
}

/** From when on a state is forgotten. */
export function quietAtMs(state: BackoffState, backoff: Backoff): number {
  return state.untilMs + backoff.maxMs;
}
