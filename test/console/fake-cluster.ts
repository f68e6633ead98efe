import type {
  AppJson,
  DeploymentJson,
  FeedMessage,
  FeedState,
  HostJson,
  InstanceJson,
  ServiceJson,
  VersionJson,
  WhyJson,
} from "../../src/api/native/shapes.ts";

export interface FakeClusterSize {
  readonly hosts: number;
  /** Each app with the number of its instances. */
  readonly apps: readonly { readonly id: string; readonly instances: number; readonly checked?: boolean }[];
}

type Change = { readonly put: Partial<FeedState>; readonly drop: Partial<Record<keyof FeedState, readonly string[]>> };

/** Point zero of the fake's time, so that screenshots are alike. */
const EPOCH_MS = Date.UTC(2026, 2, 4, 9, 0, 0);
const CPUS = 0.1;
const MEMORY_MIB = 64;

/**
 * A cluster that exists in memory: places instances on the host with the fewest, starts them step by step, and tells
 * listeners of every change as the server's feed does. It does nothing by itself: `step()` is one moment of progress.
 */
export class FakeCluster {
  readonly hosts = new Map<string, HostJson>();
  readonly apps = new Map<string, AppJson>();
  readonly instances = new Map<string, InstanceJson>();
  readonly deployments = new Map<string, DeploymentJson>();
  readonly versions = new Map<string, VersionJson[]>();
  readonly #listeners = new Set<(message: FeedMessage) => void>();
  readonly #hostsByNumber: readonly string[];
  #sequence = 0;
  #serial = 0;
  #nowMs: () => number;

  constructor(size: FakeClusterSize, nowMs: () => number = () => Date.now()) {
    this.#nowMs = nowMs;
    for (let number = 1; number <= size.hosts; number++) {
      const host = makeHost(number);
      this.hosts.set(host.name, host);
    }
    this.#hostsByNumber = [...this.hosts.keys()];
    for (const app of size.apps) this.#create(app.id, app.instances, app.checked ?? true);
    while (this.step()) {
      // Until everything has started.
    }
    for (const [id, instance] of this.instances) {
      this.instances.set(id, { ...instance, startedAtMs: EPOCH_MS });
    }
  }

  snapshot(): FeedMessage {
    return {
      type: "snapshot",
      sequence: this.#sequence,
      state: {
        hosts: this.#hostList(),
        apps: [...this.apps.values()],
        instances: [...this.instances.values()],
        services: this.services(),
        deployments: [...this.deployments.values()],
      },
    };
  }

  subscribe(listener: (message: FeedMessage) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Numbers the next message as if one had been lost. */
  skipSequence(): void {
    this.#sequence += 1;
  }

  scale(id: string, instances: number): string {
    const app = this.apps.get(id);
    if (app === undefined) throw new Error(`No app ${id}`);
    const deploymentId = `deployment-${++this.#serial}`;
    const deployment: DeploymentJson = {
      id: deploymentId,
      version: app.version,
      apps: [id],
      step: 1,
      steps: 1,
      actions: [{ action: "ScaleApplication", app: id }],
      startedAtMs: this.#nowMs(),
    };
    this.deployments.set(deploymentId, deployment);
    this.apps.set(id, { ...app, instances, status: "deploying", deployments: [deploymentId] });
    const own = this.#instancesOf(id).filter((instance) => instance.goal === "running");
    for (let count = own.length; count < instances; count++) this.#place(id);
    for (const surplus of own.slice(instances)) this.update({ ...surplus, goal: "draining" }, true);
    this.#settle(id);
    return deploymentId;
  }

  destroy(id: string): void {
    this.scale(id, 0);
    while (this.step()) {
      // Until all have stopped.
    }
    this.apps.delete(id);
    this.#send({ put: { services: this.services() }, drop: { apps: [id], services: [serviceOf(id)] } });
  }

  /** Moves every instance one step on, and sends one change; false when nothing is left to do. */
  step(): boolean {
    const touched = new Set<string>();
    const gone: string[] = [];
    for (const instance of this.instances.values()) {
      const next = this.#next(instance);
      if (next === instance) continue;
      touched.add(instance.app);
      if (next === null) {
        this.instances.delete(instance.id);
        gone.push(instance.id);
      } else this.instances.set(next.id, next);
    }
    for (const app of touched) this.#settle(app, gone);
    return touched.size > 0;
  }

  /** Puts an instance in a given state. */
  update(instance: InstanceJson, quiet = false): void {
    this.instances.set(instance.id, instance);
    if (!quiet) this.#settle(instance.app);
  }

  updateHost(host: HostJson): void {
    this.hosts.set(host.name, host);
    this.#send({ put: { hosts: this.#hostList().filter((item) => item.name === host.name) }, drop: {} });
  }

  updateApp(app: AppJson): void {
    this.apps.set(app.id, app);
    this.#send({ put: { apps: [app] }, drop: {} });
  }

  /** An empty change, as the server sends one when nothing happens. */
  beat(): void {
    this.#send({ put: {}, drop: {} });
  }

  services(): ServiceJson[] {
    return [...this.apps.values()].map((app) => ({
      name: serviceOf(app.id),
      tags: ["v1"],
      routes: [`${serviceOf(app.id)}.example.com`],
      endpoints: this.#instancesOf(app.id)
        .filter((instance) => instance.phase === "running" && instance.goal === "running")
        .map((instance) => ({
          id: instance.id,
          address: instance.address ?? "",
          port: instance.ports[0] ?? 0,
          protocol: "tcp",
          tags: ["v1"],
          host: instance.host,
          container: Bun.hash(instance.id).toString(16).padStart(12, "0").slice(0, 12),
          instance: instance.id,
          health: instance.health === "healthy" || instance.health === "none" ? "passing" : "critical",
        })),
    }));
  }

  why(id: string): WhyJson {
    const app = this.apps.get(id);
    if (app === undefined) throw new Error(`No app ${id}`);
    return {
      app: id,
      wanted: app.instances,
      running: app.running,
      summary: app.problem ?? "Running as declared",
      code: app.problem === null ? null : "no-room",
      hosts:
        app.problem === null ? [] : this.#hostsByNumber.map((host) => ({ host, reason: "too little memory free" })),
      retryAtMs: null,
      lastFailure: null,
    };
  }

  #next(instance: InstanceJson): InstanceJson | null {
    if (instance.phase === "lost") return instance;
    if (instance.goal === "draining") return { ...instance, goal: "stopped", phase: "stopping" };
    if (instance.goal === "stopped") return null;
    switch (instance.phase) {
      case "assigned":
        return { ...instance, phase: "staging" };
      case "staging":
        return { ...instance, phase: "running", address: this.#freeAddress(instance.host), startedAtMs: this.#nowMs() };
      case "running":
        return instance.health === "unknown" ? { ...instance, health: "healthy" } : instance;
      default:
        return instance;
    }
  }

  #create(id: string, instances: number, checked: boolean): void {
    const image = `registry.lab:5000${id}:1`;
    const version = new Date(EPOCH_MS).toISOString();
    this.apps.set(id, {
      id,
      image,
      instances: 0,
      running: 0,
      healthy: 0,
      unhealthy: 0,
      staging: 0,
      cpus: CPUS,
      memoryMiB: MEMORY_MIB,
      service: serviceOf(id),
      version,
      status: "running",
      deployments: [],
      problem: null,
      labels: checked ? { tier: "web" } : { tier: "worker", unchecked: "yes" },
    });
    const before = new Date(EPOCH_MS - 86_400_000).toISOString();
    this.versions.set(id, [
      { version, image, instances, current: true },
      { version: before, image: `${image.slice(0, -1)}0`, instances, current: false },
    ]);
    this.scale(id, instances);
  }

  #place(id: string): void {
    const counts = new Map(this.#hostsByNumber.map((name) => [name, 0]));
    for (const instance of this.instances.values()) counts.set(instance.host, (counts.get(instance.host) ?? 0) + 1);
    const open = this.#hostsByNumber.filter((name) => {
      const host = this.hosts.get(name);
      return host?.phase === "up" && !host.cordoned;
    });
    const host = open.toSorted((a, b) => (counts.get(a) ?? 0) - (counts.get(b) ?? 0))[0];
    if (host === undefined) return;
    const uuid = `${(++this.#serial).toString(16).padStart(8, "0")}-0000-4000-8000-000000000000`;
    this.instances.set(`${id.slice(1)}.instance-${uuid}`, {
      id: `${id.slice(1)}.instance-${uuid}`,
      app: id,
      version: this.apps.get(id)?.version ?? "",
      current: true,
      host,
      goal: "running",
      phase: "assigned",
      health: this.apps.get(id)?.labels["unchecked"] === "yes" ? "none" : "unknown",
      address: null,
      ports: [8080],
      startedAtMs: null,
      message: null,
    });
  }

  #freeAddress(host: string): string {
    const used = new Set([...this.instances.values()].map((instance) => instance.address));
    const number = this.#hostsByNumber.indexOf(host) + 1;
    let last = 2;
    while (used.has(`10.2.${number}.${last}`)) last += 1;
    return `10.2.${number}.${last}`;
  }

  #instancesOf(id: string): InstanceJson[] {
    return [...this.instances.values()].filter((instance) => instance.app === id);
  }

  /** Counts the app anew, ends its deployment when all is as wanted, and sends what changed. */
  #settle(id: string, gone: readonly string[] = []): void {
    const app = this.apps.get(id);
    if (app === undefined) return;
    const own = this.#instancesOf(id);
    const wanted = own.filter((instance) => instance.goal === "running");
    const running = wanted.filter((instance) => instance.phase === "running");
    const unready = running.filter((instance) => instance.health === "unknown").length;
    const done = own.length === app.instances && running.length === app.instances && unready === 0;
    const ended = done ? app.deployments : [];
    for (const deployment of ended) this.deployments.delete(deployment);
    const next: AppJson = {
      ...app,
      running: running.length,
      healthy: running.filter((instance) => instance.health === "healthy").length,
      unhealthy: running.filter((instance) => instance.health === "unhealthy").length,
      staging: wanted.length - running.length,
      status: !done ? "deploying" : app.instances === 0 ? "suspended" : "running",
      deployments: done ? [] : app.deployments,
    };
    this.apps.set(id, next);
    this.#send({
      put: {
        apps: [next],
        instances: own,
        hosts: this.#hostList(),
        services: this.services(),
        deployments: [...this.deployments.values()],
      },
      drop: { instances: gone, deployments: ended },
    });
  }

  #hostList(): HostJson[] {
    const byHost = Map.groupBy(this.instances.values(), (instance) => instance.host);
    return [...this.hosts.values()].map((host) => {
      const count = byHost.get(host.name)?.length ?? 0;
      return {
        ...host,
        instances: count,
        cpus: { ...host.cpus, used: Math.round(count * CPUS * 100) / 100 },
        memoryMiB: { ...host.memoryMiB, used: count * MEMORY_MIB },
      };
    });
  }

  #send(change: Change): void {
    this.#sequence += 1;
    for (const listener of this.#listeners) listener({ type: "delta", sequence: this.#sequence, ...change });
  }
}

function makeHost(number: number): HostJson {
  return {
    id: `host-${number}`,
    name: `h${number}`,
    address: `192.0.2.${number}`,
    phase: "up",
    cordoned: false,
    blocks: [`10.2.${number}.0/24`],
    cpus: { total: 4, used: 0 },
    memoryMiB: { total: 4096, used: 0 },
    instances: 0,
    labels: { zone: number % 2 === 0 ? "b" : "a" },
    agentVersion: "0.1.0",
    lastSeenMs: EPOCH_MS,
    joinedAtMs: EPOCH_MS,
    conditions: [],
  };
}

function serviceOf(id: string): string {
  return id.slice(1).replaceAll("/", "-");
}
