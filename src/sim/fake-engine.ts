import type { Container } from "../model/container.ts";
import { AppError } from "../model/error.ts";
import { cidrAddress, cidrContains, cidrSize, parseCidr } from "../model/ip.ts";
import type { Ipv4 } from "../model/ip.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type {
  ContainerSpec,
  Engine,
  EngineEvent,
  EngineInfo,
  EngineNetwork,
  EngineNetworkSpec,
  ExecSession,
  OutputSink,
} from "../platform/ports/engine.ts";
import { fakeProgram } from "./fake-program.ts";
import type { FakeProgram } from "./fake-program.ts";

export interface FakeImage {
  /** The image's own command. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly exposedPorts: readonly { readonly port: number; readonly protocol: "tcp" | "udp" }[];
}

export type FakeOperation =
  | "list"
  | "inspect"
  | "create"
  | "start"
  | "stop"
  | "remove"
  | "update"
  | "image"
  | "pull"
  | "network"
  | "exec"
  | "logs";

export interface FakeEngineOptions {
  readonly clock: Clock;
  /** How long each operation takes before it has its effect. An engine that answers at once hides lost wake-ups. */
  readonly latencyMs?: Partial<Record<FakeOperation, number>>;
  readonly images: Readonly<Record<string, FakeImage>>;
  /** What can be pulled. */
  readonly registry?: Readonly<Record<string, FakeImage>>;
}

interface FakeContainer {
  readonly id: string;
  readonly spec: ContainerSpec;
  readonly image: FakeImage;
  state: Container["state"];
  exitCode: number | null;
  startedAtMs: number | null;
  finishedAtMs: number | null;
  oomKilled: boolean;
  address: Ipv4 | null;
  pid: number | null;
  stoppedByHand: boolean;
  restart: ContainerSpec["restart"];
  restarts: number;
  /** Grows with every start and end: what was scheduled for an earlier life does not touch a later one. */
  life: number;
  readonly output: { readonly stream: "stdout" | "stderr"; readonly text: string }[];
}

export const FAKE_IMAGE: FakeImage = { argv: ["sleep", "100000"], env: {}, exposedPorts: [] };
const DEFAULT_LATENCY_MS = 2;
/** Docker's first wait before it restarts a container; it doubles. */
const RESTART_DELAY_MS = 100;
const KILLED = 137;

/** An engine in memory, as strict as Docker. `String(engine)` is its whole state. */
export class FakeEngine implements Engine {
  readonly #clock: Clock;
  readonly #latencyMs: Partial<Record<FakeOperation, number>>;
  readonly #containers = new Map<string, FakeContainer>();
  readonly #networks = new Map<string, EngineNetworkSpec & { readonly id: string }>();
  readonly #watchers = new Set<(event: EngineEvent) => void>();
  readonly #failures = new Map<FakeOperation, AppError[]>();
  readonly images: Map<string, FakeImage>;
  readonly registry: Map<string, FakeImage>;
  /** Calls so far, by operation: for budgets on how often the engine is asked. */
  readonly calls = new Map<FakeOperation, number>();
  /** Containers that were started, by name, in order: a double start shows here. */
  readonly starts: string[] = [];
  #reachable = true;
  #count = 0;

  constructor(options: FakeEngineOptions) {
    this.#clock = options.clock;
    this.#latencyMs = options.latencyMs ?? {};
    this.images = new Map(Object.entries(options.images));
    this.registry = new Map(Object.entries(options.registry ?? {}));
  }

  /** Unreachable from now on, its containers running on. */
  goDown(): void {
    this.#reachable = false;
  }

  /** Ends all containers at once, without a word: the host lost its power. */
  shutDown(): void {
    this.#reachable = false;
    for (const container of this.#containers.values()) {
      if (isUp(container)) this.#end(container, KILLED);
    }
  }

  /**
   * Ends as Docker does when it is stopped: it tells all containers to end, and answers for a second more while they do.
   */
  async shutDownGracefully(): Promise<void> {
    const up = [...this.#containers.values()].filter(isUp);
    for (const { id } of up) this.#emit({ kind: "container", action: "kill", id, signal: 15 });
    await this.#clock.sleep(20);
    for (const container of up) {
      if (!isUp(container)) continue;
      this.#end(container, KILLED);
      this.#emit({ kind: "container", action: "die", id: container.id, exitCode: KILLED });
    }
    await this.#clock.sleep(1000);
    this.#reachable = false;
  }

  /** Reachable again; restarts what its policy says, as Docker does before it answers. */
  comeUp(): void {
    for (const container of this.#containers.values()) {
      const wasStarted = container.startedAtMs !== null;
      const restarts = container.restart === "unless-stopped" && !container.stoppedByHand;
      if (container.state === "exited" && wasStarted && restarts) this.#begin(container);
    }
    this.#reachable = true;
    this.#emit({ kind: "lost" });
  }

  /** The next call of that operation fails so, after its latency. */
  failNext(operation: FakeOperation, error: AppError): void {
    this.#failures.set(operation, [...(this.#failures.get(operation) ?? []), error]);
  }

  /** The main process ends, as in a crash. */
  crash(id: string, exitCode: number, oomKilled = false): void {
    const container = this.#find(id);
    if (container === undefined || !isUp(container)) throw new Error(`Cannot crash container "${id}": it does not run`);
    container.oomKilled = oomKilled;
    this.#exit(container, exitCode);
  }

  /** What `listContainers` would give, at once and whether or not it answers: for those who look on. */
  containersNow(): readonly Container[] {
    return [...this.#containers.values()].map(view);
  }

  toString(): string {
    const lines = [...this.#containers.values()].map(
      ({ spec, state, address, exitCode }) =>
        `${spec.name} ${spec.image} ${state}${exitCode === null ? "" : `(${exitCode})`} ${address ?? spec.address ?? "-"}`,
    );
    return lines.toSorted().join("\n");
  }

  async info(): Promise<EngineInfo> {
    await this.#take("inspect", "ask the container engine what it is");
    return { version: "fake", apiVersion: "1.41", cpus: 4, memoryBytes: 8 * 1024 ** 3 };
  }

  async listContainers(): Promise<readonly Container[]> {
    await this.#take("list", "list containers");
    return [...this.#containers.values()].map(view).toSorted((a, b) => (a.id < b.id ? -1 : 1));
  }

  async inspectContainer(idOrName: string): Promise<Container | null> {
    await this.#take("inspect", `inspect container "${idOrName}"`);
    const container = this.#find(idOrName);
    return container === undefined ? null : view(container);
  }

  async createContainer(spec: ContainerSpec): Promise<string> {
    await this.#take("create", `create container "${spec.name}"`);
    const image = this.images.get(spec.image);
    if (image === undefined)
      throw missing("image", `Cannot create container "${spec.name}": No such image: ${spec.image}`);
    if (this.#find(spec.name) !== undefined) throw conflict("name", `the name "${spec.name}" is in use`);
    const id = `${(++this.#count).toString(16).padStart(4, "0")}${"f".repeat(60)}`;
    this.#containers.set(id, {
      id,
      spec,
      image,
      state: "created",
      exitCode: null,
      startedAtMs: null,
      finishedAtMs: null,
      oomKilled: false,
      address: null,
      pid: null,
      stoppedByHand: false,
      restart: spec.restart,
      restarts: 0,
      life: 0,
      output: [],
    });
    this.#emit({ kind: "container", action: "create", id });
    return id;
  }

  async startContainer(id: string): Promise<void> {
    await this.#take("start", `start container "${id}"`);
    const container = this.#find(id);
    if (container === undefined) throw missing("container", `Cannot start container "${id}": No such container`);
    if (isUp(container)) return;
    this.#refuseStart(container);
    container.stoppedByHand = false;
    container.restarts = 0;
    this.#begin(container);
  }

  #refuseStart(container: FakeContainer): void {
    const { spec } = container;
    if (spec.network !== "host" && !this.#networks.has(spec.network)) {
      throw missing("network", `Cannot start container "${spec.name}": network ${spec.network} not found`);
    }
    if (this.#program(container) === null) {
      throw new AppError("invalid", `Cannot start container "${spec.name}": executable file not found in $PATH`, {
        details: { object: "command" },
      });
    }
    const others = [...this.#containers.values()].filter((other) => other !== container && isUp(other));
    if (spec.address !== null && others.some(({ address }) => address === spec.address)) {
      throw conflict("address", `${spec.address}: Address already in use`);
    }
    const ports = others.flatMap((other) => other.spec.publish.map(({ hostPort }) => hostPort));
    const taken = spec.publish.find(({ hostPort }) => hostPort !== 0 && ports.includes(hostPort));
    if (taken !== undefined) throw conflict("port", `${taken.hostPort}: port is already allocated`);
  }

  async stopContainer(id: string, graceMs: number): Promise<void> {
    await this.#take("stop", `stop container "${id}"`);
    const container = this.#find(id);
    if (container === undefined || !isUp(container)) return;
    container.stoppedByHand = true;
    const { life } = container;
    if (container.state === "running") this.#emit({ kind: "container", action: "kill", id: container.id, signal: 15 });
    // Like a shell's sleep as process 1, programs here ignore SIGTERM, so that the grace is felt.
    if (container.state === "running") await this.#clock.sleep(graceMs);
    if (container.life !== life) return;
    if (container.state === "restarting") {
      container.state = "exited";
      container.life += 1;
      return;
    }
    this.#exit(container, KILLED);
  }

  async removeContainer(id: string): Promise<void> {
    await this.#take("remove", `remove container "${id}"`);
    const container = this.#find(id);
    if (container === undefined) return;
    container.stoppedByHand = true;
    if (isUp(container)) {
      this.#emit({ kind: "container", action: "kill", id: container.id, signal: 9 });
      this.#exit(container, KILLED);
    }
    container.life += 1;
    this.#containers.delete(container.id);
    this.#emit({ kind: "container", action: "destroy", id: container.id });
  }

  async setRestart(id: string, restart: ContainerSpec["restart"]): Promise<void> {
    await this.#take("update", `set the restart policy of container "${id}"`);
    const container = this.#find(id);
    if (container === undefined)
      throw missing("container", `Cannot set the restart policy of "${id}": No such container`);
    container.restart = restart;
    this.#emit({ kind: "container", action: "update", id: container.id });
  }

  async hasImage(image: string): Promise<boolean> {
    await this.#take("image", `look up image "${image}"`);
    return this.images.has(image);
  }

  async pullImage(image: string, signal?: AbortSignal): Promise<void> {
    await this.#take("pull", `pull image "${image}"`, signal);
    if (signal?.aborted === true) throw new AppError("unavailable", `Cannot pull image "${image}": it was given up`);
    if (/[A-Z ]/.test(image)) {
      throw new AppError("invalid", `Cannot pull image "${image}": invalid reference format`, {
        details: { object: "image" },
      });
    }
    if (image.startsWith("127.0.0.1:1/")) {
      const details = { object: "image" };
      throw new AppError("unavailable", `Cannot pull image "${image}": connection refused`, { details });
    }
    const found = this.registry.get(image);
    if (found === undefined) throw missing("image", `Cannot pull image "${image}": manifest unknown`);
    this.images.set(image, found);
  }

  async listNetworks(): Promise<readonly EngineNetwork[]> {
    await this.#take("network", "list networks");
    return [...this.#networks.values()].map((network) => ({
      id: network.id,
      name: network.name,
      driver: "bridge",
      subnet: network.subnet,
      ipRange: network.ipRange,
      gateway: network.gateway,
      ip6: network.ip6 ?? null,
      options: network.options,
      containers: Object.fromEntries(
        this.#attached(network.name)
          .map(({ id, address }) => [id, address] as const)
          .filter((pair): pair is [string, Ipv4] => pair[1] !== null),
      ),
    }));
  }

  async createNetwork(spec: EngineNetworkSpec): Promise<string> {
    await this.#take("network", `create network "${spec.name}"`);
    if (this.#networks.has(spec.name)) throw conflict("network", `network with name ${spec.name} already exists`);
    const id = `net${++this.#count}`;
    this.#networks.set(spec.name, { ...spec, id });
    this.#emit({ kind: "network", action: "create", id });
    return id;
  }

  async removeNetwork(name: string): Promise<void> {
    await this.#take("network", `remove network "${name}"`);
    const network = this.#networks.get(name);
    if (network === undefined) return;
    if (this.#attached(name).length > 0) throw conflict("network", `network ${name} has active endpoints`);
    this.#networks.delete(name);
    this.#emit({ kind: "network", action: "destroy", id: network.id });
  }

  async watch(onEvent: (event: EngineEvent) => void, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const end = (): void => resolve();
    signal.addEventListener("abort", end);
    if (!signal.aborted) {
      this.#watchers.add(onEvent);
      if (this.#reachable) onEvent({ kind: "lost" });
      await promise;
    }
    signal.removeEventListener("abort", end);
    this.#watchers.delete(onEvent);
  }

  async logs(
    id: string,
    options: { readonly follow: boolean; readonly tail: number | null; readonly sinceMs: number | null },
    sink: OutputSink,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#take("logs", `read the output of container "${id}"`);
    const container = this.#find(id);
    if (container === undefined)
      throw missing("container", `Cannot read the output of container "${id}": No such container`);
    const pieces = options.tail === null ? container.output : container.output.slice(-options.tail);
    for (const { stream, text } of pieces) await sink(stream, new TextEncoder().encode(text));
    while (options.follow && !signal.aborted && isUp(container)) await this.#clock.sleep(RESTART_DELAY_MS, signal);
  }

  async exec(
    id: string,
    options: { readonly argv: readonly string[]; readonly tty: boolean; readonly stdin: boolean },
    sink: OutputSink,
  ): Promise<ExecSession> {
    await this.#take("exec", `run a program in container "${id}"`);
    const container = this.#find(id);
    if (container === undefined)
      throw missing("container", `Cannot run a program in container "${id}": No such container`);
    if (container.state !== "running")
      throw new AppError("conflict", `Cannot run a program: container ${id} is not running`);
    const program = fakeProgram(options.argv) ?? { output: [], exitAfterMs: 0, exitCode: 127, echo: false };
    const { promise: done, resolve } = Promise.withResolvers<number | null>();
    for (const { stream, text } of program.output) await sink(stream, new TextEncoder().encode(text));
    const closed = new AbortController();
    if (program.exitAfterMs !== null) {
      void this.#clock.sleep(program.exitAfterMs, closed.signal).then(() => resolve(program.exitCode));
    }
    return {
      done,
      write: (bytes) => void (program.echo ? sink("stdout", bytes) : undefined),
      endInput: () => (program.echo ? resolve(program.exitCode) : undefined),
      resize: () => Promise.resolve(),
      close: () => {
        resolve(null);
        closed.abort();
      },
    };
  }

  async #take(operation: FakeOperation, what: string, signal?: AbortSignal): Promise<void> {
    this.calls.set(operation, (this.calls.get(operation) ?? 0) + 1);
    await this.#clock.sleep(this.#latencyMs[operation] ?? DEFAULT_LATENCY_MS, signal);
    if (!this.#reachable) {
      throw new AppError("unavailable", `Cannot ${what}: the container engine does not answer`, {
        details: { object: "engine" },
      });
    }
    const failure = this.#failures.get(operation)?.shift();
    if (failure !== undefined) throw failure;
  }

  #find(idOrName: string): FakeContainer | undefined {
    return this.#containers.get(idOrName) ?? [...this.#containers.values()].find(({ spec }) => spec.name === idOrName);
  }

  #program(container: FakeContainer): FakeProgram | null {
    const { entrypoint, argv } = container.spec;
    return fakeProgram([...(entrypoint ?? []), ...(argv ?? container.image.argv)]);
  }

  #begin(container: FakeContainer): void {
    const program = this.#program(container);
    if (program === null) throw new Error(`Cannot start ${container.spec.name}: no such program`);
    container.state = "running";
    container.exitCode = null;
    container.oomKilled = false;
    container.startedAtMs = this.#clock.nowMs();
    container.address =
      container.spec.network === "host" ? null : (container.spec.address ?? this.#freeAddress(container.spec.network));
    container.pid = 1000 + ++this.#count;
    container.life += 1;
    container.output.push(...program.output);
    this.starts.push(container.spec.name);
    this.#emit({ kind: "container", action: "start", id: container.id });
    if (program.exitAfterMs === null) return;
    const { life } = container;
    void this.#clock.sleep(program.exitAfterMs + 1).then(() => {
      if (container.life === life) this.#exit(container, program.exitCode);
    });
  }

  #exit(container: FakeContainer, exitCode: number): void {
    this.#end(container, exitCode);
    this.#emit({ kind: "container", action: "die", id: container.id, exitCode });
    if (container.restart !== "unless-stopped" || container.stoppedByHand) return;
    container.state = "restarting";
    const { life } = container;
    const delayMs = RESTART_DELAY_MS * 2 ** container.restarts;
    container.restarts += 1;
    void this.#clock.sleep(delayMs).then(() => {
      if (container.life === life && container.state === "restarting") this.#begin(container);
    });
  }

  #end(container: FakeContainer, exitCode: number): void {
    container.state = "exited";
    container.exitCode = exitCode;
    container.finishedAtMs = this.#clock.nowMs();
    container.address = null;
    container.pid = null;
    container.life += 1;
  }

  #attached(network: string): readonly FakeContainer[] {
    return [...this.#containers.values()].filter((container) => container.spec.network === network && isUp(container));
  }

  #freeAddress(name: string): Ipv4 {
    const network = this.#networks.get(name);
    if (network === undefined) throw new Error(`Cannot choose an address: no network ${name}`);
    const range = parseCidr(network.ipRange);
    const used = new Set<string>(this.#attached(name).flatMap(({ address }) => (address === null ? [] : [address])));
    for (const address of [network.gateway, ...Object.values(network.reserved)]) used.add(address);
    for (let index = 0; index < cidrSize(range); index += 1) {
      const address = cidrAddress(range, index);
      if (!used.has(address) && cidrContains(range, address)) return address;
    }
    throw conflict("address", "no available IPv4 addresses on this network's address pools");
  }

  #emit(event: EngineEvent): void {
    if (!this.#reachable) return;
    for (const watcher of this.#watchers) watcher(event);
  }
}

function isUp(container: FakeContainer): boolean {
  return container.state === "running" || container.state === "restarting";
}

function view(container: FakeContainer): Container {
  const { spec, address } = container;
  return {
    id: container.id,
    name: spec.name,
    image: spec.image,
    state: container.state,
    exitCode: container.exitCode,
    startedAtMs: container.startedAtMs,
    finishedAtMs: container.finishedAtMs,
    oomKilled: container.oomKilled,
    env: { ...container.image.env, ...spec.env },
    labels: spec.labels,
    addresses: address === null ? {} : { [spec.network]: address },
    fixedAddress: spec.address,
    exposedPorts: [...container.image.exposedPorts, ...spec.exposedPorts],
    pid: container.pid,
    restart: container.restart,
  };
}

function missing(object: "image" | "container" | "network", message: string): AppError {
  const hint = object === "image" ? { hint: "Push the image to the registry, or check its name and tag" } : {};
  return new AppError("not-found", message, { details: { object }, ...hint });
}

function conflict(object: "name" | "address" | "port" | "network", why: string): AppError {
  return new AppError("conflict", `Cannot do that: ${why}`, { details: { object } });
}
