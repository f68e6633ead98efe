import type { AppJson, InstanceJson } from "../api/native/shapes.ts";

/** How an app's instances stand against the wanted number; what health bars and counts show. */
export interface AppTally {
  readonly wanted: number;
  /** Running and healthy, or running without checks. */
  readonly ready: number;
  readonly unhealthy: number;
  /** Placed but not yet ready: pulling, starting, or without a first check result. */
  readonly starting: number;
  /** Draining or stopping: not counted against the wanted number. */
  readonly leaving: number;
  /** Ended badly: to be replaced. */
  readonly failed: number;
  /** On a host that is not heard of: replaced elsewhere, and stopped when the host comes back. */
  readonly lost: number;
  /** Wanted but not placed. */
  readonly missing: number;
  /** False when no instance has checks: then "running" is all that can be said. */
  readonly checked: boolean;
}

export type InstanceState = "ready" | "unhealthy" | "starting" | "leaving" | "failed" | "lost";

/** The one word for an instance that colours, letters and filters go by. */
export function instanceState(instance: InstanceJson): InstanceState {
  if (instance.phase === "lost") return "lost";
  if (instance.phase === "failed" || instance.phase === "gone") return "failed";
  if (instance.goal !== "running" || instance.phase === "stopping") return "leaving";
  if (instance.phase !== "running" || instance.health === "unknown") return "starting";
  return instance.health === "unhealthy" ? "unhealthy" : "ready";
}

export function tallyApp(app: AppJson, instances: readonly InstanceJson[]): AppTally {
  const counts: Record<InstanceState, number> = {
    ready: 0,
    unhealthy: 0,
    starting: 0,
    leaving: 0,
    failed: 0,
    lost: 0,
  };
  let checked = false;
  for (const instance of instances) {
    counts[instanceState(instance)] += 1;
    if (instance.health !== "none" && instance.phase === "running") checked = true;
  }
  const present = counts.ready + counts.unhealthy + counts.starting;
  return {
    wanted: app.instances,
    ready: counts.ready,
    unhealthy: counts.unhealthy,
    starting: counts.starting,
    leaving: counts.leaving,
    failed: counts.failed,
    lost: counts.lost,
    missing: Math.max(0, app.instances - present),
    checked,
  };
}
