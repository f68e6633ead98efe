/**
 * What must hold of every pass of the planner, whatever the cluster went through. It is written from the rules and not
 * from the planner's code, so it counts everything anew from the pass's input.
 */
import type { AppVersion } from "../model/app.ts";
import type { AppId, HostId, InstanceId } from "../model/ids.ts";
import type { Instance } from "../model/instance.ts";
import type { HostLoad } from "../scheduling/host-load.ts";
import { REPLACE_AFTER_MS } from "../scheduling/plan-rollout.ts";
import type { RolloutInput, RolloutPlan } from "../scheduling/plan-rollout.ts";

/** Broken rules, in words; [] when all hold. */
export function checkPass(input: RolloutInput, plan: RolloutPlan): readonly string[] {
  return [...checkPlaces(input, plan), ...checkStops(input, plan), ...checkCounts(input, plan)];
}

/** Never on a host that is not up or is cordoned, never over what a host has. */
function checkPlaces(input: RolloutInput, plan: RolloutPlan): string[] {
  const broken: string[] = [];
  const hosts = new Map(input.hosts.map((host) => [host.id, host]));
  const used = new Map<HostId, { cpus: number; memoryMiB: number; addresses: number }>();
  for (const action of plan.actions) {
    if (action.kind !== "create-instance") continue;
    const { hostId, appId, id } = action.instance;
    const host = hosts.get(hostId);
    const spec = input.apps.get(appId)?.spec;
    if (host === undefined || spec === undefined) {
      broken.push(`${id} was created for a host or app that is not there`);
      continue;
    }
    if (host.presence.phase !== "up") broken.push(`${id} was placed on ${host.name}, which is ${host.presence.phase}`);
    if (host.cordoned) broken.push(`${id} was placed on ${host.name}, which is cordoned`);
    const sum = used.get(hostId) ?? { ...host.used, addresses: host.addresses.used };
    sum.cpus += spec.cpus;
    sum.memoryMiB += spec.memoryMiB;
    sum.addresses += 1;
    used.set(hostId, sum);
    if (sum.cpus > host.resources.cpus + 1e-6) broken.push(`${host.name} is over its cpus with ${id}`);
    if (sum.memoryMiB > host.resources.memoryMiB) broken.push(`${host.name} is over its memory with ${id}`);
    if (sum.addresses > host.addresses.total) broken.push(`${host.name} is out of addresses with ${id}`);
  }
  return broken;
}

/** A running instance is stopped only when no host sends it clients, or some host had long enough to say so. */
function checkStops(input: RolloutInput, plan: RolloutPlan): string[] {
  return plan.actions.flatMap((action) => {
    if (action.kind !== "stop-instance") return [];
    const instance = input.instances.get(action.id);
    if (instance === undefined) return [`${action.id} was stopped, but is not there`];
    if (input.statuses.get(action.id)?.phase !== "running") return [];
    if (instance.goal !== "draining") return [`${action.id} was stopped without draining`];
    const drained = instance.drainRevision !== undefined && input.drainedBy(instance.drainRevision);
    const waitedMs = input.nowMs - (instance.drainSinceMs ?? input.nowMs);
    return drained || waitedMs >= 5000 ? [] : [`${action.id} was stopped after ${waitedMs} ms, with clients`];
  });
}

function checkCounts(input: RolloutInput, plan: RolloutPlan): string[] {
  const hosts = new Map(input.hosts.map((host) => [host.id, host]));
  const out = new Set<InstanceId>();
  const forgotten = new Set<InstanceId>();
  const created = new Map<AppId, number>();
  for (const action of plan.actions) {
    if (action.kind === "drain-instance" || action.kind === "stop-instance") out.add(action.id);
    if (action.kind === "forget-instance") forgotten.add(action.id);
    if (action.kind !== "create-instance") continue;
    const { appId } = action.instance;
    created.set(appId, (created.get(appId) ?? 0) + 1);
  }
  const byApp = Map.groupBy(input.instances.values(), ({ appId }) => appId);
  return [...input.apps.values()].flatMap((app) => {
    const all = (byApp.get(app.spec.id) ?? []).map((instance) => observe(instance, input, hosts));
    return checkApp(app, {
      all,
      stays: (each) => !out.has(each.instance.id) && !forgotten.has(each.instance.id),
      created: created.get(app.spec.id) ?? 0,
      gone: (each) => forgotten.has(each.instance.id),
      rolling: isRolling(app, input, plan),
    });
  });
}

interface Observed {
  readonly instance: Instance;
  readonly ready: boolean;
  /** Wanted to run and not known to be over. */
  readonly active: boolean;
  /** Takes a place in the app: not ended, not on a host that was lost. */
  readonly counts: boolean;
}

function observe(instance: Instance, input: RolloutInput, hosts: ReadonlyMap<HostId, HostLoad>): Observed {
  const host = hosts.get(instance.hostId);
  const status = input.statuses.get(instance.id);
  const ended = status?.phase === "failed" || status?.phase === "gone";
  const lost =
    host === undefined ||
    (host.presence.phase === "down" && input.nowMs - host.presence.sinceMs >= REPLACE_AFTER_MS);
  const running = status?.phase === "running" && instance.goal === "running" && host?.presence.phase === "up";
  const condemned = status?.phase === "running" && status.condemned;
  return {
    instance,
    ready: running && (status.health === "healthy" || status.health === "none"),
    active: instance.goal === "running" && !ended && !lost && !condemned,
    counts: !ended && !lost,
  };
}

function checkApp(
  { spec }: AppVersion,
  facts: {
    readonly all: readonly Observed[];
    readonly stays: (each: Observed) => boolean;
    readonly gone: (each: Observed) => boolean;
    readonly created: number;
    readonly rolling: boolean;
  },
): string[] {
  const { all, stays, gone, created, rolling } = facts;
  const broken: string[] = [];
  const wanted = spec.instances;
  const healthyMin = rolling ? Math.ceil(wanted * spec.upgrade.minimumHealthCapacity - 1e-9) : wanted;
  const readyBefore = all.filter((each) => each.ready).length;
  const readyAfter = all.filter((each) => each.ready && stays(each)).length;
  if (readyAfter < Math.min(readyBefore, healthyMin)) {
    broken.push(`${spec.id} goes from ${readyBefore} ready ones to ${readyAfter}, with a minimum of ${healthyMin}`);
  }
  const activeBefore = all.filter((each) => each.active).length;
  const activeAfter = all.filter((each) => each.active && stays(each)).length + created;
  const capacity = Math.floor(wanted * (1 + spec.upgrade.maximumOverCapacity) + 1e-9);
  const totalMax = capacity === Math.ceil(wanted * spec.upgrade.minimumHealthCapacity - 1e-9) ? capacity + 1 : capacity;
  if (rolling) {
    const totalBefore = all.filter((each) => each.counts).length;
    const totalAfter = all.filter((each) => each.counts && !gone(each)).length + created;
    if (totalAfter > Math.max(totalMax, totalBefore)) {
      broken.push(`${spec.id} goes from ${totalBefore} instances to ${totalAfter}, with ${totalMax} at most`);
    }
  } else if (activeAfter > Math.max(wanted, activeBefore)) {
    broken.push(`${spec.id} goes from ${activeBefore} to ${activeAfter} instances, with ${wanted} wanted`);
  }
  return broken;
}

/** A step of a deployment that is under way after this pass restarts the app. */
function isRolling(app: AppVersion, input: RolloutInput, plan: RolloutPlan): boolean {
  const steps = new Map(
    plan.actions.flatMap((action) => (action.kind === "advance-deployment" ? [[action.id, action.step] as const] : [])),
  );
  const finished = new Set(plan.actions.flatMap((action) => (action.kind === "finish-deployment" ? [action.id] : [])));
  return [...input.deployments].some(
    (deployment) =>
      !finished.has(deployment.id) &&
      (deployment.steps[steps.get(deployment.id) ?? deployment.currentStep] ?? []).some(
        ({ action, app: id }) => action === "RestartApplication" && id === app.spec.id,
      ),
  );
}
