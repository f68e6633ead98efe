import type { AppSpec, AppVersion } from "../model/app.ts";
import type { Deployment, Problem } from "../model/deployment.ts";
import { AppError } from "../model/error.ts";
import type { AppId, DeploymentId, InstanceId, Version } from "../model/ids.ts";
import type { Ipv4 } from "../model/ip.ts";
import type { Instance } from "../model/instance.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Random } from "../platform/ports/random.ts";
import type { StoreWrite } from "../platform/ports/store.ts";
import type {
  AppChange,
  AppService,
  AppView,
  ChangeOptions,
  DeploymentRef,
  InstanceView,
} from "../scheduling/app-service.ts";
import { assignServicePorts } from "../scheduling/assign-service-ports.ts";
import { planCancel, planChange, type PlannedChange } from "../scheduling/plan-deployment.ts";
import { planKill } from "../scheduling/plan-kill.ts";
import type { RolloutAction } from "../scheduling/rollout-pass.ts";
import type { AgentHub } from "./agent-hub.ts";
import { checkAppNetwork } from "./check-app-network.ts";
import { checkFixedAddresses } from "./check-fixed-addresses.ts";
import { type ClusterState, keyOf } from "./cluster-state.ts";
import type { Turns } from "../platform/loop/turns.ts";

/** Versions of an app kept for rollback, as Marathon's zk_max_versions. */
const VERSIONS_MAX = 50;

export interface ServerAppsDeps {
  readonly state: ClusterState;
  readonly hub: AgentHub;
  readonly clock: Clock;
  readonly random: Random;
  readonly isUp: (instance: Instance) => boolean;
  readonly problems: () => readonly Problem[];
  /** Stores what a plan decided about instances. */
  readonly applyRollout: (actions: readonly RolloutAction[]) => Promise<void>;
  /** Shared with the scheduler's passes: neither plans on what the other is about to store. */
  readonly turns: Turns;
  /** The rollout should look. */
  readonly wake: () => void;
}

/** `AppService` over the store: every change is planned, then stored in one commit, one change after another. */
export class ServerApps implements AppService {
  readonly #deps: ServerAppsDeps;

  constructor(deps: ServerAppsDeps) {
    this.#deps = deps;
  }

  list(): readonly AppView[] {
    const byApp = new Map<AppId, Instance[]>();
    for (const instance of this.#deps.state.instances.values()) {
      const list = byApp.get(instance.appId);
      if (list === undefined) byApp.set(instance.appId, [instance]);
      else list.push(instance);
    }
    const deployments = this.#deploymentsByApp();
    const problems = new Map(this.#deps.problems().map((problem) => [problem.appId, problem]));
    return [...this.#deps.state.apps.values()]
      .toSorted((a, b) => (a.spec.id < b.spec.id ? -1 : 1))
      .map((current) => this.#view(current, byApp.get(current.spec.id) ?? [], { deployments, problems }));
  }

  get(id: AppId): AppView | null {
    const current = this.#deps.state.apps.get(id);
    if (current === undefined) return null;
    const instances = [...this.#deps.state.instances.values()].filter((instance) => instance.appId === id);
    const problems = new Map(this.#deps.problems().map((problem) => [problem.appId, problem]));
    return this.#view(current, instances, { deployments: this.#deploymentsByApp(), problems });
  }

  instances(): readonly InstanceView[] {
    const { apps, instances } = this.#deps.state;
    return [...instances.values()]
      .toSorted((a, b) => byText(a.appId, b.appId) || a.createdAtMs - b.createdAtMs || byText(a.id, b.id))
      .flatMap((instance) => this.#instanceView(instance, apps.get(instance.appId)) ?? []);
  }

  async versions(id: AppId): Promise<readonly AppVersion[]> {
    return this.#deps.state.versionsOf(id);
  }

  deployments(): readonly Deployment[] {
    return [...this.#deps.state.deployments.values()].toSorted((a, b) => (a.version < b.version ? -1 : 1));
  }

  problems(): readonly Problem[] {
    return this.#deps.problems();
  }

  change(changes: readonly AppChange[], options: ChangeOptions): Promise<DeploymentRef> {
    return this.#deps.turns.take(() => this.#store(this.#plan(changes, options)));
  }

  cancelDeployment(id: DeploymentId, options: ChangeOptions): Promise<DeploymentRef | null> {
    return this.#deps.turns.take(async () => {
      const { state } = this.#deps;
      const deployment = state.deployments.get(id);
      if (deployment === undefined) throw new AppError("not-found", `DeploymentPlan ${id} does not exist`);
      if (!options.force)
        return this.#store(planCancel({ ...this.#present(), deployment, originals: this.#originals(deployment) }));
      await state.commit([{ kind: "delete", key: keyOf.deployment(id) }]);
      this.#deps.wake();
      return null;
    });
  }

  killInstances(
    ids: readonly InstanceId[],
    options: ChangeOptions & { readonly scale: boolean },
  ): Promise<{ readonly killed: readonly InstanceView[]; readonly deployment: DeploymentRef | null }> {
    return this.#deps.turns.take(async () => {
      const { state } = this.#deps;
      const { killed, actions, scaling } = planKill({
        ids,
        apps: state.apps,
        instances: state.instances,
        statuses: this.#deps.hub.statuses,
      });
      const views = killed.flatMap((instance) => this.#instanceView(instance, state.apps.get(instance.appId)) ?? []);
      const plan = options.scale && scaling.length > 0 ? this.#plan(scaling, options) : null;
      await this.#deps.applyRollout(actions);
      const deployment = plan === null ? null : await this.#store(plan);
      this.#deps.wake();
      return { killed: views, deployment };
    });
  }

  resetBackoff(id: AppId): Promise<boolean> {
    return this.#deps.turns.take(async () => {
      if (!this.#deps.state.backoffs.has(id)) return false;
      await this.#deps.state.commit([{ kind: "delete", key: keyOf.backoff(id) }]);
      this.#deps.wake();
      return true;
    });
  }

  #plan(changes: readonly AppChange[], options: ChangeOptions): PlannedChange {
    const claimed = new Map<Ipv4, AppId>();
    for (const change of changes) {
      if (change.kind !== "put") continue;
      checkAppNetwork(change.spec, this.#deps.state);
      checkFixedAddresses(change.spec, { state: this.#deps.state, claimed });
    }
    return planChange({ ...this.#present(), changes: this.#withServicePorts(changes), force: options.force });
  }

  #withServicePorts(changes: readonly AppChange[]): readonly AppChange[] {
    const { apps } = this.#deps.state;
    if (!changes.some((change) => change.kind === "put")) return changes;
    const portsOf = (of: Iterable<AppSpec>): number[] =>
      [...of].flatMap((spec) => spec.ports.map((port) => port.servicePort));
    const used = new Set(portsOf([...apps.values()].map((app) => app.spec)));
    return changes.map((change) => {
      if (change.kind !== "put") return change;
      const spec = assignServicePorts(change.spec, apps.get(change.spec.id)?.spec ?? null, used);
      for (const port of portsOf([spec])) used.add(port);
      return { ...change, spec };
    });
  }

  #originals(deployment: Deployment): ReadonlyMap<AppId, AppVersion> {
    const entries = Object.entries(deployment.original) as [AppId, Version | null][];
    const found = entries.flatMap(([id, version]) =>
      version === null ? [] : (this.#deps.state.versionOf(id, version) ?? []),
    );
    return new Map(found.map((app) => [app.spec.id, app]));
  }

  /** What a plan is made on. */
  #present(): Omit<Parameters<typeof planChange>[0], "changes" | "force"> {
    const { state, clock, random } = this.#deps;
    return {
      apps: state.apps,
      deployments: [...state.deployments.values()],
      nowMs: clock.nowMs(),
      uuid: random.uuid(),
      versionOf: (id, version) => state.versionOf(id, version),
    };
  }

  async #store(plan: PlannedChange): Promise<DeploymentRef> {
    const { state, wake } = this.#deps;
    const writes: StoreWrite[] = plan.cancelled.map((id) => ({ kind: "delete", key: keyOf.deployment(id) }));
    for (const app of plan.puts) {
      writes.push({ kind: "put", key: keyOf.app(app.spec.id), value: app });
      writes.push({ kind: "put", key: keyOf.version(app.spec.id, app.version), value: app }, ...this.#expired(app));
    }
    for (const id of plan.deletes) writes.push({ kind: "delete", key: keyOf.app(id) });
    const { deployment } = plan;
    // A plan without steps changes nothing and is over at once, yet has an id, since clients wait for one.
    if (deployment.steps.length > 0)
      writes.push({ kind: "put", key: keyOf.deployment(deployment.id), value: deployment });
    await state.commit(writes);
    wake();
    return { version: deployment.version, deploymentId: deployment.id };
  }

  /** Deletes the oldest versions beyond the limit, but for those that instances or deployments still need. */
  #expired(app: AppVersion): readonly StoreWrite[] {
    const { state } = this.#deps;
    const kept = state.versionsOf(app.spec.id);
    if (kept.length < VERSIONS_MAX) return [];
    const ofApp = [...state.instances.values()].filter((each) => each.appId === app.spec.id);
    const originals = [...state.deployments.values()].map((each) => each.original[app.spec.id] ?? null);
    const needed = new Set([...ofApp.map((each) => each.version), ...originals, app.lastConfigChangeAt]);
    return kept
      .slice(VERSIONS_MAX - 1)
      .filter((each) => !needed.has(each.version))
      .map((each) => ({ kind: "delete", key: keyOf.version(app.spec.id, each.version) }));
  }

  #deploymentsByApp(): ReadonlyMap<AppId, readonly DeploymentId[]> {
    const byApp = new Map<AppId, DeploymentId[]>();
    for (const deployment of this.#deps.state.deployments.values()) {
      for (const id of deployment.affectedApps) byApp.set(id, [...(byApp.get(id) ?? []), deployment.id]);
    }
    return byApp;
  }

  #view(
    current: AppVersion,
    instances: readonly Instance[],
    by: { deployments: ReadonlyMap<AppId, readonly DeploymentId[]>; problems: ReadonlyMap<AppId, Problem> },
  ): AppView {
    const { id } = current.spec;
    return {
      current,
      instances: instances
        .toSorted((a, b) => a.createdAtMs - b.createdAtMs || (a.id < b.id ? -1 : 1))
        .flatMap((instance) => this.#instanceView(instance, current) ?? []),
      deployments: by.deployments.get(id) ?? [],
      lastFailure: this.#deps.state.failures.get(id) ?? null,
      problem: by.problems.get(id) ?? null,
    };
  }

  /** Null when the definition that it runs is no longer kept: there is nothing to show then. */
  #instanceView(instance: Instance, app: AppVersion | undefined): InstanceView | null {
    const spec = this.#deps.state.specOf(instance);
    if (spec === null) return null;
    const host = this.#deps.state.hosts.get(instance.hostId);
    return {
      instance,
      hostName: host?.name ?? "?",
      hostAddress: host?.address ?? "",
      hostUp: this.#deps.isUp(instance),
      status: this.#deps.hub.statuses.get(instance.id) ?? null,
      spec,
      current: instance.version === app?.lastConfigChangeAt,
    };
  }
}

function byText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
