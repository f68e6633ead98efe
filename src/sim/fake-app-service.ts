/**
 * An AppService in memory for tests of the APIs: changes take effect at once, instances run as soon as they are wanted,
 * spread over three hosts. It is as strict as the real one about what is missing, taken or locked. With `hold` set,
 * deployments stay under way until `finish()`, so that locks can be tried.
 */
import type { AppSpec, AppVersion } from "../model/app.ts";
import type { Deployment, DeploymentAction, LastFailure, Problem } from "../model/deployment.ts";
import { AppError } from "../model/error.ts";
import {
  formatVersion,
  instanceIdFor,
  type AppId,
  type DeploymentId,
  type HostId,
  type InstanceId,
} from "../model/ids.ts";
import { parseIpv4 } from "../model/ip.ts";
import type {
  AppChange,
  AppService,
  AppView,
  ChangeOptions,
  DeploymentRef,
  InstanceView,
} from "../scheduling/app-service.ts";

interface FakeApp {
  versions: readonly AppVersion[];
  instances: readonly InstanceView[];
}

const HOSTS = ["h1", "h2", "h3"];

export class FakeAppService implements AppService {
  readonly #apps = new Map<AppId, FakeApp>();
  #deployments: readonly Deployment[] = [];
  #uuids = 0;
  #nowMs: number;
  /** Keeps deployments under way. */
  hold = false;
  readonly failures = new Map<AppId, LastFailure>();
  readonly waiting = new Map<AppId, Problem>();

  constructor(nowMs: number) {
    this.#nowMs = nowMs;
  }

  list(): readonly AppView[] {
    return [...this.#apps.keys()].toSorted().flatMap((id) => this.get(id) ?? []);
  }

  get(id: AppId): AppView | null {
    const app = this.#apps.get(id);
    const [current] = app?.versions ?? [];
    if (app === undefined || current === undefined) return null;
    const deployments = this.#deployments.filter((one) => one.affectedApps.includes(id)).map((one) => one.id);
    const lastFailure = this.failures.get(id) ?? null;
    return { current, instances: app.instances, deployments, lastFailure, problem: this.waiting.get(id) ?? null };
  }

  instances(): readonly InstanceView[] {
    return this.list().flatMap((view) => view.instances);
  }

  async versions(id: AppId): Promise<readonly AppVersion[]> {
    return this.#apps.get(id)?.versions ?? [];
  }

  deployments(): readonly Deployment[] {
    return this.#deployments;
  }

  async change(changes: readonly AppChange[], options: ChangeOptions): Promise<DeploymentRef> {
    const ids = changes.map((change) => (change.kind === "put" ? change.spec.id : change.id));
    for (const change of changes) this.#check(change);
    this.#checkLocks(ids, options);
    const original = Object.fromEntries(ids.map((id) => [id, this.get(id)?.current.version ?? null]));
    const actions = changes.map((change) => this.#apply(change));
    return this.#deploy(ids, actions, original);
  }

  async cancelDeployment(id: DeploymentId, options: ChangeOptions): Promise<DeploymentRef | null> {
    const found = this.#deployments.find((one) => one.id === id);
    if (found === undefined) throw new AppError("not-found", `DeploymentPlan ${id} does not exist`);
    this.#deployments = this.#deployments.filter((one) => one !== found);
    if (options.force) return null;
    const changes = found.affectedApps.map((app): AppChange => {
      const version = found.original[app] ?? null;
      return version === null ? { kind: "destroy", id: app } : { kind: "rollback", id: app, version };
    });
    return await this.change(changes, { force: true });
  }

  async killInstances(
    ids: readonly InstanceId[],
    options: ChangeOptions & { readonly scale: boolean },
  ): Promise<{ readonly killed: readonly InstanceView[]; readonly deployment: DeploymentRef | null }> {
    const killed: InstanceView[] = [];
    const scaled: AppChange[] = [];
    for (const [id, app] of this.#apps) {
      const gone = app.instances.filter(({ instance }) => ids.includes(instance.id));
      if (gone.length === 0) continue;
      killed.push(...gone);
      app.instances = app.instances.filter((one) => !gone.includes(one));
      const instances = (app.versions[0]?.spec.instances ?? 0) - gone.length;
      if (options.scale) scaled.push({ kind: "scale", id, instances });
      else this.#fill(id, app);
    }
    return { killed, deployment: scaled.length === 0 ? null : await this.change(scaled, options) };
  }

  async resetBackoff(id: AppId): Promise<boolean> {
    return this.waiting.delete(id);
  }

  problems(): readonly Problem[] {
    return [...this.waiting.values()].toSorted((a, b) => (a.appId < b.appId ? -1 : 1));
  }

  finish(): void {
    this.#deployments = [];
  }

  #check(change: AppChange): void {
    const id = change.kind === "put" ? change.spec.id : change.id;
    const app = this.#apps.get(id);
    if (change.kind === "put") {
      if (change.ifAbsent === true && app !== undefined) {
        throw new AppError("conflict", `An app with id [${id}] already exists.`);
      }
      return;
    }
    if (app === undefined) throw new AppError("not-found", `App '${id}' does not exist`);
    if (change.kind === "rollback" && !app.versions.some((one) => one.version === change.version)) {
      throw new AppError("not-found", `App '${id}' does not exist in version ${change.version}`);
    }
  }

  #checkLocks(ids: readonly AppId[], { force }: ChangeOptions): void {
    const locks = this.#deployments.filter((one) => one.affectedApps.some((id) => ids.includes(id)));
    if (locks.length > 0 && !force) {
      throw new AppError("conflict", `Cannot change ${ids.join(", ")}: a deployment is under way`, {
        hint: "Wait for it, or pass --force",
        details: { deployments: locks.map((one) => one.id) },
      });
    }
    this.#deployments = this.#deployments.filter((one) => !locks.includes(one));
  }

  #apply(change: AppChange): DeploymentAction {
    switch (change.kind) {
      case "put":
        return this.#put(change.spec);
      case "scale":
        return this.#put({ ...this.#specOf(change.id), instances: change.instances });
      case "restart":
        this.#put(this.#specOf(change.id), true);
        return { action: "RestartApplication", app: change.id };
      case "rollback": {
        const found = this.#apps.get(change.id)?.versions.find((one) => one.version === change.version);
        return this.#put(found?.spec ?? this.#specOf(change.id));
      }
      case "destroy":
        this.#apps.delete(change.id);
        return { action: "StopApplication", app: change.id };
    }
  }

  #specOf(id: AppId): AppSpec {
    const spec = this.#apps.get(id)?.versions[0]?.spec;
    if (spec === undefined) throw new AppError("not-found", `App '${id}' does not exist`);
    return spec;
  }

  #put(spec: AppSpec, restart = false): DeploymentAction {
    const before = this.#apps.get(spec.id);
    const version = formatVersion((this.#nowMs += 1000));
    const [last] = before?.versions ?? [];
    const sameConfig =
      last !== undefined &&
      JSON.stringify({ ...spec, instances: 0 }) === JSON.stringify({ ...last.spec, instances: 0 });
    const scaling = sameConfig && !restart;
    const current: AppVersion = {
      version,
      spec,
      lastScalingAt: last !== undefined && restart ? last.lastScalingAt : version,
      lastConfigChangeAt: scaling ? last.lastConfigChangeAt : version,
    };
    const app: FakeApp = {
      versions: [current, ...(before?.versions ?? [])],
      instances: scaling ? (before?.instances ?? []).slice(0, spec.instances) : [],
    };
    this.#apps.set(spec.id, app);
    this.#fill(spec.id, app);
    if (last === undefined) return { action: "StartApplication", app: spec.id };
    return { action: scaling ? "ScaleApplication" : "RestartApplication", app: spec.id };
  }

  #fill(id: AppId, app: FakeApp): void {
    const [current] = app.versions;
    if (current === undefined) return;
    const instances = [...app.instances];
    while (instances.length < current.spec.instances) instances.push(this.#start(id, current, instances));
    app.instances = instances;
  }

  #start(appId: AppId, current: AppVersion, others: readonly InstanceView[]): InstanceView {
    const host = leastUsed(others);
    const checked = current.spec.healthChecks.length > 0;
    const check = {
      alive: true,
      consecutiveFailures: 0,
      firstSuccessMs: this.#nowMs,
      lastSuccessMs: this.#nowMs,
      lastFailureMs: null,
      lastFailureCause: null,
    };
    return {
      instance: {
        id: instanceIdFor(appId, this.#uuid()),
        appId,
        version: current.lastConfigChangeAt,
        hostId: `host-${host + 1}` as HostId,
        createdAtMs: this.#nowMs,
        goal: "running",
      },
      hostName: HOSTS[host] ?? "h1",
      hostAddress: `192.0.2.${host + 1}`,
      hostUp: true,
      spec: current.spec,
      status: {
        phase: "running",
        containerId: `c${this.#uuids}`,
        address: parseIpv4(`10.2.${host + 1}.${1 + this.#uuids}`),
        startedAtMs: this.#nowMs,
        health: checked ? "healthy" : "none",
        checks: checked ? current.spec.healthChecks.map(() => check) : [],
        condemned: false,
      },
      current: true,
    };
  }

  #deploy(
    ids: readonly AppId[],
    actions: readonly DeploymentAction[],
    original: Deployment["original"],
  ): DeploymentRef {
    const id = this.#uuid() as DeploymentId;
    const version = formatVersion(this.#nowMs);
    const deployment: Deployment = {
      id,
      version,
      affectedApps: ids,
      steps: [actions],
      currentStep: 0,
      startedAtMs: this.#nowMs,
      original,
    };
    if (this.hold) this.#deployments = [...this.#deployments, deployment];
    return { version, deploymentId: id };
  }

  #uuid(): string {
    return `00000000-0000-4000-8000-${String(++this.#uuids).padStart(12, "0")}`;
  }
}

/** Index of the host with the fewest of these, the first of equals. */
function leastUsed(instances: readonly InstanceView[]): number {
  const counts = HOSTS.map((name) => instances.filter((one) => one.hostName === name).length);
  return counts.indexOf(Math.min(...counts));
}
