import type { AppSpec, AppVersion } from "../model/app.ts";
import type { Deployment, Problem } from "../model/deployment.ts";
import { AppError } from "../model/error.ts";
import { type AppId, type DeploymentId, formatVersion, type InstanceId, type Version } from "../model/ids.ts";
import type { Instance } from "../model/instance.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Random } from "../platform/ports/random.ts";
import type { StoreWrite } from "../platform/ports/store.ts";
import type { AppChange, AppService, AppView, ChangeOptions, DeploymentRef, InstanceView } from "../scheduling/app-service.ts";
import { assignServicePorts } from "../scheduling/assign-service-ports.ts";
import { planCancel, planChange, type PlannedChange } from "../scheduling/plan-deployment.ts";
import type { AgentHub } from "./agent-hub.ts";
import { type ClusterState, keyOf } from "./cluster-state.ts";

/** Versions of an app kept for rollback, as Marathon's zk_max_versions. */
const VERSIONS_MAX = 50;

export interface ServerAppsDeps {
  readonly state: ClusterState;
  readonly hub: AgentHub;
  readonly clock: Clock;
  readonly random: Random;
  readonly isUp: (instance: Instance) => boolean;
  readonly problems: () => readonly Problem[];
  /** The rollout should look. */
  readonly wake: () => void;
}

/** `AppService` over the store: every change is planned, then stored in one commit, one change after another. */
export class ServerApps implements AppService {
  readonly #deps: ServerAppsDeps;
  /** Changes queue here: each is planned on the state that the one before it left. */
  #turn: Promise<unknown> = Promise.resolve();

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

  versions(id: AppId): Promise<readonly AppVersion[]> {
    return this.#deps.state.versions(id);
  }

  deployments(): readonly Deployment[] {
    return [...this.#deps.state.deployments.values()].toSorted((a, b) => (a.version < b.version ? -1 : 1));
  }

  problems(): readonly Problem[] {
    return this.#deps.problems();
  }

  change(changes: readonly AppChange[], options: ChangeOptions): Promise<DeploymentRef> {
    return this.#inTurn(async () => {
      const { state, clock, random } = this.#deps;
      const planned = planChange({
        apps: state.apps,
        deployments: [...state.deployments.values()],
        changes: await this.#resolve(changes),
        force: options.force,
        nowMs: clock.nowMs(),
        uuid: random.uuid(),
      });
      return this.#store(planned);
    });
  }

  cancelDeployment(id: DeploymentId, options: ChangeOptions): Promise<DeploymentRef | null> {
    return this.#inTurn(async () => {
      const { state, clock, random } = this.#deps;
      const deployment = state.deployments.get(id);
      if (deployment === undefined) throw new AppError("not-found", `DeploymentPlan ${id} does not exist`);
      if (options.force) {
        await state.commit([{ kind: "delete", key: keyOf.deployment(id) }]);
        return null;
      }
      const originals = new Map<AppId, AppVersion>();
      for (const [appId, version] of Object.entries(deployment.original) as [AppId, Version | null][]) {
        const found = version === null ? null : await this.#version(appId, version);
        if (found !== null) originals.set(appId, found);
      }
      const planned = planCancel({
        apps: state.apps,
        deployments: [...state.deployments.values()],
        deployment,
        originals,
        nowMs: clock.nowMs(),
        uuid: random.uuid(),
      });
      return this.#store(planned);
    });
  }

  killInstances(
    ids: readonly InstanceId[],
    options: ChangeOptions & { readonly scale: boolean },
  ): Promise<{ readonly killed: readonly InstanceView[]; readonly deployment: DeploymentRef | null }> {
    return this.#inTurn(async () => {
      const { state, clock, random } = this.#deps;
      const instances = [...new Set(ids)].flatMap((id) => state.instances.get(id) ?? []);
      const running = instances.filter((instance) => instance.goal === "running");
      const killed = running.map((instance) => this.#instanceView(instance, state.apps.get(instance.appId)));
      let deployment: DeploymentRef | null = null;
      if (options.scale && running.length > 0) {
        const count = new Map<AppId, number>();
        for (const instance of running) count.set(instance.appId, (count.get(instance.appId) ?? 0) + 1);
        const changes = [...count].map(([id, less]): AppChange => {
          const wanted = state.apps.get(id)?.spec.instances ?? 0;
          return { kind: "scale", id, instances: Math.max(0, wanted - less) };
        });
        const { apps, deployments } = state;
        const input = { apps, deployments: [...deployments.values()], force: options.force };
        deployment = await this.#store(planChange({ ...input, changes, nowMs: clock.nowMs(), uuid: random.uuid() }));
      }
      await state.commit(
        running.map((instance) => ({
          kind: "put",
          key: keyOf.instance(instance.id),
          value: { ...instance, goal: "stopped" } satisfies Instance,
        })),
      );
      this.#deps.wake();
      return { killed, deployment };
    });
  }

  resetBackoff(id: AppId): Promise<boolean> {
    return this.#inTurn(async () => {
      if (!this.#deps.state.backoffs.has(id)) return false;
      await this.#deps.state.commit([{ kind: "delete", key: keyOf.backoff(id) }]);
      this.#deps.wake();
      return true;
    });
  }

  /** A failed change must not keep the next one from running. */
  #inTurn<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(task);
    this.#turn = result.catch(() => undefined);
    return result;
  }

  /** Fills service ports and turns a rollback into the put that it is. */
  async #resolve(changes: readonly AppChange[]): Promise<readonly AppChange[]> {
    const { state } = this.#deps;
    const resolved: AppChange[] = [];
    const added: AppSpec[] = [];
    for (const change of changes) {
      if (change.kind === "rollback") {
        if (!state.apps.has(change.id)) throw new AppError("not-found", `App '${change.id}' does not exist`);
        const found = await this.#version(change.id, change.version);
        if (found === null) throw new AppError("not-found", `App '${change.id}' does not exist in version ${change.version}`);
        resolved.push({ kind: "put", spec: found.spec });
      } else if (change.kind === "put") {
        const others = [...state.apps.values()].map((app) => app.spec).filter((spec) => spec.id !== change.spec.id);
        const used = new Set([...others, ...added].flatMap((spec) => spec.ports.map((port) => port.servicePort)));
        const spec = assignServicePorts(change.spec, state.apps.get(change.spec.id)?.spec ?? null, used);
        added.push(spec);
        resolved.push({ ...change, spec });
      } else resolved.push(change);
    }
    return resolved;
  }

  async #version(id: AppId, version: Version): Promise<AppVersion | null> {
    return ((await this.#deps.state.store.get(keyOf.version(id, version)))?.value as AppVersion | undefined) ?? null;
  }

  async #store(planned: PlannedChange): Promise<DeploymentRef> {
    const { state, wake } = this.#deps;
    const writes: StoreWrite[] = planned.cancelled.map((id) => ({ kind: "delete", key: keyOf.deployment(id) }));
    for (const app of planned.puts) {
      writes.push({ kind: "put", key: keyOf.app(app.spec.id), value: app });
      writes.push({ kind: "put", key: keyOf.version(app.spec.id, app.version), value: app });
      const configChanged = state.apps.get(app.spec.id)?.lastConfigChangeAt !== app.lastConfigChangeAt;
      if (configChanged && state.backoffs.has(app.spec.id)) writes.push({ kind: "delete", key: keyOf.backoff(app.spec.id) });
      writes.push(...(await this.#expired(app)));
    }
    for (const id of planned.deletes) writes.push({ kind: "delete", key: keyOf.app(id) });
    const { deployment } = planned;
    // A plan without steps changes nothing and is over at once, yet has an id, since clients wait for one.
    if (deployment.steps.length > 0) writes.push({ kind: "put", key: keyOf.deployment(deployment.id), value: deployment });
    await state.commit(writes);
    wake();
    return { version: deployment.version, deploymentId: deployment.id };
  }

  /** Deletes the oldest versions beyond the limit, but for those that instances still run. */
  async #expired(app: AppVersion): Promise<readonly StoreWrite[]> {
    const { state } = this.#deps;
    const versions = await state.versions(app.spec.id);
    if (versions.length < VERSIONS_MAX) return [];
    const used = new Set([...state.instances.values()].filter((each) => each.appId === app.spec.id).map((each) => each.version));
    return versions
      .slice(VERSIONS_MAX - 1)
      .filter((each) => !used.has(each.version) && each.version !== app.lastConfigChangeAt)
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
        .map((instance) => this.#instanceView(instance, current)),
      deployments: by.deployments.get(id) ?? [],
      lastFailure: this.#deps.state.failures.get(id) ?? null,
      problem: by.problems.get(id) ?? null,
    };
  }

  #instanceView(instance: Instance, app: AppVersion | undefined): InstanceView {
    const host = this.#deps.state.hosts.get(instance.hostId);
    return {
      instance,
      hostName: host?.name ?? "?",
      hostAddress: host?.address ?? "",
      hostUp: this.#deps.isUp(instance),
      status: this.#deps.hub.statuses.get(instance.id) ?? null,
      current: instance.version === (app?.lastConfigChangeAt ?? formatVersion(0)),
    };
  }
}
