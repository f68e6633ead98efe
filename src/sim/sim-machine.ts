/**
 * A host: an engine with its images, a kernel, a HAProxy, a disk, and at times an agent. Containers and HAProxy live on
 * without the agent; a power cut ends all but the disk and the engine's stopped containers.
 */
import type { RunningAgent } from "../agent/agent.ts";
import { startAgent } from "../agent/agent.ts";
import { createDnsPart } from "../agent/dns-part.ts";
import { createIngressPart } from "../agent/ingress-part.ts";
import { createNetworkPart } from "../agent/network-part.ts";
import { createPolicyPart } from "../agent/policy-part.ts";
import { createRegistrationPart } from "../agent/registration-part.ts";
import { fixedResolver } from "../agent/resolver-file.ts";
import { defaultProxySettings } from "../ingress/proxy-settings.ts";
import type { Container } from "../model/container.ts";
import type { HostResources } from "../model/host.ts";
import type { Ipv4 } from "../model/ip.ts";
import { parseIpv4 } from "../model/ip.ts";
import type { Log } from "../platform/ports/log.ts";
import { proxyPaths } from "../platform/ports/proxy.ts";
import type { FakeTransport } from "./fake-transport.ts";
import { FakeHostNetwork } from "./fake-host-network.ts";
import { FakeProxy } from "./fake-proxy.ts";
import { MachineProber } from "./machine-prober.ts";
import { MemoryFile } from "./memory-file.ts";
import { MemoryListener, silentDatagrams } from "./memory-listener.ts";
import type { SeededRandom } from "./seeded-random.ts";
import { SimProcess } from "./sim-process.ts";
import { StreamTransport } from "./stream-transport.ts";
import type { VirtualClock } from "./virtual-clock.ts";
import { WatchedEngine } from "./watched-engine.ts";

export interface SimMachineOptions {
  readonly name: string;
  readonly address: Ipv4;
  /** Machines of another network are reached through it. */
  readonly router: Ipv4;
  readonly clock: VirtualClock;
  readonly random: SeededRandom;
  readonly network: FakeTransport;
  readonly log: Log;
  /** Whether the server knows no member with this machine's credential. */
  readonly isDenied?: () => boolean;
}

export interface AgentRun {
  readonly process: SimProcess;
  readonly listener: MemoryListener;
  /** Null while it starts. */
  running: RunningAgent | null;
}

const RESOURCES: HostResources = { cpus: 64, memoryMiB: 64_000, diskMiB: 100_000 };
const IMAGE = { argv: ["sleep", "100000"], env: {}, exposedPorts: [] } as const;
export const IMAGES = ["app:0", "app:1", "app:2", "app:3", "app:4"] as const;
const PULLED_LATER = new Set(["app:3", "app:4"]);
const noCounters = { packets: async () => new Map<string, number>(), refusals: async () => [] };
const OTHERS_ROUTE = "172.30.0.0/16";

export class SimMachine {
  readonly name: string;
  readonly address: Ipv4;
  readonly resources = RESOURCES;
  engine: WatchedEngine;
  readonly prober: MachineProber;
  readonly file: MemoryFile;
  readonly addressFile: MemoryFile;
  readonly networkFile: MemoryFile;
  kernel: FakeHostNetwork;
  proxy: FakeProxy;
  agent: AgentRun | null = null;
  powered = true;
  engineUp = true;
  /** Got from a join; on its disk. */
  credential: string | null = null;
  /** When something was last done to it, by `monotonicMs`: what is said of it is true again some time after. */
  disturbedAtMs = 0;
  readonly #options: SimMachineOptions;

  constructor(options: SimMachineOptions) {
    const { name, clock, random } = options;
    this.#options = options;
    this.name = name;
    this.address = options.address;
    this.engine = this.#newEngine();
    this.prober = new MachineProber(clock, () => this.containers());
    this.file = new MemoryFile("/data/last-known.json", clock);
    this.addressFile = new MemoryFile("/data/addresses.json", clock);
    this.networkFile = new MemoryFile("/data/network-addresses.json", clock);
    this.kernel = this.#newKernel();
    this.proxy = new FakeProxy({ clock, latencyMs: random.integer(1, 5) });
  }

  /** What its engine has, whether or not it answers. */
  containers(): readonly Container[] {
    return this.engine.containersNow();
  }

  disturb(): void {
    this.disturbedAtMs = this.#options.clock.monotonicMs();
  }

  /** Power comes back, or a first start. The engine takes `engineAfterMs` longer than the agent. */
  powerOn(engineAfterMs: number): void {
    if (this.powered) return;
    this.powered = true;
    this.kernel = this.#newKernel();
    this.proxy = new FakeProxy({ clock: this.#options.clock, latencyMs: 2 });
    this.disturb();
    this.#options.clock.after(engineAfterMs, () => this.engineOn());
    this.startAgent();
  }

  powerOff(): void {
    if (!this.powered) return;
    this.killAgent();
    this.engineOff();
    this.proxy.kill();
    this.powered = false;
    this.disturb();
  }

  /** The engine ends and takes its containers along. */
  engineOff(): void {
    if (!this.engineUp) return;
    this.engineUp = false;
    this.engine.shutDown();
    this.disturb();
  }

  /** The engine does not answer; its containers run on. */
  engineHang(): void {
    if (!this.engineUp) return;
    this.engineUp = false;
    this.engine.goDown();
    this.disturb();
  }

  /** Another machine with the same name and address, and an empty disk. It has to join anew. */
  reinstall(): void {
    this.powerOff();
    this.credential = null;
    this.file.text = null;
    this.engine = this.#newEngine();
    this.engineUp = true;
    this.powerOn(0);
  }

  /** Somebody takes away one of our routes, or our packet filter's rules. */
  meddle(): void {
    const [destination] = this.ownRoutes();
    const device = / dev ([^ ]+).* ours$/m.exec(
      String(this.kernel)
        .split("\n")
        .find((line) => line.includes(`route ${destination} `)) ?? "",
    )?.[1];
    if (destination !== undefined && device !== undefined)
      this.kernel.disturb({ kind: "delete-route", destination, device });
    else this.kernel.disturb({ kind: "flush-ruleset" });
  }

  engineOn(): void {
    if (this.engineUp || !this.powered) return;
    this.engineUp = true;
    this.engine.comeUp();
    this.disturb();
  }

  startAgent(): void {
    if (this.agent !== null || !this.powered || this.credential === null) return;
    const { clock } = this.#options;
    const process = new SimProcess(clock);
    const kernel = this.kernel;
    const listener = new MemoryListener(clock, (each) => each === "127.0.0.1" || String(kernel).includes(` ${each}/`));
    const run: AgentRun = { process, listener, running: null };
    this.agent = run;
    this.disturb();
    this.#launch(run).catch((error: unknown) => clock.fail(error));
  }

  async #launch(run: AgentRun): Promise<void> {
    const { process, listener } = run;
    const { network: links, random, log, name } = this.#options;
    const { clock } = process;
    const engine = process.guard(this.engine);
    const kernel = process.guard(this.kernel);
    const proxy = process.guard(this.proxy);
    run.running = await startAgent(
      { serverUrls: ["https://server:8443"], agentVersion: "sim", address: this.address, labels: {} },
      {
        engine,
        clock,
        random: random.fork(),
        log,
        transport: process.guard(new StreamTransport(links, name, process, this.#options.isDenied)),
        prober: process.guard(this.prober),
        checkRunner: null,
        lastKnownFile: process.guard(this.file),
        addressFile: process.guard(this.addressFile),
        networkFile: process.guard(this.networkFile),
        resources: () => Promise.resolve(this.engineUp ? this.resources : { cpus: 0, memoryMiB: 0, diskMiB: 0 }),
      },
      (state) => {
        const network = createNetworkPart({ state, engine, clock, log, network: kernel });
        const settings = defaultProxySettings(proxyPaths("/run/apollo"));
        return {
          network,
          others: [
            createPolicyPart({ state, counters: noCounters, clock, log }),
            createRegistrationPart({ state, engine, clock, log, reportsKnown: () => state.reportsKnown }),
            createDnsPart({
              state,
              clock,
              log,
              random: random.fork(),
              listener: process.guard(listener),
              datagrams: silentDatagrams,
              gateway: () => network.gateway(),
              resolver: fixedResolver([parseIpv4("192.0.2.53")]),
            }),
            createIngressPart({ state, proxy, clock, log, settings }),
          ],
        };
      },
    );
    run.running.done.catch((error: unknown) => this.#options.clock.fail(error));
  }

  killAgent(): void {
    if (this.agent === null) return;
    this.agent.process.kill();
    this.#options.network.crash(this.name);
    this.agent = null;
    this.disturb();
  }

  /** The orderly end; gives the run that ended, for a look at what it left. */
  async stopAgent(): Promise<AgentRun | null> {
    const run = this.agent;
    if (run === null) return null;
    this.disturb();
    await run.running?.stop();
    if (this.agent === run) this.agent = null;
    return run;
  }

  /** Routes that are not ours, as texts, sorted. */
  foreignRoutes(): readonly string[] {
    const routes = String(this.kernel)
      .split("\n")
      .filter((line) => line.startsWith("route ") && !line.endsWith(" ours"));
    return routes.filter((line) => !line.includes("dev apollo")).toSorted();
  }

  /** Destinations of our routes, sorted. */
  ownRoutes(): readonly string[] {
    const routes = String(this.kernel)
      .split("\n")
      .filter((line) => line.startsWith("route ") && line.endsWith(" ours"));
    return routes.map((line) => line.split(" ")[1] ?? "").toSorted();
  }

  #newEngine(): WatchedEngine {
    const { clock, random } = this.#options;
    const images = Object.fromEntries(IMAGES.filter((each) => !PULLED_LATER.has(each)).map((each) => [each, IMAGE]));
    return new WatchedEngine({
      clock,
      images,
      registry: Object.fromEntries(IMAGES.map((each) => [each, IMAGE])),
      latencyMs: {
        list: random.integer(2, 30),
        inspect: random.integer(1, 10),
        create: random.integer(5, 60),
        start: random.integer(20, 400),
        remove: random.integer(5, 80),
        pull: random.integer(100, 3000),
      },
    });
  }

  #newKernel(): FakeHostNetwork {
    const { address, router, clock } = this.#options;
    const kernel = new FakeHostNetwork({
      uplinks: [{ name: "eth0", address, prefix: 24, router }],
      clock,
      latencyMs: 2,
    });
    const route = { destination: OTHERS_ROUTE, via: router, device: "eth0", source: null, mtu: null, onlink: false };
    kernel.disturb({ kind: "put-unmarked-route", route });
    return kernel;
  }
}
