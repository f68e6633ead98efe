/**
 * From wanted changes of the set of apps to new versions and one deployment. Order of its steps: stop removed apps; start
 * new ones with no instance; then by dependencies, what others need first: scale new apps and those of which only the
 * number changed, restart those whose definition changed. A definition that is the same again changes nothing.
 */
import type { AppSpec, AppVersion } from "../model/app.ts";
import type { Deployment, DeploymentAction } from "../model/deployment.ts";
import { AppError, unreachable } from "../model/error.ts";
import { formatVersion } from "../model/ids.ts";
import type { AppId, DeploymentId, Version } from "../model/ids.ts";
import type { AppChange } from "./app-service.ts";
import { dependencyDepths } from "./dependency-layers.ts";
import { compareSpecs } from "./spec-changes.ts";

export interface ChangeInput {
  readonly apps: ReadonlyMap<AppId, AppVersion>;
  readonly deployments: readonly Deployment[];
  readonly changes: readonly AppChange[];
  /** Takes over from running deployments of the same apps. */
  readonly force: boolean;
  readonly nowMs: number;
  /** Becomes the deployment's id. */
  readonly uuid: string;
  /** A stored definition by its version, for `rollback` changes; null when there is none. */
  readonly versionOf?: (id: AppId, version: Version) => AppVersion | null;
}

export interface PlannedChange {
  readonly puts: readonly AppVersion[];
  readonly deletes: readonly AppId[];
  /** Without steps when nothing changed; it then ends at once. */
  readonly deployment: Deployment;
  /** Deployments that this one takes over from. */
  readonly cancelled: readonly DeploymentId[];
}

/** A change, or the return of one app to a former state with its instances of then. */
type WantedChange = AppChange | { readonly kind: "restore"; readonly to: AppVersion };

/** What is wanted of an app after all changes. */
interface Wanted {
  readonly spec: AppSpec;
  readonly restart: boolean;
  readonly restored: AppVersion | null;
}

/** @throws AppError `invalid`, `not-found` or `conflict` (`details.deployments`); nothing of the changes is done then. */
export function planChange(input: ChangeInput): PlannedChange {
  return planWanted(input, input.changes);
}

export interface CancelInput {
  readonly apps: ReadonlyMap<AppId, AppVersion>;
  readonly deployments: readonly Deployment[];
  /** The running deployment to go back from. */
  readonly deployment: Deployment;
  /** The definitions that `deployment.original` names. */
  readonly originals: ReadonlyMap<AppId, AppVersion>;
  readonly nowMs: number;
  readonly uuid: string;
}

/**
 * Undoes what one deployment wanted and leaves later changes of other apps alone. Instances of the former definition that
 * still run are kept, since the definition comes back under its old `lastConfigChangeAt`.
 * @throws AppError `not-found` when a former definition is no longer kept.
 */
export function planCancel({ deployment, originals, ...input }: CancelInput): PlannedChange {
  const changes = deployment.affectedApps.flatMap((id): WantedChange[] => {
    const before = deployment.original[id] ?? null;
    if (before === null) return input.apps.has(id) ? [{ kind: "destroy", id }] : [];
    const to = originals.get(id);
    if (to === undefined) throw noVersion(id, before);
    return [{ kind: "restore", to }];
  });
  return planWanted({ ...input, force: true, changes: [] }, changes, deployment);
}

function planWanted(input: ChangeInput, changes: readonly WantedChange[], undone?: Deployment): PlannedChange {
  const version = nextVersion(input);
  const wanted = new Map<AppId, Wanted | null>();
  for (const change of changes) applyChange(input, wanted, change);

  const puts: AppVersion[] = [];
  const deletes: AppId[] = [];
  const todo = new Map<AppId, DeploymentAction["action"]>();
  const created = new Set<AppId>();
  for (const id of [...wanted.keys()].toSorted()) {
    const before = input.apps.get(id);
    const after = wanted.get(id) ?? null;
    if (after === null) {
      if (before === undefined) continue;
      deletes.push(id);
      todo.set(id, "StopApplication");
      continue;
    }
    const put = nextAppVersion(before, after, version);
    if (put === null) continue;
    puts.push(put);
    if (before === undefined) created.add(id);
    todo.set(id, needsRestart(before, put) ? "RestartApplication" : "ScaleApplication");
  }

  const cancelled = overlapping(input, new Set(todo.keys()), undone);
  if (cancelled.length > 0 && !input.force) throw lockedError(cancelled, todo);
  const original: Record<AppId, Version | null> = {};
  for (const id of todo.keys()) original[id] = input.apps.get(id)?.version ?? null;
  for (const other of cancelled) takeOver(other, { input, todo, original, deleted: new Set(deletes) });

  const specs = new Map<AppId, AppSpec>();
  for (const [id, app] of input.apps) if (!deletes.includes(id)) specs.set(id, app.spec);
  for (const { spec } of puts) specs.set(spec.id, spec);
  return {
    puts,
    deletes,
    deployment: {
      id: input.uuid as DeploymentId,
      version,
      affectedApps: [...todo.keys()].toSorted(),
      steps: makeSteps(todo, created, specs),
      currentStep: 0,
      startedAtMs: input.nowMs,
      original,
    },
    cancelled: cancelled.map(({ id }) => id),
  };
}

/** Later than every version there is, since the time of a change is also its name and its place in the order. */
function nextVersion({ apps, deployments, nowMs }: ChangeInput): Version {
  let latest = "";
  for (const { version } of [...apps.values(), ...deployments]) if (version > latest) latest = version;
  return formatVersion(latest === "" ? nowMs : Math.max(nowMs, Date.parse(latest) + 1));
}

function applyChange(input: ChangeInput, wanted: Map<AppId, Wanted | null>, change: WantedChange): void {
  const current = (id: AppId): Wanted | null => {
    const changed = wanted.get(id);
    if (changed !== undefined) return changed;
    const app = input.apps.get(id);
    return app === undefined ? null : { spec: app.spec, restart: false, restored: null };
  };
  const existing = (id: AppId, verb: string): Wanted => {
    const found = current(id);
    if (found !== null) return found;
    throw new AppError("not-found", `Cannot ${verb} app "${id}": there is none of that name`, {
      hint: "List apps with: apollo app list",
      details: { appId: id },
    });
  };
  switch (change.kind) {
    case "put": {
      const { id } = change.spec;
      const before = current(id);
      if (before !== null && change.ifAbsent === true) {
        throw new AppError("conflict", `Cannot create app "${id}": an app with that id already exists`, {
          hint: `Change it with: apollo app update ${id}`,
          details: { appId: id },
        });
      }
      wanted.set(id, { spec: change.spec, restart: before?.restart ?? false, restored: null });
      return;
    }
    case "scale": {
      const before = existing(change.id, "scale");
      if (!Number.isSafeInteger(change.instances) || change.instances < 0) {
        throw new AppError("invalid", `Cannot scale app "${change.id}": ${change.instances} is not a count`, {
          fields: [{ path: "/instances", message: "must be a whole number, 0 or more" }],
        });
      }
      wanted.set(change.id, { ...before, spec: { ...before.spec, instances: change.instances } });
      return;
    }
    case "restart":
      wanted.set(change.id, { ...existing(change.id, "restart"), restart: true });
      return;
    case "rollback": {
      const before = existing(change.id, "roll back");
      const to = input.versionOf?.(change.id, change.version) ?? null;
      if (to === null) throw noVersion(change.id, change.version);
      wanted.set(change.id, { ...before, spec: to.spec, restored: null });
      return;
    }
    case "restore":
      wanted.set(change.to.spec.id, { spec: change.to.spec, restart: false, restored: change.to });
      return;
    case "destroy":
      existing(change.id, "destroy");
      wanted.set(change.id, null);
      return;
    default:
      unreachable(change, "change");
  }
}

/** The version to store; null when nothing changed. */
function nextAppVersion(before: AppVersion | undefined, wanted: Wanted, version: Version): AppVersion | null {
  const { spec, restart, restored } = wanted;
  if (restored !== null) {
    const same = before !== undefined && before.lastConfigChangeAt === restored.lastConfigChangeAt;
    if (same && compareSpecs(before.spec, spec) === "none") return null;
    return { version, spec, lastScalingAt: version, lastConfigChangeAt: restored.lastConfigChangeAt };
  }
  const change = before === undefined ? "config" : compareSpecs(before.spec, spec);
  if (before === undefined || change === "config") {
    return { version, spec, lastScalingAt: version, lastConfigChangeAt: version };
  }
  if (change === "none" && !restart) return null;
  return {
    version,
    spec,
    lastScalingAt: change === "scale" ? version : before.lastScalingAt,
    lastConfigChangeAt: restart ? version : before.lastConfigChangeAt,
  };
}

function needsRestart(before: AppVersion | undefined, put: AppVersion): boolean {
  return before !== undefined && before.lastConfigChangeAt !== put.lastConfigChangeAt;
}

function overlapping({ deployments }: ChangeInput, apps: ReadonlySet<AppId>, undone?: Deployment): Deployment[] {
  return deployments.filter(({ id, affectedApps }) => id === undone?.id || affectedApps.some((app) => apps.has(app)));
}

function lockedError(by: readonly Deployment[], todo: ReadonlyMap<AppId, unknown>): AppError {
  const apps = by.flatMap(({ affectedApps }) => affectedApps.filter((id) => todo.has(id)));
  const ids = by.map(({ id }) => id);
  return new AppError("conflict", `Cannot change app "${apps[0]}": deployment ${ids.join(", ")} is changing it`, {
    hint: "Wait until it is done, or take over from it with --force",
    details: { deployments: ids, apps },
  });
}

/**
 * What a cancelled deployment had not done yet is done by the new one: its definitions are stored and wanted, and nobody
 * else would bring them about. Where the new deployment has its own action for an app, an unfinished restart goes on in
 * it, since a mere scaling would leave outdated instances.
 */
function takeOver(
  other: Deployment,
  plan: {
    readonly input: ChangeInput;
    readonly todo: Map<AppId, DeploymentAction["action"]>;
    readonly original: Record<AppId, Version | null>;
    readonly deleted: ReadonlySet<AppId>;
  },
): void {
  const { input, todo, original, deleted } = plan;
  for (const { action, app: id } of other.steps.slice(other.currentStep).flat()) {
    if (deleted.has(id)) continue;
    const own = todo.get(id);
    if (own === undefined) {
      const leftOver = action === "StopApplication" || input.apps.has(id);
      if (!leftOver || action === "StartApplication") continue;
      todo.set(id, action);
      original[id] = other.original[id] ?? null;
    } else if (own === "ScaleApplication" && action === "RestartApplication") todo.set(id, action);
  }
}

function makeSteps(
  todo: ReadonlyMap<AppId, DeploymentAction["action"]>,
  created: ReadonlySet<AppId>,
  specs: ReadonlyMap<AppId, AppSpec>,
): readonly (readonly DeploymentAction[])[] {
  const ids = [...todo.keys()].toSorted();
  const stops = ids.filter((id) => todo.get(id) === "StopApplication");
  const starts = ids.filter((id) => created.has(id));
  const rest = ids.filter((id) => todo.get(id) !== "StopApplication");
  const depths = dependencyDepths(rest, specs);
  const layers = new Map<number, DeploymentAction[]>();
  for (const app of rest) {
    const action = todo.get(app);
    if (action === undefined || (created.has(app) && specs.get(app)?.instances === 0)) continue;
    const depth = depths.get(app) ?? 0;
    layers.set(depth, [...(layers.get(depth) ?? []), { action, app }]);
  }
  const steps: DeploymentAction[][] = [
    stops.map((app) => ({ action: "StopApplication", app })),
    starts.map((app) => ({ action: "StartApplication", app })),
    ...[...layers].toSorted(([a], [b]) => a - b).map(([, actions]) => actions),
  ];
  return steps.filter((actions) => actions.length > 0);
}

function noVersion(id: AppId, version: Version): AppError {
  return new AppError("not-found", `Cannot go back to version ${version} of app "${id}": it is not kept`, {
    hint: `List versions with: apollo app versions ${id}`,
    details: { appId: id, version },
  });
}
