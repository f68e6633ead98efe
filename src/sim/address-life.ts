/**
 * Addresses under pressure: many instances on hosts that begin with a block of sixteen addresses, while servers die, hosts
 * are removed and come back, and everything is scaled down at the end. Looked at from outside all the time: nobody holds
 * another's address, no two hosts hold the same block.
 */
import { LABEL_INSTANCE } from "../model/container.ts";
import { readLeases } from "../cluster/leases.ts";
import type { HostId } from "../model/ids.ts";
import { parseAppId } from "../model/ids.ts";
import { parseIpv4 } from "../model/ip.ts";
import type { BlockLease } from "../model/lease.ts";
import { appSpec } from "./agent-fixtures.ts";
import { FakeStore } from "./fake-store.ts";
import { FakeTransport } from "./fake-transport.ts";
import { findOverlaps } from "./find-overlaps.ts";
import { isInCidr } from "./is-in-cidr.ts";
import { SeededRandom } from "./seeded-random.ts";
import { ServerProcess } from "./server-process.ts";
import { SimMachine } from "./sim-machine.ts";
import { VirtualClock } from "./virtual-clock.ts";
import { SILENT_LOG } from "./silent-log.ts";

export interface AddressLifeOptions {
  readonly seed: number;
  readonly hosts: number;
  readonly range: string;
  readonly blockPrefix: number;
}

const LOOK_MS = 250;
const APP = parseAppId("/many");

/** A cluster whose user starts and stops copies of one app; the caller tells its story. */
export class AddressLife {
  readonly clock = new VirtualClock();
  readonly machines: readonly SimMachine[];
  readonly broken = new Set<string>();
  /** The most addresses that were held at once. */
  heldMax = 0;
  readonly #options: AddressLifeOptions;
  readonly #random: SeededRandom;
  readonly #network: FakeTransport;
  #store: FakeStore;
  #server: ServerProcess | null = null;

  constructor(options: AddressLifeOptions) {
    const { clock } = this;
    this.#options = options;
    this.#random = new SeededRandom(options.seed);
    this.#network = new FakeTransport({ clock, random: this.#random.fork(), delayMsMax: 20 });
    this.#store = new FakeStore({ clock, random: this.#random.fork(), latencyMs: 5 });
    this.machines = Array.from({ length: options.hosts }, (_, at) => {
      const [name, address] = [`h${at + 1}`, parseIpv4(`192.0.2.${at + 1}`)];
      const router = parseIpv4("192.0.2.254");
      const random = this.#random.fork();
      const isDenied = (): boolean => this.#server?.isDenied(name) ?? false;
      return new SimMachine({
        name,
        address,
        router,
        clock,
        network: this.#network,
        random,
        log: SILENT_LOG,
        isDenied,
      });
    });
  }

  get server(): ServerProcess {
    if (this.#server === null) throw new Error("Cannot ask the server: it does not run");
    return this.#server;
  }

  async start(): Promise<void> {
    await this.startServer();
    for (const machine of this.machines) await this.join(machine);
  }

  async startServer(): Promise<void> {
    const { range, blockPrefix } = this.#options;
    const starting = ServerProcess.start({
      clock: this.clock,
      random: this.#random.fork(),
      store: this.#store,
      network: this.#network,
      log: SILENT_LOG,
      credentialOf: (node) => this.machines.find(({ name }) => name === node)?.credential ?? null,
      settings: { range, blockPrefix },
      inspect: () => undefined,
    });
    this.#server = await this.clock.settle(starting);
  }

  async restartServer(awayMs: number): Promise<void> {
    this.server.kill();
    this.#server = null;
    await this.pass(awayMs);
    this.#store = this.#store.reopen();
    await this.startServer();
  }

  async join(machine: SimMachine): Promise<void> {
    const { name, address, resources } = machine;
    const request = { name, address, labels: {}, resources, hostRanges: [], credential: null, local: false };
    const grant = await this.clock.settle(this.server.members.join(request));
    machine.credential = grant.credential;
    machine.startAgent();
  }

  async remove(machine: SimMachine): Promise<void> {
    await this.clock.settle(this.server.members.remove(machine.name, true));
  }

  /** By the user's API. */
  async scale(instances: number): Promise<void> {
    const spec = appSpec({ id: APP, image: "app:0", cpus: 0.01, memoryMiB: 1, instances });
    const change = this.server.cluster.apps.change([{ kind: "put", spec }], { force: true });
    await this.clock.settle(change);
  }

  /** Lets time pass and looks at all addresses meanwhile. */
  async pass(ms: number): Promise<void> {
    const endMs = this.clock.monotonicMs() + ms;
    while (this.clock.monotonicMs() < endMs) {
      await this.clock.advance(Math.min(LOOK_MS, endMs - this.clock.monotonicMs()));
      this.#look();
    }
  }

  /** @throws Error naming what is still missing after `ms`. */
  async until(what: string, reached: () => boolean, ms: number): Promise<void> {
    for (let waitedMs = 0; waitedMs < ms && !reached(); waitedMs += LOOK_MS) await this.pass(LOOK_MS);
    if (reached()) return;
    const conditions = this.machines.map(
      (each) => each.agent?.running?.state.conditions().map(({ text }) => text) ?? [],
    );
    const problems = this.server.cluster.apps.problems().map(({ message }) => message);
    throw new Error(
      `Cannot see ${what} after ${ms} ms: ${JSON.stringify({ running: this.running(), conditions, problems })}`,
    );
  }

  /** Instances whose container runs, over all machines. */
  running(): number {
    return this.machines.flatMap((each) => this.#instancesOn(each)).length;
  }

  #instancesOn(machine: SimMachine) {
    return machine
      .containers()
      .filter(({ labels, state }) => labels[LABEL_INSTANCE] !== undefined && state === "running");
  }

  blocksOf(machine: SimMachine): readonly string[] {
    return this.server.cluster.state.hostByName(machine.name)?.blocks ?? [];
  }

  idOf(machine: SimMachine): HostId | undefined {
    return this.server.cluster.state.hostByName(machine.name)?.id;
  }

  async leases(): Promise<readonly BlockLease[]> {
    return (await this.clock.settle(readLeases(this.#store))).leases;
  }

  #look(): void {
    const holders = new Map<string, string>();
    for (const machine of this.machines) {
      // One that was removed may hold its old addresses for the moment that it needs to withdraw.
      if (this.#server !== null && this.#server.cluster.state.hostByName(machine.name) === null) continue;
      for (const { name, addresses } of machine.containers()) {
        const address = addresses["apollo"];
        if (address === undefined) continue;
        const holder = holders.get(address);
        if (holder !== undefined) this.broken.add(`${address} is held by ${holder} and by ${name} on ${machine.name}`);
        holders.set(address, `${name} on ${machine.name}`);
        const blocks = machine.agent?.running?.state.identity?.blocks ?? [];
        if (blocks.length > 0 && !blocks.some((block) => isInCidr(block, address)))
          this.broken.add(`${name} on ${machine.name} has ${address}, outside of ${blocks.join(", ")}`);
      }
    }
    this.heldMax = Math.max(this.heldMax, holders.size);
    const hosts = [...(this.#server?.cluster.state.hosts.values() ?? [])];
    for (const { one, other } of findOverlaps(hosts)) this.broken.add(`blocks overlap: ${one} and ${other}`);
  }

  /** All agents and the server end in order. */
  async end(): Promise<void> {
    for (const machine of this.machines) {
      await this.clock.settle(machine.stopAgent());
    }
    await this.clock.settle(this.server.stop());
  }
}
