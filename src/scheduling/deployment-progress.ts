import type { AppVersion } from "../model/app.ts";
import type { Deployment, DeploymentAction } from "../model/deployment.ts";
import { unreachable } from "../model/error.ts";
import type { AppId, Version } from "../model/ids.ts";
import type { AppCopies } from "./app-copies.ts";

/**
 * How an app is treated in a pass.
 * `keep`: as many instances as wanted, of whatever definition. `roll`: replace outdated ones too. `hold`: its turn in a
 * deployment has not come: what was there is kept alive, `floor` instances, and nothing else is begun.
 */
export type AppMode =
  | { readonly kind: "keep" }
  | { readonly kind: "roll" }
  | { readonly kind: "hold"; readonly floor: number };

export interface ProgressContext {
  readonly apps: ReadonlyMap<AppId, AppVersion>;
  readonly copiesOf: (id: AppId) => AppCopies;
  /** A stored definition by its version, for what was there before a deployment; null when it is no longer kept. */
  readonly versionOf: (id: AppId, version: Version) => AppVersion | null;
}

/** The step that is under way: steps whose actions are all done are passed; the number of steps when all are. */
export function stepUnderWay(deployment: Deployment, context: ProgressContext): number {
  let step = deployment.currentStep;
  for (;;) {
    const actions = deployment.steps[step];
    if (actions === undefined || !actions.every((action) => isDone(action, context))) return step;
    step += 1;
  }
}

/** Modes of the apps that a deployment has in its present and later steps; the others are kept. */
export function deploymentModes(deployment: Deployment, step: number, context: ProgressContext): Map<AppId, AppMode> {
  const modes = new Map<AppId, AppMode>();
  for (let at = step; at < deployment.steps.length; at += 1) {
    for (const { action, app } of deployment.steps[at] ?? []) {
      if (action === "StopApplication") continue;
      const hold = at > step || action === "StartApplication";
      if (hold) modes.set(app, { kind: "hold", floor: countBefore(deployment, app, context) });
      else modes.set(app, { kind: action === "RestartApplication" ? "roll" : "keep" });
    }
  }
  return modes;
}

function countBefore(deployment: Deployment, id: AppId, { apps, versionOf }: ProgressContext): number {
  const before = deployment.original[id] ?? null;
  const count = before === null ? 0 : (versionOf(id, before)?.spec.instances ?? 0);
  return Math.min(count, apps.get(id)?.spec.instances ?? 0);
}

function isDone({ action, app: id }: DeploymentAction, { apps, copiesOf }: ProgressContext): boolean {
  const app = apps.get(id);
  const copies = copiesOf(id);
  switch (action) {
    case "StartApplication":
      return true;
    case "StopApplication":
      // An app that was created again meanwhile is another deployment's business.
      return app !== undefined || (copies.active.length === 0 && copies.lost.length === 0 && isSettled(copies));
    case "ScaleApplication":
      return app === undefined || (isSettled(copies) && hasAllReady(app, copies));
    case "RestartApplication":
      return app === undefined || (isSettled(copies) && hasAllReady(app, copies) && hasNoOutdated(copies));
    default:
      return unreachable(action, "deployment action");
  }
}

/** Nothing is on its way out, and nothing waits to be replaced. */
function isSettled({ leaving, failed, gone, condemned }: AppCopies): boolean {
  return leaving.length + failed.length + gone.length + condemned.length === 0;
}

function hasAllReady(app: AppVersion, { active }: AppCopies): boolean {
  return active.length === app.spec.instances && active.every((copy) => copy.ready);
}

function hasNoOutdated({ active, lost }: AppCopies): boolean {
  return active.every((copy) => copy.current) && lost.every((copy) => copy.current);
}
