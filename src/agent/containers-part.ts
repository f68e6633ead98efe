import { AppError } from "../model/error.ts";
import type { InstanceId } from "../model/ids.ts";
import type { InstanceStatus } from "../model/instance.ts";
import type { Ipv4 } from "../model/ip.ts";
import type { HostAddress } from "../model/ip6.ts";
import type { Condition } from "../model/wire.ts";
import { ReconcileLoop } from "../platform/loop/reconcile-loop.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Engine } from "../platform/ports/engine.ts";
import type { Log } from "../platform/ports/log.ts";
import type { AddressBook } from "./address-book.ts";
import type { AgentPart, AgentState } from "./agent-state.ts";
import type { Topic } from "./agent-events.ts";
import { runContainerJob } from "./container-job.ts";
import type { FailedStatus, JobContext, JobResult } from "./container-job.ts";
import { ContainerTable } from "./container-table.ts";
import { ImagePuller } from "./image-puller.ts";
import { endedStatus, sameStatus } from "./instance-status.ts";
import { Limiter } from "./limiter.ts";
import { instanceOf } from "./instance-container.ts";
import {
  addressesInEngine,
  ENGINE_END_MS,
  isForeign,
  planContainers,
  SECURE_AFTER_MS,
  TOLD_SETTLE_MS,
} from "./plan-containers.ts";
import type { ContainerAction, ContainerNetwork, KnownAddresses, ObservedContainers } from "./plan-containers.ts";

export interface ContainersPartOptions {
  readonly state: AgentState;
  readonly engine: Engine;
  readonly clock: Clock;
  readonly log: Log;
  /** Address of this host, for instances on its own network. */
  readonly hostAddress: HostAddress;
  readonly book: AddressBook;
  /** What the network part has made; topic `conditions` tells of a change. */
  readonly network: {
    /** Null until containers can use it. */
    gateway(): Ipv4 | null;
    engineNetwork(): ContainerNetwork | null;
    /** Engine networks of declared networks, by their name; missing where there are none. */
    declared?(): ReadonlySet<string>;
  };
}

/**
 * Docker starts 3 containers a second one at a time, 5.6 two at a time, 6.0 four at a time and no more with eight
 * (2 cores, 20.10): four keep it busy, more would only make each start late.
 */
const STARTS_AT_ONCE = 4;
/** A stop mostly waits out the grace and costs the engine little. */
const STOPS_AT_ONCE = 16;
/** A server that restarts is back sooner; until then nothing is started that a server may have given up. */
const ALONE_AFTER_MS = 10_000;
/** An ingress that does not come to it in this time is in trouble itself, and its clients with it. */
const RELEASE_MS_MAX = 2000;
const NO_NETWORKS: ReadonlySet<string> = new Set();
const TOPICS: readonly Topic[] = ["assignments", "identity", "health", "conditions", "connection"];

interface Job {
  readonly kind: ContainerAction["kind"];
  status: InstanceStatus;
  readonly address: Ipv4 | null;
  /** What it has created. */
  containerId: string | null;
}

/** Keeps exactly the assigned instances running on this host, and says how they are. */
export function createContainersPart(options: ContainersPartOptions): AgentPart {
  return { name: "containers", run: (signal) => new ContainersPart(options, signal).run() };
}

class ContainersPart {
  readonly #options: ContainersPartOptions;
  readonly #signal: AbortSignal;
  readonly #table: ContainerTable;
  readonly #puller: ImagePuller;
  readonly #starts = new Limiter(STARTS_AT_ONCE);
  readonly #stops = new Limiter(STOPS_AT_ONCE);
  readonly #busy = new Map<InstanceId, Job>();
  readonly #running = new Set<Promise<void>>();
  readonly #failures = new Map<InstanceId, FailedStatus>();
  readonly #loop: ReconcileLoop<ObservedContainers, ContainerAction>;
  #disconnectedAtMs: number;
  #fault = "";
  #blocked = "[]";

  constructor(options: ContainersPartOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
    this.#table = new ContainerTable(options.engine, options.clock);
    this.#puller = new ImagePuller(options.engine);
    this.#disconnectedAtMs = options.clock.monotonicMs();
    this.#loop = new ReconcileLoop(
      {
        name: "containers",
        observe: () => this.#observe(),
        plan: (observed) => this.#plan(observed),
        apply: (action) => Promise.resolve(this.#launch(action)),
      },
      {
        clock: options.clock,
        onFailure: (error) => this.#blame(error),
        onPass: (clean) => clean && this.#blame(null),
      },
    );
  }

  async run(): Promise<void> {
    const { state, engine, clock } = this.#options;
    const poke = (): void => this.#loop.poke();
    const stops = TOPICS.map((topic) => state.on(topic, poke));
    stops.push(state.on("connection", () => this.#seeConnection()));
    this.#seeConnection();
    // What an agent before us started moments ago has proven itself by then.
    this.#lookAgain([SECURE_AFTER_MS]);
    const watching = engine.watch((event) => {
      if (event.kind === "container" && event.action === "destroy") this.#seeRemoval(event.id);
      const waitMs = this.#table.see(event, state.connected);
      if (event.kind === "container" && event.action === "die") this.#seeDeath(event.id);
      if (waitMs === 0) poke();
      else if (waitMs !== null) void clock.sleep(waitMs, this.#signal).then(poke);
    }, this.#signal);
    await Promise.all([watching, this.#loop.run(this.#signal)]);
    for (const stop of stops) stop();
    await Promise.all(this.#running);
  }

  #seeConnection(): void {
    const { state, clock } = this.#options;
    if (state.connected) return;
    this.#disconnectedAtMs = clock.monotonicMs();
    void clock.sleep(ALONE_AFTER_MS, this.#signal).then(() => this.#loop.poke());
  }

  /**
   * The engine starts a crashed container again after 100 ms. A pass, with a job that has to end first, may take
   * longer, so the restart is taken back right here; all else about the death is left to the pass.
   */
  #seeDeath(containerId: string): void {
    const { state, engine } = this.#options;
    if (state.connected && this.#table.deaths().get(containerId)?.told === false && this.#isWanted(containerId)) {
      engine.stopContainer(containerId, 0).catch((error: unknown) => {
        if (!(error instanceof AppError)) throw error;
        // The job that condemns the instance meets the same trouble, and reports it.
      });
    }
    // Whether a hand or the engine's end was behind a death shows only a while later.
    this.#lookAgain([TOLD_SETTLE_MS, ENGINE_END_MS]);
  }

  #lookAgain(waitsMs: readonly number[]): void {
    for (const waitMs of waitsMs) {
      void this.#options.clock.sleep(waitMs, this.#signal).then(() => this.#loop.poke());
    }
  }

  /** Ours, and not on its way out by a job of ours already. */
  #isWanted(containerId: string): boolean {
    if ([...this.#busy.values()].some((job) => job.containerId === containerId)) return true;
    const container = this.#table.containers().find(({ id }) => id === containerId);
    const id = container === undefined ? null : instanceOf(container);
    const kind = id === null ? undefined : this.#busy.get(id)?.kind;
    return id !== null && kind !== "stop" && kind !== "condemn";
  }

  /** In a server's sight a container that someone removes is an instance that failed: the server makes another. */
  #seeRemoval(containerId: string): void {
    const { state, clock } = this.#options;
    const container = this.#table.containers().find(({ id }) => id === containerId);
    const id = container === undefined ? null : instanceOf(container);
    if (id === null || !state.connected || this.#busy.has(id) || !state.assignments.has(id)) return;
    const reason = "The instance's container was removed by hand";
    this.#failures.set(id, { phase: "failed", reason, exitCode: null, atMs: clock.nowMs() });
  }

  async #observe(): Promise<ObservedContainers> {
    await this.#table.refresh(this.#busy);
    const { clock, network, hostAddress } = this.#options;
    const containers = this.#table.containers();
    return {
      containers,
      deaths: this.#table.deaths(),
      told: new Set(containers.map(({ id }) => id).filter((id) => this.#table.isTold(id))),
      busy: this.#busy,
      failures: this.#failures,
      // Without the gateway there is no DNS yet that the container could be given.
      network: network.gateway() === null ? null : network.engineNetwork(),
      declared: network.declared?.() ?? NO_NETWORKS,
      addresses: this.#knownAddresses(),
      hostAddress,
      nowMs: clock.nowMs(),
    };
  }

  #knownAddresses(): KnownAddresses {
    const { state, book } = this.#options;
    const { identity, connected, leaseProblem } = state;
    const problem = connected ? (leaseProblem?.text ?? null) : "No server is connected to lease a further block";
    const taken = new Set(book.owners().values());
    return {
      blocks: identity?.blocks ?? [],
      open: book.openBlocks(),
      engineRange: state.engineRange,
      taken,
      ...book.past(),
      problem,
    };
  }

  #plan(seen: ObservedContainers): readonly ContainerAction[] {
    const { state, clock, book } = this.#options;
    const held = [...this.#busy].flatMap(([id, { address }]) => (address === null ? [] : [[id, address] as const]));
    book.see(addressesInEngine(seen.containers), new Map(held));
    // Others may have taken addresses while the engine was looked at.
    const observed = { ...seen, addresses: this.#knownAddresses() };
    for (const id of this.#failures.keys()) if (!state.assignments.has(id)) this.#failures.delete(id);
    const plan = planContainers(
      {
        assignments: state.assignments,
        health: state.health,
        // What is not wanted by a cluster that this host is no member of, is not wanted.
        connected: state.connected || state.isRemoved(),
        alone:
          state.refusal === null && !state.connected && clock.monotonicMs() - this.#disconnectedAtMs >= ALONE_AFTER_MS,
      },
      observed,
    );
    book.setWaiting(plan.waiting);
    for (const action of plan.actions) {
      if (action.kind === "create" && action.address !== null) book.hold(action.id, action.address);
    }
    this.#tellBlocked(plan.blocked, observed);
    for (const [id, status] of plan.reports) this.#report(id, status);
    for (const id of state.reports.keys()) {
      if (!plan.reports.has(id) && !state.assignments.has(id)) this.#report(id, null);
    }
    state.setReportsKnown();
    // Identity tells the host's name and domain, which go into every container.
    return state.identity === null ? [] : plan.actions;
  }

  /** Addresses that are in the way, or on the wrong host. */
  #tellBlocked(blocked: readonly string[], observed: ObservedContainers): void {
    const { state } = this.#options;
    const foreign = observed.containers.filter((each) => instanceOf(each) === null && isForeign(each, observed));
    const conditions: Condition[] = [
      ...blocked.map((text) => ({
        code: "address-taken",
        severity: "error" as const,
        text,
        hint: "Remove or move what has the address: docker ps --all --filter network=apollo",
      })),
      ...foreign.map(({ name }) => ({
        code: "address-foreign",
        severity: "error" as const,
        text: `Container "${name}" has an address outside of this host's blocks: nothing reaches it`,
        hint: `Make it anew: docker rm --force ${name}, then docker run --network apollo`,
      })),
    ];
    const text = JSON.stringify(conditions);
    if (text === this.#blocked) return;
    this.#blocked = text;
    state.setConditions("container-addresses", conditions);
  }

  #report(id: InstanceId, status: InstanceStatus | null): void {
    const { state } = this.#options;
    const before = state.reports.get(id);
    if (status === null ? before === undefined : before !== undefined && sameStatus(before, status)) return;
    state.setReport(id, status);
  }

  #launch(action: ContainerAction): void {
    const address = action.kind === "create" ? action.address : null;
    const job: Job = { kind: action.kind, status: this.#firstStatus(action), address, containerId: null };
    this.#busy.set(action.id, job);
    this.#table.touch(action.id);
    this.#report(action.id, job.status);
    const running = this.#perform(action, job).finally(() => {
      this.#running.delete(running);
    });
    this.#running.add(running);
  }

  /** Nothing is said of a death before the engine has answered: it may be going down itself, and bring the instance back. */
  #firstStatus(action: ContainerAction): InstanceStatus {
    const sinceMs = this.#options.clock.nowMs();
    if (action.kind === "stop") return { phase: "stopping", sinceMs };
    const before = this.#options.state.reports.get(action.id);
    if (action.kind === "secure" && before !== undefined) return before;
    if (action.kind === "condemn") return before ?? endedStatus(action.exitCode, sinceMs);
    return { phase: "staging", step: "waiting", sinceMs };
  }

  async #perform(action: ContainerAction, job: Job): Promise<void> {
    const { clock, log } = this.#options;
    let retryMs = 0;
    try {
      const result = await runContainerJob(action, this.#jobContext(action.id, job));
      this.#take(action, result);
      const starting = action.kind === "create" || action.kind === "start";
      if (result.kind === "again" || (starting && result.kind === "absent")) retryMs = AGAIN_AFTER_MS;
      log.debug("container job done", { action: action.kind, instance: action.id, result: result.kind });
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      if (!this.#signal.aborted) this.#blame(error);
      retryMs = RETRY_MS;
    }
    this.#table.touch(action.id);
    // The job stays on the books while it waits, so that no pass starts it again at once.
    if (retryMs !== 0) await clock.sleep(retryMs, this.#signal);
    this.#busy.delete(action.id);
    this.#loop.poke();
  }

  #jobContext(id: InstanceId, job: Job): JobContext {
    const { state, engine, clock, network } = this.#options;
    return {
      engine,
      clock,
      signal: this.#signal,
      starts: this.#starts,
      stops: this.#stops,
      pull: (image) => this.#puller.pull(image, this.#signal),
      progress: (status) => {
        job.status = status;
        this.#report(id, status);
      },
      created: (containerId) => {
        job.containerId = containerId;
      },
      released: () => this.#awaitRelease(),
      assignment: () => state.assignments.get(id),
      placement: (name, address) => ({
        hostName: state.identity?.hostName ?? "",
        network: name,
        address,
        host6: network.engineNetwork()?.host6 ?? null,
        gateway: network.gateway(),
        dnsDomain: state.identity?.settings.dnsDomain ?? "",
      }),
    };
  }

  async #awaitRelease(): Promise<void> {
    const { state, clock } = this.#options;
    // Before this host's own endpoints are known, its ingress goes on with those that the agent before it had.
    let wanted: number | null = null;
    const waits = (): boolean => {
      if (state.localKnown) wanted ??= state.localRevision;
      return state.releasedRevision !== null && (wanted === null || state.releasedRevision < wanted);
    };
    if (!waits() || this.#signal.aborted) return;
    const nap = new AbortController();
    const wake = (): void => nap.abort();
    const off = state.on("released", () => (waits() ? undefined : wake()));
    this.#signal.addEventListener("abort", wake);
    await clock.sleep(RELEASE_MS_MAX, nap.signal);
    this.#signal.removeEventListener("abort", wake);
    off();
  }

  #take(action: ContainerAction, result: JobResult): void {
    const { log } = this.#options;
    if (action.kind === "stop" || action.kind === "condemn") this.#table.settle(action.containerId);
    switch (result.kind) {
      case "present":
        this.#failures.delete(action.id);
        this.#table.put(result.container);
        if (result.container.restart === "no") this.#lookAgain([SECURE_AFTER_MS]);
        return;
      case "absent":
        if ("containerId" in action) this.#table.forget(action.containerId);
        return;
      case "failed":
        this.#failures.set(action.id, result.status);
        if (result.container !== null) this.#table.put(result.container);
        else if ("containerId" in action) this.#table.forget(action.containerId);
        log.warn("instance failed", { instance: action.id, reason: result.status.reason });
        return;
      case "again":
        if ("containerId" in action) this.#table.suspect(action.containerId);
        return;
    }
  }

  #blame(error: AppError | null): void {
    const { state, log } = this.#options;
    const text = error === null ? "" : error.message;
    if (error !== null) this.#table.expire();
    if (text === this.#fault) return;
    this.#fault = text;
    if (error === null) {
      state.setConditions("containers", []);
      return;
    }
    log.warn(error.message, { hint: error.hint, ...error.details });
    const hint = error.hint ?? "See what the container engine says: journalctl -u docker";
    state.setConditions("containers", [{ code: "engine-unavailable", severity: "error", text: error.message, hint }]);
  }
}

/** The world was not as planned; another look a moment later finds it settled, and a plan that never fits costs little. */
const AGAIN_AFTER_MS = 200;
const RETRY_MS = 1000;
