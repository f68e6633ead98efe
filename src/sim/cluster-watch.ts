/**
 * What must hold at every moment of a cluster's life, seen from outside: engines, kernels, DNS answers and proxies against
 * what containers really do. What a fault makes untrue has a bounded time to become true again.
 */
import { findOverlaps } from "./find-overlaps.ts";
import { isInCidr } from "./is-in-cidr.ts";
import { LABEL_INSTANCE } from "../model/container.ts";
import type { Container } from "../model/container.ts";
import type { InstanceId } from "../model/ids.ts";
import { DRAIN_MS_MAX } from "../scheduling/plan-app.ts";
import { askName, readyServers } from "./ask-host.ts";
import type { FakeTransport } from "./fake-transport.ts";
import type { ServerProcess } from "./server-process.ts";
import type { SimMachine } from "./sim-machine.ts";
import { SERVER_NODE } from "./stream-transport.ts";

export interface WatchedWorld {
  readonly machines: readonly SimMachine[];
  readonly network: FakeTransport;
  readonly services: readonly string[];
  server(): ServerProcess | null;
  /** By `monotonicMs`: since when the server runs or is gone. */
  serverDisturbedAtMs(): number;
  nowMs(): number;
}

/** From a death, or from the end of a fault, until every connected host has it: a check, or three heartbeats, and the way. */
const TRUE_AFTER_MS = 9000;
/** A server that has just started says nothing of the catalog until the last host has reported or is known to be down. */
const SERVER_TRUE_AFTER_MS = 22_000;
/** A well instance is served everywhere after this. */
const SERVED_AFTER_MS = 15_000;
const LASTS_MS = 400;
const NETWORK = "apollo";

export class ClusterWatch {
  readonly #world: WatchedWorld;
  /** By address: when something that answers there was last seen. */
  readonly #lastWell = new Map<string, number>();
  /** By life of a container: since when it is well without a break. */
  readonly #wellSince = new Map<string, number>();
  readonly #foreignRoutes = new Map<string, string>();
  readonly #ownerByBlock = new Map<string, string>();
  readonly #told = new Set<string>();
  readonly #found = new Map<string, { readonly look: number; readonly sinceMs: number }>();
  looks = 0;
  /** Names and servers that were held against what runs. */
  compared = 0;

  constructor(world: WatchedWorld) {
    this.#world = world;
    for (const machine of world.machines) this.#foreignRoutes.set(machine.name, machine.foreignRoutes().join("\n"));
  }

  /** Broken rules, in words, each told once; [] when all hold. */
  look(): readonly string[] {
    this.looks += 1;
    this.#note();
    const broken = [
      ...this.#checkAddresses(),
      ...this.#checkBlocks(),
      ...this.#checkRoutes(),
      ...this.#world.machines.flatMap((each) => this.#checkServed(each)),
    ];
    const fresh = broken.filter((each) => !this.#told.has(each));
    for (const each of fresh) this.#told.add(each);
    return fresh;
  }

  /** A machine is about to end a running container: may it? */
  checkEnd(machine: SimMachine, containerId: string): readonly string[] {
    const container = machine.containers().find(({ id }) => id === containerId);
    const instanceId = container?.labels[LABEL_INSTANCE] as InstanceId | undefined;
    if (container === undefined || machine.engine.died.has(containerId)) return [];
    if (instanceId === undefined) return [`${machine.name} ends ${container.name}, which is not ours`];
    const instance = this.#world.server()?.cluster.state.instances.get(instanceId);
    const address = container.addresses[NETWORK] ?? "";
    const serves = (each: SimMachine): boolean => readyServers(each).some((server) => server.includes(` ${address}:`));
    // Forgotten: its host was lost for long, or it was reported to have ended.
    if (instance === undefined) return serves(machine) ? [`${machine.name} ends ${instanceId} while it serves it`] : [];
    if (instance.goal !== "stopped") return [`${machine.name} ends ${instanceId}, whose goal is ${instance.goal}`];
    const { drainSinceMs } = instance;
    if (drainSinceMs === undefined || container.startedAtMs === null) return [];
    const drainedMs = this.#wallMs() - drainSinceMs;
    const observers = drainedMs >= DRAIN_MS_MAX ? [machine] : this.#world.machines;
    return observers
      .filter((each) => (each === machine || this.#isConnected(each)) && serves(each))
      .map(
        (each) =>
          `${machine.name} ends ${instanceId} (${address}), drained for ${drainedMs} ms, while ${each.name} sends it clients`,
      );
  }

  #wallMs(): number {
    return this.#world.server()?.process.clock.nowMs() ?? 0;
  }

  #isConnected(machine: SimMachine): boolean {
    const server = this.#world.server();
    const host = server?.cluster.state.hostByName(machine.name);
    if (server === null || server === undefined || host === null || host === undefined) return false;
    const cut =
      this.#world.network.isCut(machine.name, SERVER_NODE) || this.#world.network.isCut(SERVER_NODE, machine.name);
    const up = server.cluster.hub.isConnected(host.id) && server.cluster.liveness.presenceOf(host.id).phase === "up";
    return machine.agent?.running?.state.connected === true && up && !cut;
  }

  /** Nothing was done to it, its link and the server for so long. */
  #isSteady(machine: SimMachine, ms: number): boolean {
    const nowMs = this.#world.nowMs();
    return (
      this.#isConnected(machine) &&
      machine.engineUp &&
      nowMs - machine.disturbedAtMs >= ms &&
      nowMs - this.#world.serverDisturbedAtMs() >= SERVER_TRUE_AFTER_MS
    );
  }

  /** Whatever is with its link and the server. */
  #isUndisturbed(machine: SimMachine, ms: number): boolean {
    const { agent, engineUp, disturbedAtMs } = machine;
    return agent?.running?.state !== undefined && engineUp && this.#world.nowMs() - disturbedAtMs >= ms;
  }

  #note(): void {
    const nowMs = this.#world.nowMs();
    const seen = new Set<string>();
    for (const machine of this.#world.machines) {
      for (const container of machine.containers()) {
        const address = container.addresses[NETWORK];
        if (address === undefined || !isWell(machine, container)) continue;
        const key = lifeOf(machine, container);
        seen.add(key);
        if (!this.#wellSince.has(key)) this.#wellSince.set(key, nowMs);
        this.#lastWell.set(address, nowMs);
      }
    }
    for (const key of this.#wellSince.keys()) if (!seen.has(key)) this.#wellSince.delete(key);
  }

  #checkAddresses(): string[] {
    const broken: string[] = [];
    const holders = new Map<string, string>();
    for (const machine of this.#world.machines) {
      const blocks = machine.agent?.running?.state.identity?.blocks ?? [];
      for (const { name, addresses } of machine.containers()) {
        const address = addresses[NETWORK];
        if (address === undefined) continue;
        const holder = holders.get(address);
        if (holder !== undefined) broken.push(`${address} is held by ${holder} and by ${name} on ${machine.name}`);
        holders.set(address, `${name} on ${machine.name}`);
        if (blocks.length > 0 && !blocks.some((block) => isInCidr(block, address)))
          broken.push(`${name} on ${machine.name} has ${address}, which is outside of ${blocks.join(", ")}`);
      }
    }
    return broken;
  }

  #checkBlocks(): string[] {
    const hosts = [...(this.#world.server()?.cluster.state.hosts.values() ?? [])];
    return findOverlaps(hosts).map(({ one, other }) => `blocks overlap: ${one} and ${other}`);
  }

  #checkRoutes(): string[] {
    return this.#world.machines.flatMap((machine) => {
      const routes = machine.foreignRoutes().join("\n");
      return routes === this.#foreignRoutes.get(machine.name)
        ? []
        : [`routes of others on ${machine.name} changed to:\n${routes}`];
    });
  }

  /** Without a server, or cut off from it, a host still tells the truth about itself. */
  #checkServed(observer: SimMachine): string[] {
    const steady = this.#isSteady(observer, TRUE_AFTER_MS);
    if (!steady && !this.#isUndisturbed(observer, TRUE_AFTER_MS)) return [];
    const named = new Map<string, Set<string>>([
      ["dns", new Set()],
      ["ingress", new Set()],
    ]);
    for (const service of this.#world.services)
      for (const address of askName(observer, service) ?? []) named.get("dns")?.add(address);
    for (const server of readyServers(observer)) named.get("ingress")?.add(server.split(/[ :]/)[1] ?? "");
    return [...named].flatMap(([part, addresses]) => [
      ...[...addresses]
        .filter((address) => steady || this.#ownerOf(address) === observer)
        .flatMap((address) => this.#checkTrue({ observer, part, address })),
      ...this.#missing({ observer, part, addresses }).filter((each) => this.#lasts(each)),
    ]);
  }

  /** What is named was well a moment ago, or its host is troubled just now. */
  #checkTrue({ observer, part, address }: { observer: SimMachine; part: string; address: string }): string[] {
    this.compared += 1;
    const nowMs = this.#world.nowMs();
    const sinceMs = nowMs - (this.#lastWell.get(address) ?? 0);
    if (sinceMs <= TRUE_AFTER_MS) return [];
    const owner = this.#ownerOf(address);
    const troubled =
      owner !== undefined && (nowMs - owner.disturbedAtMs <= TRUE_AFTER_MS || (owner.powered && !owner.engineUp));
    return troubled ? [] : [`${part} on ${observer.name} names ${address}, which was last well ${sinceMs} ms ago`];
  }

  #ownerOf(address: string): SimMachine | undefined {
    // Blocks are never given back here, so what any server said of them holds.
    for (const { name, blocks } of this.#world.server()?.cluster.state.hosts.values() ?? [])
      for (const block of blocks) this.#ownerByBlock.set(block, name);
    const block = [...this.#ownerByBlock.keys()].find((each) => isInCidr(each, address));
    const owner = block === undefined ? undefined : this.#ownerByBlock.get(block);
    return this.#world.machines.find(({ name }) => name === owner);
  }

  /** Whether it was so at the look before, too: a drain leaves the catalog a moment before it is stored. */
  #lasts(finding: string): boolean {
    const before = this.#found.get(finding);
    const lasts = before !== undefined && this.looks - before.look <= 1;
    this.#found.set(finding, { look: this.looks, sinceMs: lasts ? before.sinceMs : this.#world.nowMs() });
    return lasts && this.#world.nowMs() - before.sinceMs >= LASTS_MS;
  }

  #missing(of: { observer: SimMachine; part: string; addresses: ReadonlySet<string> }): string[] {
    const { observer, part, addresses } = of;
    const nowMs = this.#world.nowMs();
    const { assignments } = observer.agent?.running?.state ?? {};
    const instances = this.#world.server()?.cluster.state.instances;
    const all = this.#isSteady(observer, SERVED_AFTER_MS);
    return this.#world.machines
      .filter((machine) =>
        machine === observer
          ? this.#isUndisturbed(machine, SERVED_AFTER_MS)
          : all && this.#isSteady(machine, SERVED_AFTER_MS),
      )
      .flatMap((machine) =>
        machine.containers().flatMap((container) => {
          const sinceMs = this.#wellSince.get(lifeOf(machine, container));
          const address = container.addresses[NETWORK] ?? "";
          const id = container.labels[LABEL_INSTANCE] as InstanceId | undefined;
          const own = machine === observer && id !== undefined;
          const goal = id === undefined ? "running" : instances?.get(id)?.goal;
          const wanted = own ? assignments?.get(id)?.instance.goal === "running" : goal === "running";
          const settled = sinceMs !== undefined && nowMs - sinceMs >= SERVED_AFTER_MS;
          if (!settled || !wanted || addresses.has(address)) return [];
          return [`${part} on ${observer.name} lacks ${address} (${container.name}), well for ${SERVED_AFTER_MS} ms`];
        }),
      );
  }
}

function isWell(machine: SimMachine, container: Container): boolean {
  return container.state === "running" && (container.env["CHECKED"] === undefined || machine.prober.isWell(container));
}

/** Another one after each start. */
function lifeOf(machine: SimMachine, { id, startedAtMs }: Container): string {
  return `${machine.name} ${id} ${startedAtMs}`;
}
