/** What one app needs in a pass: ended instances forgotten, surplus and outdated ones drained, missing ones placed. */
import type { AppVersion } from "../model/app.ts";
import type { LastFailure } from "../model/deployment.ts";
import { backoffAfterFailure, liveBackoff, quietAtMs } from "./backoff.ts";
import type { BackoffState } from "./backoff.ts";
import { byCreation, hostOf } from "./app-copies.ts";
import type { AppCopies, Copy } from "./app-copies.ts";
import { chooseVictims } from "./choose-victims.ts";
import type { AppMode } from "./deployment-progress.ts";
import { freeAddresses, lostHolder } from "./fixed-addresses.ts";
import type { Placed } from "./placement.ts";
import { planRoll } from "./plan-roll.ts";
import type { Wish } from "./plan-roll.ts";
import type { RolloutPass } from "./rollout-pass.ts";

/**
 * A draining instance is stopped after this even when a host has not confirmed: that host is cut off, and a client it
 * still sends meets one refused connection, which is better than a deployment that hangs.
 */
export const DRAIN_MS_MAX = 5000;

export interface AppInput {
  readonly app: AppVersion | undefined;
  readonly copies: AppCopies;
  readonly mode: AppMode;
  readonly backoff: BackoffState | undefined;
}

export function planApp({ app, copies, mode, backoff }: AppInput, pass: RolloutPass): void {
  for (const { instance } of copies.gone.toSorted(byCreation)) {
    pass.actions.push({ kind: "forget-instance", id: instance.id, reason: "it is gone" });
  }
  planLeaving(copies, pass);
  if (app === undefined) {
    for (const { copy, why } of copies.failed) forget(copy, why, pass);
    endAll([...copies.active, ...copies.condemned, ...copies.lost], "the app was destroyed", pass);
    if (backoff !== undefined) pass.actions.push({ kind: "clear-backoff", appId: backoff.appId });
    return;
  }
  const wait = planFailures(app, { copies, stored: backoff }, pass);
  const wish = mode.kind === "roll" ? planRoll(app, copies) : planCount(app, copies, mode);
  for (const { copies: out, reason } of wish.out) endAll(out, reason, pass);
  const homeless = wish.start > 0 ? launch(app, { copies, count: wish.start, wait }, pass) : 0;
  const makeRoom = chooseVictims(wish.yielding, homeless - copies.leaving.length - copies.condemned.length, app.spec);
  endAll(makeRoom, "it is not ready, and a new instance needs its room", pass);
}

function planLeaving({ leaving }: AppCopies, pass: RolloutPass): void {
  for (const { instance } of leaving.toSorted(byCreation)) {
    if (instance.goal !== "draining") continue;
    const endMs = (instance.drainSinceMs ?? instance.createdAtMs) + DRAIN_MS_MAX;
    const drained = instance.drainRevision !== undefined && pass.drainedBy(instance.drainRevision);
    if (drained || pass.nowMs >= endMs) {
      const reason = drained ? "no host sends it clients any more" : "a host did not confirm that it sends no clients";
      pass.actions.push({ kind: "stop-instance", id: instance.id, reason });
    } else pass.wakeAt(endMs);
  }
}

/** Forgets failed instances, condemns unhealthy ones, and sets how long the app waits; returns that. */
function planFailures(
  app: AppVersion,
  { copies, stored }: { readonly copies: AppCopies; readonly stored: BackoffState | undefined },
  pass: RolloutPass,
): BackoffState | null {
  const { nowMs } = pass;
  const { failed, condemned } = copies;
  const failures: LastFailure[] = [];
  for (const { copy, why } of failed.toSorted((a, b) => byCreation(a.copy, b.copy))) {
    forget(copy, why, pass);
    failures.push(describeFailure(copy, why, copy.status?.phase === "failed" ? copy.status.atMs : nowMs));
  }
  endAll(condemned, "its health check failed for too long", pass);
  for (const copy of condemned.toSorted(byCreation)) {
    const check = copy.status?.phase === "running" ? copy.status.checks.find(({ alive }) => !alive) : undefined;
    const why = `its health check failed ${check?.consecutiveFailures ?? "too many"} times in a row`;
    failures.push(describeFailure(copy, check?.lastFailureCause ? `${why}: ${check.lastFailureCause}` : why, nowMs));
  }
  const latest = failures.toSorted((a, b) => a.atMs - b.atMs).at(-1);
  if (latest !== undefined) pass.actions.push({ kind: "record-failure", failure: latest });
  const live = liveBackoff(stored, app, nowMs);
  // Outdated instances that fail say nothing of the definition that is started now.
  const counts = failed.some(({ copy }) => copy.current) || condemned.some((copy) => copy.current);
  const next = counts ? backoffAfterFailure(live, app, nowMs) : live;
  if (next === null && stored !== undefined) pass.actions.push({ kind: "clear-backoff", appId: app.spec.id });
  if (next !== null) {
    if (next !== stored) pass.actions.push({ kind: "set-backoff", state: next });
    pass.wakeAt(quietAtMs(next, app.spec.backoff) + 1);
  }
  return next;
}

/** As many as wanted, whatever definition they run; while the app is on hold only as many as before. */
function planCount(app: AppVersion, { active }: AppCopies, mode: AppMode): Wish {
  const target = mode.kind === "hold" ? mode.floor : app.spec.instances;
  const surplus = mode.kind === "hold" ? 0 : active.length - target;
  const victims = chooseVictims(active, surplus, app.spec);
  return {
    out: [{ copies: victims, reason: `${target} are wanted` }],
    start: Math.max(0, target - active.length),
    yielding: [],
  };
}

/** Starts instances; returns how many found no host. */
function launch(
  app: AppVersion,
  { copies, count, wait }: { copies: AppCopies; count: number; wait: BackoffState | null },
  pass: RolloutPass,
): number {
  if (wait !== null && pass.nowMs < wait.untilMs) {
    pass.wakeAt(wait.untilMs);
    pass.problems.push({
      appId: app.spec.id,
      code: "backoff",
      message: `Cannot start ${count === 1 ? "1 instance" : `${count} instances`} of "${app.spec.id}" yet: it failed, and is tried again after ${formatSeconds(wait.delayMs)}`,
      count,
      hosts: [],
      retryAtMs: wait.untilMs,
    });
    return 0;
  }
  const placed =
    (leaving: boolean) =>
    (copy: Copy): readonly Placed[] =>
      copy.current ? [{ hostId: copy.instance.hostId, leaving }] : [];
  const existing = [
    ...copies.active.flatMap(placed(false)),
    ...copies.leaving.flatMap(placed(true)),
    ...copies.condemned.flatMap(placed(true)),
  ];
  const free = freeAddresses(app.spec, copies);
  // The others wait for the instances that hold the addresses now.
  const places = free === null ? count : Math.min(count, free.length);
  if (places === 0) return 0;
  const placement = pass.place({ spec: app.spec, count: places, existing });
  for (const [at, hostId] of placement.placed.entries()) {
    const holder = lostHolder(free?.[at], copies);
    if (holder !== undefined) forget(holder, "its address moves to its replacement", pass);
    pass.create(app, hostId, free?.[at]);
  }
  if (placement.problem !== null) pass.problems.push(placement.problem);
  return placement.problem?.count ?? 0;
}

/** Ends instances, each in the mildest way its state allows. */
function endAll(copies: readonly Copy[], reason: string, pass: RolloutPass): void {
  for (const copy of copies.toSorted(byCreation)) {
    const { id } = copy.instance;
    // The host is down, so nobody serves from it; when it returns, its agent removes what it is not assigned.
    if (copy.host?.presence.phase === "down") forget(copy, `${reason}, and its host is down`, pass);
    // Without a report it may run and have clients: after a restart of the server, say.
    else if (copy.status === undefined || copy.status.phase === "running") {
      pass.actions.push({ kind: "drain-instance", id, reason });
    } else pass.actions.push({ kind: "stop-instance", id, reason });
  }
}

function forget({ instance }: Copy, reason: string, pass: RolloutPass): void {
  pass.actions.push({ kind: "forget-instance", id: instance.id, reason });
}

function describeFailure(copy: Copy, message: string, atMs: number): LastFailure {
  const { appId, id: instanceId, version } = copy.instance;
  return { appId, instanceId, host: hostOf(copy), message, atMs, version };
}

function formatSeconds(ms: number): string {
  return `${Math.round(ms / 100) / 10} s`;
}
