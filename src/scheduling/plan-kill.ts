import type { AppVersion } from "../model/app.ts";
import type { AppId, InstanceId } from "../model/ids.ts";
import type { Instance, InstanceStatus } from "../model/instance.ts";
import type { AppChange } from "./app-service.ts";
import type { RolloutAction } from "./rollout-pass.ts";

export interface KillInput {
  readonly ids: readonly InstanceId[];
  readonly apps: ReadonlyMap<AppId, AppVersion>;
  readonly instances: ReadonlyMap<InstanceId, Instance>;
  readonly statuses: ReadonlyMap<InstanceId, InstanceStatus>;
}

export interface KillPlan {
  /** Instances that are to go now; unknown ones, and those that were leaving already, are not among them. */
  readonly killed: readonly Instance[];
  /** Drains those that may have clients, stops the others. */
  readonly actions: readonly RolloutAction[];
  /** For a kill that scales: each app's wanted count, lowered by its killed instances. */
  readonly scaling: readonly AppChange[];
}

/** What ending instances by hand means. They are asked for by id, so the minimum of healthy ones does not hold them back. */
export function planKill({ ids, apps, instances, statuses }: KillInput): KillPlan {
  const killed = [...new Set(ids)]
    .toSorted()
    .flatMap((id) => instances.get(id) ?? [])
    .filter(({ goal }) => goal === "running");
  const counts = new Map<AppId, number>();
  for (const { appId } of killed) counts.set(appId, (counts.get(appId) ?? 0) + 1);
  return {
    killed,
    actions: killed.map(({ id }) => {
      const phase = statuses.get(id)?.phase;
      const kind = phase === undefined || phase === "running" ? "drain-instance" : "stop-instance";
      return { kind, id, reason: "its end was asked for" };
    }),
    scaling: [...counts].flatMap(([id, count]): AppChange[] => {
      const wanted = apps.get(id)?.spec.instances;
      return wanted === undefined ? [] : [{ kind: "scale", id, instances: Math.max(0, wanted - count) }];
    }),
  };
}
