import type { AppSpec, AppVersion } from "../model/app.ts";
import type { Deployment, LastFailure, Problem } from "../model/deployment.ts";
import type { AppId, DeploymentId, InstanceId, Version } from "../model/ids.ts";
import type { Instance, InstanceStatus } from "../model/instance.ts";

/** An instance as the server sees it: what it wants, and what the host last said; null before the first word. */
export interface InstanceView {
  readonly instance: Instance;
  readonly hostName: string;
  readonly hostAddress: string;
  readonly hostUp: boolean;
  readonly status: InstanceStatus | null;
  /** The definition it runs, which may not be the wanted one any more. */
  readonly spec: AppSpec;
  /** Runs the definition that is wanted now. */
  readonly current: boolean;
}

export interface AppView {
  readonly current: AppVersion;
  /** Sorted by creation, then id. */
  readonly instances: readonly InstanceView[];
  readonly deployments: readonly DeploymentId[];
  readonly lastFailure: LastFailure | null;
  readonly problem: Problem | null;
}

export interface DeploymentRef {
  readonly version: Version;
  readonly deploymentId: DeploymentId;
}

export interface ChangeOptions {
  /** Takes over from deployments that touch the same apps; without it that is a `conflict` (details.deployments). */
  readonly force: boolean;
}

/** One wanted change of the set of apps; several in one call become one deployment. */
export type AppChange =
  /** Creates or replaces. `ifAbsent`: a `conflict` when the app exists. */
  | { readonly kind: "put"; readonly spec: AppSpec; readonly ifAbsent?: boolean }
  | { readonly kind: "scale"; readonly id: AppId; readonly instances: number }
  | { readonly kind: "restart"; readonly id: AppId }
  | { readonly kind: "rollback"; readonly id: AppId; readonly version: Version }
  | { readonly kind: "destroy"; readonly id: AppId };

/** What every API does with apps. Answers are the state after the change was stored. */
export interface AppService {
  list(): readonly AppView[];
  /** Null when there is none. */
  get(id: AppId): AppView | null;
  /** Every instance there is, also of apps that were destroyed and are still being stopped; sorted by app, creation, id. */
  instances(): readonly InstanceView[];
  /** Newest first. */
  versions(id: AppId): Promise<readonly AppVersion[]>;
  deployments(): readonly Deployment[];
  /** Stores all changes and starts one deployment. @throws AppError invalid | not-found | conflict; nothing is changed then. */
  change(changes: readonly AppChange[], options: ChangeOptions): Promise<DeploymentRef>;
  /** Without force: starts a deployment that goes back; with force: drops it where it stands (null). */
  cancelDeployment(id: DeploymentId, options: ChangeOptions): Promise<DeploymentRef | null>;
  /** Stops instances; they are replaced unless `scale` lowers the wanted count by as many. Unknown ids are skipped. */
  killInstances(
    ids: readonly InstanceId[],
    options: ChangeOptions & { readonly scale: boolean },
  ): Promise<{
    readonly killed: readonly InstanceView[];
    readonly deployment: DeploymentRef | null;
  }>;
  /** Ends the wait of an app that failed too often. False when it does not wait. */
  resetBackoff(id: AppId): Promise<boolean>;
  /** Apps with missing instances, and why; sorted by app. */
  problems(): readonly Problem[];
}
