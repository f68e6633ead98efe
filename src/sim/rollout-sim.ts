/**
 * A cluster's whole life in one deterministic run: apps are created, changed, scaled, restarted, rolled back and
 * destroyed while hosts crash, links break, containers die and the server restarts. The seed draws sizes and how often
 * each thing happens, calm seeds included. Every pass of the planner is checked. Then everything is mended, and the
 * cluster must come to rest as declared within a bound of virtual time.
 */
import { AppError } from "../model/error.ts";
import type { DeploymentId, InstanceId } from "../model/ids.ts";
import type { Host } from "../model/host.ts";
import { parseIpv4 } from "../model/ip.ts";
import { planRollout } from "../scheduling/plan-rollout.ts";
import type { RolloutInput, RolloutPlan } from "../scheduling/plan-rollout.ts";
import { checkPass } from "./check-pass.ts";
import { drawChange } from "./draw-change.ts";
import { FakeStore } from "./fake-store.ts";
import { FakeTransport } from "./fake-transport.ts";
import { SeededRandom } from "./seeded-random.ts";
import { SimHost } from "./sim-host.ts";
import type { Faults } from "./sim-host.ts";
import { SimServer } from "./sim-server.ts";
import { VirtualClock } from "./virtual-clock.ts";

export interface SimReport {
  readonly seed: number;
  readonly virtualMs: number;
  readonly passes: number;
  readonly created: number;
  readonly changes: number;
  readonly faults: number;
  /** [] when every rule held and the cluster came to rest. */
  readonly broken: readonly string[];
}

/** How often each thing happens, as weights; what a seed leaves out has 0. */
interface Weather {
  readonly change: number;
  readonly killContainer: number;
  readonly flapHealth: number;
  readonly crashHost: number;
  readonly cutHost: number;
  readonly restartServer: number;
  readonly cordon: number;
}

/** Longest delay of a drawn app's backoff, plus starts, drains and a host's way back: rest must come within. */
const REST_MS_MAX = 180_000;

export async function simulateRollout(seed: number): Promise<SimReport> {
  const world = new RolloutWorld(seed);
  return world.live();
}

class RolloutWorld {
  readonly #random: SeededRandom;
  readonly #clock = new VirtualClock();
  readonly #transport: FakeTransport;
  readonly #hosts: readonly SimHost[];
  readonly #faults: Faults;
  readonly #weather: Weather;
  readonly #appsMax: number;
  /** Some clusters are too small for what is asked of them: they need not come to rest, but must say why. */
  readonly #tight: boolean;
  #store: FakeStore;
  #server: SimServer | null = null;
  /** Requests under way; none rejects. */
  readonly #requests: Promise<void>[] = [];
  readonly #broken: string[] = [];
  #passes = 0;
  #created = 0;
  #changes = 0;
  #faultCount = 0;

  constructor(seed: number) {
    const random = new SeededRandom(seed);
    const clock = this.#clock;
    this.#random = random;
    this.#transport = new FakeTransport({ clock, random: random.fork() });
    this.#store = new FakeStore({ clock, random: random.fork() });
    this.#tight = random.chance(0.25);
    this.#appsMax = random.integer(1, 5);
    this.#faults = { startFailure: random.chance(0.4) ? random.next() * 0.3 : 0, startMsMax: random.pick([100, 1000, 4000]) };
    const cpus = this.#tight ? 2 : 64;
    this.#hosts = Array.from({ length: random.integer(1, 7) }, (_, at) => {
      const resources = { cpus, memoryMiB: cpus * 1024, diskMiB: 100_000 };
      const shared = { clock, transport: this.#transport, faults: this.#faults };
      return new SimHost({ name: `h${at + 1}`, resources, random: random.fork(), ...shared });
    });
    const maybe = (weight: number): number => (random.chance(0.6) ? weight * random.next() : 0);
    const calm = random.chance(0.2);
    const fault = (weight: number): number => (calm ? 0 : maybe(weight));
    this.#weather = {
      change: 0.5 + random.next(),
      killContainer: fault(1),
      flapHealth: fault(1),
      crashHost: fault(0.5),
      cutHost: fault(0.5),
      restartServer: fault(0.3),
      cordon: fault(0.3),
    };
  }

  async live(): Promise<SimReport> {
    const clock = this.#clock;
    try {
      const hosts = this.#hosts.map((host) => ({ kind: "put" as const, key: `host/${host.id}`, value: this.#record(host) }));
      await clock.settle(this.#store.commit(hosts));
      await clock.settle(this.#startServer());
      for (const host of this.#hosts) host.boot();
      const events = this.#random.integer(10, 40);
      for (let event = 0; event < events && this.#broken.length === 0; event += 1) {
        await clock.advance(this.#random.next() ** 2 * 12_000);
        await this.#happen();
      }
      if (this.#broken.length === 0) await this.#heal();
    } catch (error) {
      this.#broken.push(`it threw: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    }
    return {
      seed: this.#random.seed,
      virtualMs: clock.monotonicMs(),
      passes: this.#passes,
      created: this.#created,
      changes: this.#changes,
      faults: this.#faultCount,
      broken: this.#broken,
    };
  }

  async #startServer(): Promise<void> {
    this.#server = await SimServer.start({
      store: this.#store,
      clock: this.#clock,
      random: this.#random.fork(),
      transport: this.#transport,
      onPass: (input, plan) => this.#check(input, plan),
    });
  }

  async #happen(): Promise<void> {
    const entries = Object.entries(this.#weather);
    let left = this.#random.next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
    const [kind] = entries.find(([, weight]) => (left -= weight) <= 0) ?? ["change"];
    if (kind === "change") return this.#change();
    this.#faultCount += 1;
    const host = this.#random.pick(this.#hosts);
    const forMs = this.#random.next() ** 2 * 30_000;
    switch (kind) {
      case "killContainer":
        return this.#onInstance(host, (id) => host.killContainer(id));
      case "flapHealth":
        return this.#onInstance(host, (id) => {
          host.setHealth(id, "unhealthy");
          this.#clock.after(forMs, () => host.setHealth(id, "healthy"));
        });
      case "crashHost":
        host.crash();
        this.#clock.after(forMs, () => host.boot());
        return;
      case "cutHost":
        this.#transport.cut(host.name, "server");
        if (this.#random.chance(0.7)) this.#transport.cut("server", host.name);
        this.#clock.after(forMs, () => this.#transport.mend(host.name, "server"));
        return;
      case "restartServer":
        this.#server?.crash();
        this.#server = null;
        await this.#clock.advance(forMs / 3);
        this.#store = this.#store.reopen();
        await this.#clock.settle(this.#startServer());
        return;
      case "cordon":
        return this.#cordon(host, this.#random.chance(0.5));
      default:
        throw new Error(`Unexpected event: ${kind}`);
    }
  }

  #onInstance(host: SimHost, act: (id: InstanceId) => void): void {
    const running = [...host.statuses()].filter(([, { phase }]) => phase === "running").map(([id]) => id);
    if (running.length > 0) act(this.#random.pick(running.toSorted()));
  }

  /** A user's request. It may be refused, and it may run alongside the next events. */
  #change(): void {
    const server = this.#server;
    if (server === null) return;
    this.#changes += 1;
    const deployments = [...server.deployments.keys()].toSorted();
    const force = this.#random.chance(0.6);
    const task: Promise<unknown> =
      deployments.length > 0 && this.#random.chance(0.15)
        ? server.cancel(this.#random.pick<DeploymentId>(deployments), this.#random.chance(0.3))
        : server.change(drawChange(this.#random, server, { hosts: this.#hosts.length, appsMax: this.#appsMax }), force);
    const failed = (error: unknown): void => {
      if (!(error instanceof AppError)) this.#broken.push(`a change threw: ${String(error)}`);
      else if (error.code === "invalid" || error.code === "internal") this.#broken.push(`refused: ${error.message}`);
    };
    this.#requests.push(task.then(() => undefined, failed));
  }

  async #cordon(host: SimHost, cordoned: boolean): Promise<void> {
    await this.#clock.settle(
      this.#store.commit([{ kind: "put", key: `host/${host.id}`, value: { ...this.#record(host), cordoned } }]),
    );
  }

  #check(input: RolloutInput, plan: RolloutPlan): void {
    this.#passes += 1;
    this.#created += plan.actions.filter(({ kind }) => kind === "create-instance").length;
    const at = `at ${Math.round(this.#clock.monotonicMs())} ms`;
    for (const each of checkPass(input, plan)) this.#broken.push(`${at}: ${each}`);
    if (this.#passes % 5 !== 0) return;
    // JS keeps the order of insertion, which hides a plan that depends on it.
    const mixed = <K, V>(map: ReadonlyMap<K, V>): Map<K, V> => new Map(this.#random.shuffle([...map]));
    const ids = plan.actions.flatMap((action) => (action.kind === "create-instance" ? [action.instance.id] : []));
    const again = planRollout({
      ...input,
      apps: mixed(input.apps),
      instances: mixed(input.instances),
      statuses: mixed(input.statuses),
      hosts: this.#random.shuffle(input.hosts),
      newUuid: () => ids.shift()?.split(".instance-")[1] ?? "none",
    });
    if (JSON.stringify(again) !== JSON.stringify(plan)) this.#broken.push(`${at}: the plan depends on the order of maps`);
  }

  /** Ends all faults, mends bad definitions, and waits for rest. */
  async #heal(): Promise<void> {
    const clock = this.#clock;
    await clock.settle(Promise.all(this.#requests));
    this.#faults.startFailure = 0;
    this.#transport.mendAll();
    for (const host of this.#hosts) {
      await this.#cordon(host, false);
      host.boot();
    }
    const server = this.#server;
    if (server === null) throw new Error("Cannot heal: there is no server");
    for (const { spec } of [...server.apps.values()]) {
      if (spec.env["MISBEHAVE"] === undefined) continue;
      await clock.settle(server.change([{ kind: "put", spec: { ...spec, env: {} } }], true));
    }
    let unrest: readonly string[] = [];
    for (let waitedMs = 0; waitedMs < REST_MS_MAX && this.#broken.length === 0; waitedMs += 1000) {
      await clock.advance(1000);
      unrest = this.#unrest(server);
      if (unrest.length === 0) return;
    }
    if (this.#tight && server.problems.length > 0) return;
    const problems = server.problems.map(({ message, hosts }) => `problem: ${message} ${JSON.stringify(hosts)}`);
    this.#broken.push(`no rest within ${REST_MS_MAX / 1000} s`, ...unrest, ...problems);
  }

  /** What is not yet as declared. */
  #unrest(server: SimServer): string[] {
    const unrest = [...server.deployments.values()].map(
      ({ id, steps, currentStep }) => `deployment ${id} is at step ${currentStep} of ${JSON.stringify(steps)}`,
    );
    const instances = [...server.instances.values()];
    for (const { spec } of server.apps.values()) {
      const own = instances.filter(({ appId }) => appId === spec.id);
      if (own.length !== spec.instances) unrest.push(`${spec.id} has ${own.length} of ${spec.instances} instances`);
    }
    for (const { appId, id } of instances) if (!server.apps.has(appId)) unrest.push(`${id} is of a destroyed app`);
    for (const host of this.#hosts) {
      for (const [id, status] of host.statuses()) {
        const known = server.instances.get(id);
        if (known?.hostId !== host.id) unrest.push(`${id} on ${host.name} is ${status.phase}, but not assigned there`);
      }
    }
    for (const { id, hostId } of instances) {
      const status = this.#hosts.find((host) => host.id === hostId)?.statuses().get(id);
      const ready = status?.phase === "running" && (status.health === "healthy" || status.health === "none");
      if (!ready) unrest.push(`${id} on ${hostId} is not ready: ${JSON.stringify(status ?? null)}`);
    }
    return unrest;
  }

  #record(host: SimHost): Host {
    const at = host.name.slice(1);
    return {
      id: host.id,
      name: host.name,
      address: parseIpv4(`192.0.2.${at}`),
      credentialHash: "",
      blocks: [this.#tight ? `10.2.${at}.0/28` : `10.2.${at}.0/24`],
      resources: host.resources,
      labels: { rack: `r${Number(at) % 3}` },
      joinedAtMs: 0,
      cordoned: false,
    };
  }
}
