/** A cluster in a few lines for this folder's tests: hosts, definitions, and what a server does with a plan's actions. */
import { DEFAULT_BACKOFF, DEFAULT_CHECK_TIMING, DEFAULT_STOP_GRACE_MS, DEFAULT_UPGRADE } from "../model/app.ts";
import type { AppSpec, AppVersion } from "../model/app.ts";
import type { Deployment, LastFailure } from "../model/deployment.ts";
import type { AppId, DeploymentId, HostId, InstanceId, Version } from "../model/ids.ts";
import { formatVersion, parseAppId } from "../model/ids.ts";
import type { Instance, InstanceHealth, InstanceStatus } from "../model/instance.ts";
import { parseIpv4 } from "../model/ip.ts";
import type { AppChange } from "./app-service.ts";
import type { BackoffState } from "./backoff.ts";
import type { HostLoad } from "./host-load.ts";
import { needsOf } from "./host-load.ts";
import { planCancel, planChange } from "./plan-deployment.ts";
import type { PlannedChange } from "./plan-deployment.ts";
import { planRollout } from "./plan-rollout.ts";
import type { RolloutInput, RolloutPlan } from "./plan-rollout.ts";
import type { RolloutAction } from "./rollout-pass.ts";

export const HTTP_CHECK = {
  ...DEFAULT_CHECK_TIMING,
  kind: "http",
  path: "/",
  portIndex: 0,
  port: null,
  ignoreHttp1xx: false,
} as const;

export function sampleSpec(id: string, change: Partial<Omit<AppSpec, "id">> = {}): AppSpec {
  return {
    id: parseAppId(id),
    instances: 1,
    cpus: 0.1,
    memoryMiB: 32,
    diskMiB: 0,
    image: "app:1",
    forcePull: false,
    privileged: false,
    argv: null,
    shell: false,
    user: null,
    tty: false,
    network: "apollo",
    ports: [],
    volumes: [],
    env: {},
    labels: {},
    healthChecks: [],
    upgrade: DEFAULT_UPGRADE,
    backoff: DEFAULT_BACKOFF,
    constraints: [],
    dependencies: [],
    killSelection: "YOUNGEST_FIRST",
    stopGraceMs: DEFAULT_STOP_GRACE_MS,
    ...change,
  };
}

export function sampleHost(name: string, change: Partial<Omit<HostLoad, "id" | "name">> = {}): HostLoad {
  return {
    id: name as HostId,
    name,
    presence: { phase: "up" },
    cordoned: false,
    labels: {},
    resources: { cpus: 4, memoryMiB: 4096, diskMiB: 100_000 },
    used: { cpus: 0, memoryMiB: 0, diskMiB: 0 },
    addresses: { total: 253, used: 0 },
    instances: 0,
    ...change,
  };
}

export const SAMPLE_START_MS = Date.UTC(2026, 0, 1);

/** Applies plans at once and reports what a test says; the time moves only when told. */
export class SampleCluster {
  nowMs = SAMPLE_START_MS;
  readonly apps = new Map<AppId, AppVersion>();
  readonly versions = new Map<string, AppVersion>();
  readonly deployments = new Map<DeploymentId, Deployment>();
  readonly instances = new Map<InstanceId, Instance>();
  readonly statuses = new Map<InstanceId, InstanceStatus>();
  readonly backoffs = new Map<AppId, BackoffState>();
  readonly failures: LastFailure[] = [];
  hosts: HostLoad[];
  /** Highest catalog revision that all hosts have applied. */
  appliedRevision = Number.POSITIVE_INFINITY;
  #uuids = 0;
  #revision = 0;

  constructor(hosts: readonly HostLoad[] | number = 3) {
    this.hosts =
      typeof hosts === "number" ? Array.from({ length: hosts }, (_, at) => sampleHost(`h${at + 1}`)) : [...hosts];
  }

  change(changes: readonly AppChange[], force = false): PlannedChange {
    const planned = planChange({ ...this.#changeInput(), changes, force });
    this.#takeOver(planned);
    return planned;
  }

  put(spec: AppSpec, force = false): PlannedChange {
    return this.change([{ kind: "put", spec }], force);
  }

  cancel(id: DeploymentId): PlannedChange {
    const deployment = this.deployments.get(id);
    if (deployment === undefined) throw new Error(`Cannot cancel ${id}: there is none`);
    const originals = new Map<AppId, AppVersion>();
    for (const [app, version] of Object.entries(deployment.original)) {
      const found = this.versions.get(`${app}@${version}`);
      if (found !== undefined) originals.set(app as AppId, found);
    }
    const planned = planCancel({ ...this.#changeInput(), deployment, originals });
    this.#takeOver(planned);
    return planned;
  }

  input(): RolloutInput {
    return {
      apps: this.apps,
      deployments: this.deployments.values(),
      instances: this.instances,
      statuses: this.statuses,
      hosts: this.hosts.map((host) => this.#loaded(host)),
      backoffs: this.backoffs,
      nowMs: this.nowMs,
      drainedBy: (revision) => revision <= this.appliedRevision,
      versionOf: (id, version) => this.versions.get(`${id}@${version}`) ?? null,
      newUuid: () => String((this.#uuids += 1)).padStart(4, "0"),
    };
  }

  /** One pass, applied. */
  pass(): RolloutPlan {
    const plan = planRollout(this.input());
    for (const action of plan.actions) this.#apply(action);
    return plan;
  }

  /** Everything that was started runs and is healthy; everything that was told to stop is gone. */
  obey(): void {
    for (const { id, goal } of this.instances.values()) {
      if (goal === "stopped") this.statuses.set(id, { phase: "gone" });
      else if (this.statuses.get(id)?.phase !== "running") this.run(id);
    }
  }

  /** Passes and hosts' work until nothing is left to do. Calls `onPass` after each. */
  settle(onPass: (plan: RolloutPlan) => void = () => {}): void {
    for (let passes = 0; passes < 500; passes += 1) {
      const plan = this.pass();
      onPass(plan);
      const waiting = [...this.instances.values()].some(
        ({ id, goal }) => goal === "stopped" || this.statuses.get(id)?.phase !== "running",
      );
      if (plan.actions.length === 0 && !waiting) return;
      this.obey();
    }
    throw new Error("Cannot settle: there is always something left to do");
  }

  run(id: InstanceId, health: InstanceHealth = "healthy", condemned = false): void {
    this.statuses.set(id, {
      phase: "running",
      containerId: id,
      address: parseIpv4("10.2.1.2"),
      startedAtMs: this.nowMs,
      health,
      checks: [],
      condemned,
    });
  }

  fail(id: InstanceId, reason = "it failed"): void {
    this.statuses.set(id, { phase: "failed", reason, exitCode: 1, atMs: this.nowMs });
  }

  setHost(name: string, change: Partial<HostLoad>): void {
    this.hosts = this.hosts.map((host) => (host.name === name ? { ...host, ...change } : host));
  }

  /** Instances meant to run, oldest first. */
  active(id = "/web"): readonly Instance[] {
    return [...this.instances.values()].filter(({ appId, goal }) => appId === id && goal === "running");
  }

  /** Number of active instances on each host: "2/1/1". */
  spread(id = "/web"): string {
    return this.hosts.map((host) => this.active(id).filter(({ hostId }) => hostId === host.id).length).join("/");
  }

  #apply(action: RolloutAction): void {
    switch (action.kind) {
      case "create-instance":
        this.instances.set(action.instance.id, action.instance);
        return;
      case "drain-instance":
        this.#revision += 1;
        return this.#setGoal(action.id, {
          goal: "draining",
          drainRevision: this.#revision,
          drainSinceMs: this.nowMs,
        });
      case "stop-instance":
        return this.#setGoal(action.id, { goal: "stopped" });
      case "forget-instance":
        this.instances.delete(action.id);
        this.statuses.delete(action.id);
        return;
      case "record-failure":
        this.failures.push(action.failure);
        return;
      case "set-backoff":
        this.backoffs.set(action.state.appId, action.state);
        return;
      case "clear-backoff":
        this.backoffs.delete(action.appId);
        return;
      case "advance-deployment": {
        const deployment = this.deployments.get(action.id);
        if (deployment !== undefined) this.deployments.set(action.id, { ...deployment, currentStep: action.step });
        return;
      }
      case "finish-deployment":
        this.deployments.delete(action.id);
    }
  }

  #setGoal(id: InstanceId, change: Partial<Instance>): void {
    const instance = this.instances.get(id);
    if (instance !== undefined) this.instances.set(id, { ...instance, ...change });
  }

  #changeInput() {
    return {
      apps: this.apps,
      deployments: [...this.deployments.values()],
      nowMs: this.nowMs,
      uuid: `d${(this.#uuids += 1)}`,
      versionOf: (id: AppId, version: Version) => this.versions.get(`${id}@${version}`) ?? null,
    };
  }

  #takeOver({ puts, deletes, cancelled, deployment }: PlannedChange): void {
    for (const app of puts) {
      this.apps.set(app.spec.id, app);
      this.versions.set(`${app.spec.id}@${app.version}`, app);
    }
    for (const id of deletes) this.apps.delete(id);
    for (const id of cancelled) this.deployments.delete(id);
    this.deployments.set(deployment.id, deployment);
  }

  #loaded(host: HostLoad): HostLoad {
    const used = { ...host.used };
    let addresses = host.addresses.used;
    let count = host.instances;
    for (const instance of this.instances.values()) {
      const app = this.versions.get(`${instance.appId}@${instance.version}`);
      if (instance.hostId !== host.id || app === undefined) continue;
      const needs = needsOf(app.spec);
      used.cpus += needs.cpus;
      used.memoryMiB += needs.memoryMiB;
      used.diskMiB += needs.diskMiB;
      addresses += needs.addresses;
      count += 1;
    }
    return { ...host, used, addresses: { ...host.addresses, used: addresses }, instances: count };
  }
}

/** A version for tests that need no cluster. */
export function sampleVersion(spec: AppSpec, atMs = SAMPLE_START_MS): AppVersion {
  const version = formatVersion(atMs);
  return { version, spec, lastScalingAt: version, lastConfigChangeAt: version };
}
