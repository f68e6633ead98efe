import type { AppSpec } from "./app.ts";
import type { AppId, HostId, InstanceId, Version } from "./ids.ts";
import type { Ipv4 } from "./ip.ts";
import type { HostAddress } from "./ip6.ts";

/**
 * What the server wants of an instance. `draining`: still running, but out of DNS and ingress; it becomes `stopped`
 * when every live host has applied that, so no client is sent to a closing port.
 */
export type InstanceGoal = "running" | "draining" | "stopped";

/** The stored record that places one copy of an app on one host. Its address is the host agent's choice, unless the app has fixed ones. */
export interface Instance {
  readonly id: InstanceId;
  readonly appId: AppId;
  /** The `lastConfigChangeAt` of the definition it runs. */
  readonly version: Version;
  readonly hostId: HostId;
  readonly createdAtMs: number;
  readonly goal: InstanceGoal;
  /** The fixed address that it was given of those its app declares; without one its host's agent chooses. */
  readonly address?: Ipv4;
  /** Catalog revision that has the instance out; set with goal `draining`. */
  readonly drainRevision?: number;
  readonly drainSinceMs?: number;
}

/** An instance with the definition it runs, as sent to its host. */
export interface Assignment {
  readonly instance: Instance;
  readonly spec: AppSpec;
}

export interface CheckResult {
  readonly alive: boolean;
  readonly consecutiveFailures: number;
  readonly firstSuccessMs: number | null;
  readonly lastSuccessMs: number | null;
  readonly lastFailureMs: number | null;
  readonly lastFailureCause: string | null;
}

/** `none`: no checks declared. `unknown`: checks declared, no result yet. */
export type InstanceHealth = "none" | "unknown" | "healthy" | "unhealthy";

/** What the host's agent saw. */
export type InstanceStatus =
  | { readonly phase: "staging"; readonly step: "waiting" | "pulling" | "creating"; readonly sinceMs: number }
  | {
      readonly phase: "running";
      readonly containerId: string;
      /** Of its host, when it is on the host's own network. */
      readonly address: HostAddress;
      readonly startedAtMs: number;
      readonly health: InstanceHealth;
      readonly checks: readonly CheckResult[];
      /** A check failed `maxConsecutiveFailures` times in a row: the server replaces the instance. */
      readonly condemned: boolean;
    }
  | { readonly phase: "stopping"; readonly sinceMs: number }
  | {
      readonly phase: "failed";
      readonly reason: string;
      readonly exitCode: number | null;
      readonly atMs: number;
    }
  | { readonly phase: "gone" };

export interface InstanceReport {
  readonly id: InstanceId;
  readonly status: InstanceStatus;
}

/** Running and, where checks are declared, healthy: what rollout counts. */
export function isReady(status: InstanceStatus | undefined): boolean {
  return status?.phase === "running" && (status.health === "healthy" || status.health === "none");
}
