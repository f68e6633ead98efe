import type { Catalog } from "../discovery/catalog.ts";
import type { Problem } from "../model/deployment.ts";
import type { AppId, HostId, InstanceId } from "../model/ids.ts";
import type { Host } from "../model/host.ts";
import type { Instance } from "../model/instance.ts";
import { cidrSize, parseCidr } from "../model/ip.ts";
import type { Subject } from "../platform/loop/reconcile-loop.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Log } from "../platform/ports/log.ts";
import type { Random } from "../platform/ports/random.ts";
import type { StoreWrite } from "../platform/ports/store.ts";
import { hostLoads, type HostPresence } from "../scheduling/host-load.ts";
import { planRollout, type RolloutInput } from "../scheduling/plan-rollout.ts";
import type { RolloutAction } from "../scheduling/rollout-pass.ts";
import type { AgentHub } from "./agent-hub.ts";
import { type ClusterState, keyOf } from "./cluster-state.ts";

export interface RolloutDeps {
  readonly state: ClusterState;
  readonly hub: AgentHub;
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly random: Random;
  readonly presenceOf: (id: HostId) => HostPresence;
  readonly log: Log;
}

/** What a further block of any size can still be made of; a rough figure, since blocks have sizes. */
function countSpare(range: string, hosts: Iterable<Host>): number {
  let spare = cidrSize(parseCidr(range));
  for (const { blocks } of hosts) for (const block of blocks) spare -= cidrSize(parseCidr(block));
  return Math.max(0, spare - SPARE_MIN);
}

/** The smallest block of all; what is left of the range beside it is no block. */
const SPARE_MIN = 8;

type Batch = readonly RolloutAction[];

/** The scheduler's loop: what a pass decides is stored in one commit, so that a crash leaves all of it or nothing. */
export class RolloutSubject implements Subject<RolloutInput, Batch> {
  readonly name = "rollout";
  readonly #deps: RolloutDeps;
  /** Why instances are missing, as of the last pass. */
  problems: readonly Problem[] = [];
  nextWakeMs: number | null = null;

  constructor(deps: RolloutDeps) {
    this.#deps = deps;
  }

  async observe(): Promise<RolloutInput> {
    const { state, hub, clock, random, presenceOf } = this.#deps;
    const { apps, instances, backoffs } = state;
    const specOf = (instance: Instance) => state.specOf(instance);
    const spareAddresses = countSpare(state.settings.range, state.hosts.values());
    return {
      apps,
      deployments: state.deployments.values(),
      instances,
      statuses: hub.statuses,
      hosts: hostLoads({
        hosts: state.hosts.values(),
        presenceOf,
        instances: instances.values(),
        specOf,
        spareAddresses,
      }),
      backoffs,
      nowMs: clock.nowMs(),
      drainedBy: (revision) => hub.drainedBy(revision),
      versionOf: (id, version) => state.versionOf(id, version),
      newUuid: () => random.uuid(),
    };
  }

  plan(input: RolloutInput): readonly Batch[] {
    const plan = planRollout(input);
    this.problems = plan.problems;
    this.nextWakeMs = plan.nextWakeMs;
    return plan.actions.length === 0 ? [] : [plan.actions];
  }

  async apply(batch: Batch): Promise<void> {
    const { state, hub, log } = this.#deps;
    await hub.sendAfter(async () => {
      const drainRevision = this.#drain(batch);
      const writes = batch.flatMap((action) => this.#writesOf(action, drainRevision));
      await state.commit([...writes, ...this.#forgottenApps(batch)]);
    });
    for (const action of batch) {
      if (action.kind === "forget-instance") hub.forgetStatus(action.id);
      log.debug("rollout", { action: action.kind, ...("id" in action ? { id: action.id } : {}) });
    }
  }

  /** Takes leaving instances out of the catalog before anything is stopped; gives the revision that has them out. */
  #drain(batch: Batch): number {
    const leaving = [...this.#deps.state.instances.values()].filter((instance) => instance.goal !== "running");
    const more = batch.flatMap((action) =>
      action.kind === "drain-instance" || action.kind === "stop-instance" ? action.id : [],
    );
    return this.#deps.catalog.setDraining(new Set([...leaving.map((instance) => instance.id), ...more]));
  }

  #writesOf(action: RolloutAction, drainRevision: number): readonly StoreWrite[] {
    const { state, clock } = this.#deps;
    const put = (key: string, value: unknown): readonly StoreWrite[] => [{ kind: "put", key, value }];
    const change = (id: InstanceId, fields: Partial<Instance>): readonly StoreWrite[] => {
      const instance = state.instances.get(id);
      return instance === undefined ? [] : put(keyOf.instance(id), { ...instance, ...fields });
    };
    switch (action.kind) {
      case "create-instance":
        return put(keyOf.instance(action.instance.id), action.instance);
      case "drain-instance":
        return change(action.id, { goal: "draining", drainRevision, drainSinceMs: clock.nowMs() });
      case "stop-instance":
        return change(action.id, { goal: "stopped" });
      case "forget-instance":
        return [{ kind: "delete", key: keyOf.instance(action.id) }];
      case "record-failure":
        return put(keyOf.failure(action.failure.appId), action.failure);
      case "set-backoff":
        return put(keyOf.backoff(action.state.appId), action.state);
      case "clear-backoff":
        return [{ kind: "delete", key: keyOf.backoff(action.appId) }];
      case "advance-deployment": {
        const deployment = state.deployments.get(action.id);
        return deployment === undefined
          ? []
          : put(keyOf.deployment(action.id), { ...deployment, currentStep: action.step });
      }
      case "finish-deployment":
        return [{ kind: "delete", key: keyOf.deployment(action.id) }];
    }
  }

  /** What is kept of a destroyed app goes with the end of the deployment that destroyed it. */
  #forgottenApps(batch: Batch): readonly StoreWrite[] {
    const { state } = this.#deps;
    const finished = batch.flatMap((action) =>
      action.kind === "finish-deployment" ? (state.deployments.get(action.id) ?? []) : [],
    );
    const gone = new Set(finished.flatMap((deployment) => deployment.affectedApps).filter((id) => !state.apps.has(id)));
    const inUse = new Set([...state.instances.values()].map((instance) => instance.appId));
    return [...gone].filter((id) => !inUse.has(id) || this.#allForgotten(id, batch)).flatMap((id) => this.#traces(id));
  }

  #allForgotten(id: AppId, batch: Batch): boolean {
    const forgotten = new Set(batch.flatMap((action) => (action.kind === "forget-instance" ? action.id : [])));
    return [...this.#deps.state.instances.values()].every((each) => each.appId !== id || forgotten.has(each.id));
  }

  #traces(id: AppId): readonly StoreWrite[] {
    const { state } = this.#deps;
    const keys = [
      ...state.versionsOf(id).map((each) => keyOf.version(id, each.version)),
      keyOf.failure(id),
      keyOf.backoff(id),
    ];
    return keys.map((key) => ({ kind: "delete", key }));
  }
}
