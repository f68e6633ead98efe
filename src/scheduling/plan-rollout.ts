/**
 * One pass of the scheduler: what has to change in the stored state, given the definitions, the records of instances and
 * what hosts report. It remembers nothing between passes, so it may run at any time and after any interruption; the same
 * input gives the same plan, and a state that is as wanted gives none.
 */
import type { AppVersion } from "../model/app.ts";
import type { Deployment, Problem } from "../model/deployment.ts";
import type { AppId, InstanceId, Version } from "../model/ids.ts";
import type { Instance, InstanceStatus } from "../model/instance.ts";
import type { BackoffState } from "./backoff.ts";
import { makeCopy, noCopies, sortCopy, stuckAtMs } from "./app-copies.ts";
import type { AppCopies } from "./app-copies.ts";
import { deploymentModes, stepUnderWay } from "./deployment-progress.ts";
import type { AppMode, ProgressContext } from "./deployment-progress.ts";
import type { HostLoad } from "./host-load.ts";
import { planApp } from "./plan-app.ts";
import { RolloutPass } from "./rollout-pass.ts";
import type { RolloutAction } from "./rollout-pass.ts";

/** How long after a host is down its instances are replaced: most hosts that fall silent come back within seconds. */
export const REPLACE_AFTER_MS = 3000;

export interface RolloutInput {
  /** What is wanted. */
  readonly apps: ReadonlyMap<AppId, AppVersion>;
  readonly deployments: Iterable<Deployment>;
  /** The stored records. */
  readonly instances: ReadonlyMap<InstanceId, Instance>;
  /** What hosts said last; a host that is down or was not heard of yet may have none. */
  readonly statuses: ReadonlyMap<InstanceId, InstanceStatus>;
  /** With the load of all `instances` (`hostLoads`). */
  readonly hosts: readonly HostLoad[];
  readonly backoffs: ReadonlyMap<AppId, BackoffState>;
  readonly nowMs: number;
  /** Whether every live host has applied that catalog revision. */
  readonly drainedBy: (revision: number) => boolean;
  /**
   * A stored definition by its version; null when it is no longer kept. It tells how many instances an app had before a
   * deployment: as many are kept alive while the app waits for its step. Unknown counts as none.
   */
  readonly versionOf?: (id: AppId, version: Version) => AppVersion | null;
  readonly newUuid: () => string;
  readonly replaceAfterMs?: number;
}

export interface RolloutPlan {
  /** In the order to apply them. */
  readonly actions: readonly RolloutAction[];
  /** Apps with missing instances that cannot be started now, sorted by app. */
  readonly problems: readonly Problem[];
  /** When a pass is due even if nothing happens; null for never. */
  readonly nextWakeMs: number | null;
}

export function planRollout(input: RolloutInput): RolloutPlan {
  const pass = new RolloutPass(input);
  const copies = sortInstances(input, pass);
  const modes = planDeployments(input, copies, pass);
  for (const id of [...new Set([...input.apps.keys(), ...copies.keys(), ...input.backoffs.keys()])].toSorted()) {
    const app = input.apps.get(id);
    const mode = modes.get(id) ?? KEEP;
    const own = copies.get(id) ?? noCopies();
    const backoff = input.backoffs.get(id);
    if (backoff === undefined && mode.kind === "keep" && isAsWanted(app, own)) continue;
    planApp({ app, copies: own, mode, backoff }, pass);
  }
  return { actions: pass.actions, problems: pass.problems, nextWakeMs: pass.nextWakeMs };
}

const KEEP: AppMode = { kind: "keep" };

function sortInstances(input: RolloutInput, pass: RolloutPass): Map<AppId, AppCopies> {
  const hosts = new Map(input.hosts.map((host) => [host.id, host]));
  const context = { nowMs: input.nowMs, replaceAfterMs: input.replaceAfterMs ?? REPLACE_AFTER_MS };
  const waiting = new Set<HostLoad>();
  const copies = new Map<AppId, AppCopies>();
  for (const instance of input.instances.values()) {
    let own = copies.get(instance.appId);
    if (own === undefined) {
      own = noCopies();
      copies.set(instance.appId, own);
    }
    const host = hosts.get(instance.hostId);
    const status = input.statuses.get(instance.id);
    sortCopy(own, makeCopy(instance, { status, host }, input.apps.get(instance.appId)), context);
    if (host?.presence.phase === "down") waiting.add(host);
    const stuckMs = stuckAtMs(status);
    if (stuckMs !== null && stuckMs > input.nowMs) pass.wakeAt(stuckMs);
  }
  for (const { presence } of waiting) {
    const lostMs = presence.phase === "down" ? presence.sinceMs + context.replaceAfterMs : 0;
    if (lostMs > input.nowMs) pass.wakeAt(lostMs);
  }
  return copies;
}

/** Moves deployments on, and says how their apps are treated. */
function planDeployments(
  input: RolloutInput,
  copies: ReadonlyMap<AppId, AppCopies>,
  pass: RolloutPass,
): ReadonlyMap<AppId, AppMode> {
  const context: ProgressContext = {
    apps: input.apps,
    versionOf: input.versionOf ?? (() => null),
    copiesOf: (id) => copies.get(id) ?? noCopies(),
  };
  const modes = new Map<AppId, AppMode>();
  for (const deployment of [...input.deployments].toSorted(byStart)) {
    const step = stepUnderWay(deployment, context);
    if (step >= deployment.steps.length) pass.actions.push({ kind: "finish-deployment", id: deployment.id });
    else if (step > deployment.currentStep) pass.actions.push({ kind: "advance-deployment", id: deployment.id, step });
    for (const [id, mode] of deploymentModes(deployment, step, context)) modes.set(id, mode);
  }
  return modes;
}

function isAsWanted(app: AppVersion | undefined, copies: AppCopies): boolean {
  const { active, leaving, failed, gone, condemned, lost } = copies;
  const restless = leaving.length + failed.length + gone.length + condemned.length;
  return restless === 0 && (app === undefined ? lost.length === 0 : true) && active.length === (app?.spec.instances ?? 0);
}

function byStart(a: Deployment, b: Deployment): number {
  return a.startedAtMs - b.startedAtMs || (a.id < b.id ? -1 : 1);
}
