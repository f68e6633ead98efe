import type { AppId, DeploymentId, InstanceId, Version } from "./ids.ts";

export type DeploymentAction =
  | { readonly action: "StartApplication"; readonly app: AppId }
  | { readonly action: "StopApplication"; readonly app: AppId }
  | { readonly action: "ScaleApplication"; readonly app: AppId }
  | { readonly action: "RestartApplication"; readonly app: AppId };

/** The change from one definition to another. It is stored while it runs and removed when it is done. */
export interface Deployment {
  readonly id: DeploymentId;
  readonly version: Version;
  readonly affectedApps: readonly AppId[];
  /** Steps run one after another; the actions of a step run side by side. */
  readonly steps: readonly (readonly DeploymentAction[])[];
  /** Index into `steps`. */
  readonly currentStep: number;
  readonly startedAtMs: number;
  /** What `apollo app rollback` and DELETE /v2/deployments go back to: version of each app before, null if it was not there. */
  readonly original: Readonly<Record<string, Version | null>>;
}

/** Why an app has fewer instances than wanted, host by host. */
export interface Problem {
  readonly appId: AppId;
  readonly code: "no-host" | "no-capacity" | "constraint" | "backoff" | "full-block";
  readonly message: string;
  /** Missing instances. */
  readonly count: number;
  readonly hosts: readonly { readonly host: string; readonly reason: string }[];
  readonly retryAtMs: number | null;
}

export interface LastFailure {
  readonly appId: AppId;
  readonly instanceId: InstanceId;
  readonly host: string;
  readonly message: string;
  readonly atMs: number;
  readonly version: Version;
}
