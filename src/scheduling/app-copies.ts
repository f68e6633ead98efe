/** What the stored instances of an app and the hosts' reports add up to: the facts that a pass decides on. */
import type { AppVersion } from "../model/app.ts";
import type { Instance, InstanceStatus } from "../model/instance.ts";
import { isReady } from "../model/instance.ts";
import type { HostLoad } from "./host-load.ts";

/** An instance with what is known of it. */
export interface Copy {
  readonly instance: Instance;
  readonly status: InstanceStatus | undefined;
  /** Undefined when its host was removed. */
  readonly host: HostLoad | undefined;
  /** Runs the wanted definition. */
  readonly current: boolean;
  /** Running on a host that is up and, where checks are declared, healthy. */
  readonly ready: boolean;
}

export interface AppCopies {
  /** Meant to run, and not known to have ended. */
  readonly active: Copy[];
  /** Draining or stopping: its share of the host is taken until it is gone. */
  readonly leaving: Copy[];
  /** On a host that is down for longer than a replacement waits. It may still run there. */
  readonly lost: Copy[];
  /** Ended by itself: failed, vanished, or stuck before it ran. `why` for people. */
  readonly failed: { readonly copy: Copy; readonly why: string }[];
  /** Its end was asked for and is confirmed, or its host was removed. */
  readonly gone: Copy[];
  /** Running, but a check failed for too long. */
  readonly condemned: Copy[];
}

export interface CopyContext {
  readonly nowMs: number;
  readonly replaceAfterMs: number;
}

/**
 * An instance that has not come to run after this is given up. It is longer than the engine's own limit for a pull
 * (10 min), so that a slow pull ends with the engine's reason.
 */
export const STAGING_MS_MAX = 11 * 60_000;

/** Runs the definition that is wanted now. Equality, not order: a rollback makes an older definition the wanted one. */
export function isCurrent(instance: Instance, app: AppVersion | undefined): boolean {
  return app !== undefined && instance.version === app.lastConfigChangeAt;
}

export function noCopies(): AppCopies {
  return { active: [], leaving: [], lost: [], failed: [], gone: [], condemned: [] };
}

/** Adds one instance to the facts of its app. */
export function sortCopy(copies: AppCopies, copy: Copy, context: CopyContext): void {
  const { instance, status, host } = copy;
  const lost = isLost(host, context);
  const ended = status?.phase === "failed" || status?.phase === "gone";
  if (host === undefined) copies.gone.push(copy);
  else if (instance.goal !== "running") {
    // On a lost host nobody can confirm the end. When it returns, its agent removes what it is not assigned.
    if (ended || lost) copies.gone.push(copy);
    else copies.leaving.push(copy);
  } else if (ended) copies.failed.push({ copy, why: describeEnd(status) });
  else if (lost) copies.lost.push(copy);
  else if (stagedTooLong(copy, context.nowMs)) {
    copies.failed.push({ copy, why: `it did not run within ${STAGING_MS_MAX / 60_000} minutes` });
  } else if (status?.phase === "running" && status.condemned && host.presence.phase === "up") {
    copies.condemned.push(copy);
  } else copies.active.push(copy);
}

export function makeCopy(
  instance: Instance,
  known: { readonly status: InstanceStatus | undefined; readonly host: HostLoad | undefined },
  app: AppVersion | undefined,
): Copy {
  const { status, host } = known;
  const ready = host?.presence.phase === "up" && isReady(status);
  return { instance, status, host, current: isCurrent(instance, app), ready };
}

export function byCreation(a: Copy, b: Copy): number {
  return a.instance.createdAtMs - b.instance.createdAtMs || (a.instance.id < b.instance.id ? -1 : 1);
}

/** When an instance that is on its way counts as stuck; null when it is not on its way. */
export function stuckAtMs(status: InstanceStatus | undefined): number | null {
  return status?.phase === "staging" ? status.sinceMs + STAGING_MS_MAX : null;
}

export function hostOf(copy: Copy): string {
  return copy.host?.name ?? copy.instance.hostId;
}

function isLost(host: HostLoad | undefined, { nowMs, replaceAfterMs }: CopyContext): boolean {
  return host?.presence.phase === "down" && nowMs - host.presence.sinceMs >= replaceAfterMs;
}

function stagedTooLong({ status }: Copy, nowMs: number): boolean {
  const atMs = stuckAtMs(status);
  return atMs !== null && nowMs >= atMs;
}

function describeEnd(status: InstanceStatus): string {
  if (status.phase !== "failed") return "its container is gone";
  return status.exitCode === null ? status.reason : `${status.reason} (exit code ${status.exitCode})`;
}
