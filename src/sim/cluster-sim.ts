/**
 * The product itself under a virtual clock: the real server, the real agents and all their parts on hosts whose engine,
 * kernel, HAProxy, disk and network are in memory. The seed draws the cluster, what users ask of it and what goes wrong.
 * All the while it is watched from outside; then everything is mended, and it must come to rest, the same everywhere.
 */
import { AppError } from "../model/error.ts";
import { parseIpv4 } from "../model/ip.ts";
import type { Log, LogFields } from "../platform/ports/log.ts";
import type { ClusterServer } from "../server/cluster-server.ts";
import { checkPass } from "./check-pass.ts";
import { findUnrest } from "./cluster-rest.ts";
import { ClusterWatch } from "./cluster-watch.ts";
import type { WatchedWorld } from "./cluster-watch.ts";
import { drawFault, drawWeather } from "./cluster-weather.ts";
import type { Weather } from "./cluster-weather.ts";
import { APPS_MAX, ClusterUser } from "./cluster-user.ts";
import { SHARED_SERVICE } from "./dress-change.ts";
import { FakeStore } from "./fake-store.ts";
import { FakeTransport } from "./fake-transport.ts";
import { MachineTrouble } from "./machine-trouble.ts";
import { PLAIN_CONTAINER, PLAIN_SERVICE } from "./plain-container.ts";
import { SeededRandom } from "./seeded-random.ts";
import { ServerProcess } from "./server-process.ts";
import { SimMachine } from "./sim-machine.ts";
import { SERVER_NODE } from "./stream-transport.ts";
import { VirtualClock } from "./virtual-clock.ts";

export interface ClusterReport {
  readonly seed: number;
  readonly virtualMs: number;
  readonly hosts: number;
  readonly changes: number;
  readonly faults: number;
  /** Containers that were started. */
  readonly starts: number;
  /** Names and proxy servers that were held against what runs. */
  readonly compared: number;
  readonly restMs: number;
  /** [] when every rule held and the cluster came to rest. */
  readonly broken: readonly string[];
}

export interface ClusterSimOptions {
  /** Hears what happens, a line at a time. */
  readonly trace?: (line: string) => void;
}

const LOOK_MS = 500;
const JOIN_RETRY_MS = 2000;
/** Longest backoff of a drawn app, plus pulls, drains and a host's way back. */
const REST_MS_MAX = 180_000;
/** The orderly end of a program: the longest stop of a container that is under way, and a bit. */
const STOP_MS_MAX = 20_000;

export function simulateCluster(seed: number, options: ClusterSimOptions = {}): Promise<ClusterReport> {
  return new ClusterWorld(seed, options).live();
}

class ClusterWorld implements WatchedWorld {
  readonly machines: readonly SimMachine[];
  readonly network: FakeTransport;
  readonly services: readonly string[];
  readonly #random: SeededRandom;
  readonly #clock = new VirtualClock();
  readonly #weather: Weather;
  /** A member whose agent never comes: its join was all that was ever heard of it. */
  readonly #ghost: boolean;
  /** Small ones make hosts ask for more. */
  readonly #blockPrefix: number;
  readonly #watch: ClusterWatch;
  readonly #trace: (line: string) => void;
  readonly #broken: string[] = [];
  #store: FakeStore;
  #server: ServerProcess | null = null;
  #serverDisturbedAtMs = 0;
  readonly #user: ClusterUser;
  readonly #trouble: MachineTrouble;
  #faults = 0;
  #restMs = 0;

  constructor(seed: number, { trace = () => undefined }: ClusterSimOptions) {
    const random = new SeededRandom(seed);
    const clock = this.#clock;
    this.#random = random;
    this.#trace = (line) => trace(`${(clock.monotonicMs() / 1000).toFixed(3)} ${line}`);
    this.#weather = drawWeather(random);
    this.#ghost = random.chance(0.25);
    this.#blockPrefix = random.pick([24, 28, 29]);
    this.network = new FakeTransport({ clock, random: random.fork(), delayMsMax: this.#weather.delayMsMax });
    this.#store = new FakeStore({ clock, random: random.fork(), latencyMs: random.pick([1, 5, 30]) });
    const nets = random.integer(1, 2);
    this.machines = Array.from({ length: random.integer(2, 6) }, (_, at) => {
      const net = at % nets;
      const name = `h${at + 1}`;
      return new SimMachine({
        name,
        address: parseIpv4(`192.0.${net + 2}.${at + 1}`),
        router: parseIpv4(`192.0.${net + 2}.254`),
        clock,
        network: this.network,
        random: random.fork(),
        log: this.#log(name),
      });
    });
    this.#user = new ClusterUser({
      random: random.fork(),
      hosts: this.machines.length,
      trace: (line) => this.#trace(line),
      report: (broken) => this.#report(broken),
    });
    this.#trouble = new MachineTrouble({
      clock,
      random: random.fork(),
      network: this.network,
      ended: (machine, run) => this.#checkLeaks(machine.name, run?.process.leaks),
      replaced: (machine) => {
        this.#watchEnds(machine);
        this.#keepJoining(machine).catch((error: unknown) => clock.fail(error));
      },
      cordon: (machine, cordoned) => this.#cordon(machine.name, cordoned),
    });
    const names = Array.from({ length: APPS_MAX }, (_, at) => `app-${at + 1}`);
    this.services = [...names, SHARED_SERVICE, PLAIN_SERVICE];
    this.#watch = new ClusterWatch(this);
    for (const machine of this.machines) this.#watchEnds(machine);
  }

  server(): ServerProcess | null {
    return this.#server;
  }

  serverDisturbedAtMs(): number {
    return this.#serverDisturbedAtMs;
  }

  nowMs(): number {
    return this.#clock.monotonicMs();
  }

  async live(): Promise<ClusterReport> {
    try {
      await this.#startServer();
      for (const machine of this.machines)
        this.#keepJoining(machine).catch((error: unknown) => this.#clock.fail(error));
      if (this.#ghost) void this.#join("ghost", "192.0.2.99");
      await this.#pass(5000);
      await this.#startPlain();
      const events = this.#random.integer(8, 30);
      for (let event = 0; event < events && this.#broken.length === 0; event += 1) {
        await this.#pass(this.#random.next() ** 2 * 12_000);
        await this.#happen();
      }
      if (this.#broken.length === 0) await this.#heal();
      if (this.#broken.length === 0) await this.#end();
    } catch (error) {
      this.#broken.push(`it threw: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    }
    return {
      seed: this.#random.seed,
      virtualMs: this.#clock.monotonicMs(),
      hosts: this.machines.length,
      changes: this.#user.requests,
      faults: this.#faults,
      starts: this.machines.reduce((sum, { engine }) => sum + engine.starts.length, 0),
      compared: this.#watch.compared,
      restMs: this.#restMs,
      broken: this.#broken,
    };
  }

  #watchEnds(machine: SimMachine): void {
    machine.engine.onEnd = (id) => this.#report(this.#watch.checkEnd(machine, id));
  }

  /** Lets time pass and looks at the cluster meanwhile. */
  async #pass(ms: number): Promise<void> {
    const endMs = this.nowMs() + ms;
    while (this.nowMs() < endMs && this.#broken.length === 0) {
      await this.#clock.advance(Math.min(LOOK_MS, endMs - this.nowMs()));
      this.#report(this.#watch.look());
    }
  }

  #report(broken: readonly string[]): void {
    for (const each of broken) {
      this.#trace(`BROKEN ${each}`);
      this.#broken.push(`at ${Math.round(this.nowMs())} ms: ${each}`);
    }
  }

  async #startServer(): Promise<void> {
    const { network } = this;
    const starting = ServerProcess.start({
      clock: this.#clock,
      random: this.#random.fork(),
      store: this.#store,
      network,
      settings: { blockPrefix: this.#blockPrefix },
      log: this.#log(SERVER_NODE),
      credentialOf: (node) => this.machines.find(({ name }) => name === node)?.credential ?? null,
      inspect: (server) => this.#inspect(server),
    });
    this.#server = await this.#clock.settle(starting);
    this.#serverDisturbedAtMs = this.nowMs();
    this.#trace("server started");
  }

  /** Every plan of the scheduler is checked before it is carried out. */
  #inspect({ rollout, state }: ClusterServer): void {
    const plan = rollout.plan.bind(rollout);
    rollout.plan = (input) => {
      const batches = plan(input);
      const deployments = [...state.deployments.values()];
      const { problems, nextWakeMs } = rollout;
      const actions = batches.flat();
      for (const action of actions) this.#trace(`rollout ${action.kind} ${"id" in action ? action.id : ""}`);
      this.#report(checkPass({ ...input, deployments }, { actions, problems, nextWakeMs }));
      return batches;
    };
  }

  async #keepJoining(machine: SimMachine): Promise<void> {
    await this.#clock.sleep(this.#random.next() * 3000);
    while (machine.credential === null) {
      machine.credential = await this.#join(machine.name, machine.address);
      if (machine.credential === null) await this.#clock.sleep(JOIN_RETRY_MS);
    }
    machine.startAgent();
  }

  /** Null when it was refused, or the server died over it. */
  async #join(name: string, address: string): Promise<string | null> {
    const server = this.#server;
    if (server === null) return null;
    const resources = { cpus: 64, memoryMiB: 64_000, diskMiB: 100_000 };
    const request = { name, address, labels: {}, resources, hostRanges: [], credential: null, local: false };
    const answer = server.members.join(request).then(
      (grant) => grant.credential,
      (error: unknown) => {
        if (!(error instanceof AppError)) throw error;
        this.#trace(`join of ${name} refused: ${error.message}`);
        return null;
      },
    );
    const timeout = this.#clock.sleep(JOIN_RETRY_MS * 2).then(() => null);
    return await Promise.race([answer, timeout]);
  }

  /** Somebody's own containers. */
  async #startPlain(): Promise<void> {
    for (const machine of this.machines) {
      if (!this.#random.chance(0.5)) continue;
      const networks = await this.#clock.settle(machine.engine.listNetworks());
      if (!networks.some(({ name }) => name === "apollo")) continue;
      const id = await this.#clock.settle(machine.engine.createContainer(PLAIN_CONTAINER));
      await this.#clock.settle(machine.engine.startContainer(id));
    }
  }

  async #happen(): Promise<void> {
    const fault = this.#random.chance(this.#weather.calm) ? null : drawFault(this.#random, this.#weather);
    if (fault === null) {
      if (this.#server !== null) this.#user.ask(this.#server);
      return;
    }
    this.#faults += 1;
    if (fault === "restartServer") return this.#restartServer();
    if (fault === "pauseServer") return this.#pauseServer();
    const machine = this.#random.pick(this.machines);
    this.#trace(`fault ${fault} on ${machine.name}`);
    return this.#trouble.begin(machine, fault);
  }

  async #restartServer(): Promise<void> {
    this.#trace("fault: the server dies");
    this.#server?.kill();
    this.#server = null;
    this.#user.serverDied();
    this.#serverDisturbedAtMs = this.nowMs();
    await this.#pass(this.#random.pick([100, 500, 2000, 8000, 20_000, 60_000]) * this.#random.next());
    this.#store = this.#store.reopen();
    await this.#startServer();
    const server = this.#server as ServerProcess | null;
    if (server !== null) this.#report(this.#user.findForgotten(server));
  }

  async #pauseServer(): Promise<void> {
    const forMs = this.#random.next() * 10_000;
    this.#trace(`fault: the server stands still for ${Math.round(forMs)} ms`);
    this.#server?.process.pause(forMs);
    this.#serverDisturbedAtMs = this.nowMs() + forMs;
    await this.#pass(forMs);
  }

  #cordon(name: string, cordoned: boolean): void {
    const server = this.#server;
    if (server === null || server.cluster.state.hostByName(name) === null) return;
    const fail = (error: unknown): void => {
      if (!(error instanceof AppError)) this.#clock.fail(error);
    };
    server.members.setCordoned(name, cordoned).catch(fail);
  }

  /** Ends all faults, mends bad definitions, and waits for rest. */
  async #heal(): Promise<void> {
    const server = this.#server;
    if (server === null) throw new Error("Cannot heal: there is no server");
    this.#trace("heal");
    await this.#clock.settle(this.#user.answered());
    this.network.mendAll();
    for (const machine of this.machines) {
      machine.prober.sick.clear();
      machine.file.full = false;
      machine.powerOn(0);
      machine.engineOn();
      machine.startAgent();
      machine.disturb();
      this.#cordon(machine.name, false);
    }
    for (const { spec } of server.cluster.state.apps.values()) {
      if (spec.env["MISBEHAVE"] === undefined) continue;
      const { MISBEHAVE: _, ...env } = spec.env;
      const change = server.cluster.apps.change([{ kind: "put", spec: { ...spec, env, argv: null } }], { force: true });
      await this.#clock.settle(change);
    }
    let unrest: readonly string[] = [];
    const startMs = this.nowMs();
    while (this.nowMs() - startMs < REST_MS_MAX && this.#broken.length === 0) {
      await this.#pass(1000);
      unrest = findUnrest(this);
      this.#restMs = this.nowMs() - startMs;
      if (unrest.length === 0) return;
    }
    if (this.#broken.length > 0) return;
    const problems = server.cluster.apps.problems().map(({ message }) => `problem: ${message}`);
    this.#broken.push(`no rest within ${REST_MS_MAX / 1000} s`, ...unrest, ...problems);
  }

  /** Quiet for a while, and then everything ends in order and leaves nothing behind. */
  async #end(): Promise<void> {
    const starts = this.machines.map(({ engine }) => engine.starts.length).join();
    await this.#pass(40_000);
    const unrest = findUnrest(this);
    if (unrest.length > 0) this.#report(unrest.map((each) => `the rest did not last: ${each}`));
    if (this.machines.map(({ engine }) => engine.starts.length).join() !== starts) {
      this.#report(["containers were started in a cluster at rest"]);
    }
    for (const machine of this.machines) {
      const run = await this.#stop(machine.name, machine.stopAgent());
      this.#checkLeaks(machine.name, run?.process.leaks);
      const bindings = run?.listener.bindings() ?? [];
      if (bindings.length > 0) this.#report([`${machine.name} still listens on ${bindings.join(", ")}`]);
    }
    const server = this.#server;
    if (server === null) return;
    await this.#stop("the server", server.stop());
    this.#checkLeaks("the server", server.process.leaks);
    await this.#clock.advance(60_000);
    const { pending, listeners } = this.#clock;
    if (pending + listeners > 0) this.#report([`${pending} timers and ${listeners} listeners are left in the world`]);
  }

  async #stop<T>(what: string, stopping: Promise<T>): Promise<T | null> {
    let ended = false;
    const mark = stopping.then(() => {
      ended = true;
    });
    mark.catch(() => undefined);
    for (let waitedMs = 0; !ended && waitedMs < STOP_MS_MAX; waitedMs += 100) await this.#clock.advance(100);
    if (ended) return stopping;
    this.#report([`${what} did not end within ${STOP_MS_MAX / 1000} s`]);
    return null;
  }

  #checkLeaks(what: string, leaks: { readonly sleeps: number; readonly listeners: number } | undefined): void {
    if (leaks === undefined || leaks.sleeps + leaks.listeners === 0) return;
    this.#report([`${what} left ${leaks.sleeps} sleeps and ${leaks.listeners} listeners behind`]);
  }

  #log(node: string): Log {
    const write =
      (level: string) =>
      (message: string, fields?: LogFields): void => {
        this.#trace(`${node} ${level} ${message} ${fields === undefined ? "" : JSON.stringify(fields)}`);
        if (level === "error" && !/Cannot write/.test(message)) this.#report([`${node} logged an error: ${message}`]);
      };
    return { debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") };
  }
}
