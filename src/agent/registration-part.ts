import { sameEndpoint } from "../discovery/catalog.ts";
import { type RegistrationContext, deriveEndpoints } from "../discovery/registration/derive-endpoints.ts";
import { deriveNames } from "../discovery/registration/derive-names.ts";
import { deriveHolders } from "../discovery/registration/derive-holders.ts";
import type { Container } from "../model/container.ts";
import { AppError } from "../model/error.ts";
import type { Endpoint } from "../model/endpoint.ts";
import type { Holder } from "../model/holder.ts";
import type { Cidr, Ipv4 } from "../model/ip.ts";
import { isIpv4, parseCidr } from "../model/ip.ts";
import { gatewayOf } from "../network/blocks.ts";
import { policyLabelKeys } from "../model/network-config.ts";
import type { Condition } from "../model/wire.ts";
import { OPTION_NETWORK, PLUGIN_DRIVER } from "../network/parse-plugin-call.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Engine, EngineEvent, EngineNetwork } from "../platform/ports/engine.ts";
import type { Log } from "../platform/ports/log.ts";
import type { ProcessWatcher } from "../platform/ports/process-watcher.ts";
import type { AgentIdentity, AgentPart, AgentState } from "./agent-state.ts";
import { EndedContainers } from "./ended-containers.ts";
import { Limiter } from "./limiter.ts";
import type { Topic } from "./agent-events.ts";

export interface RegistrationPartOptions {
  readonly state: AgentState;
  readonly engine: Pick<Engine, "listContainers" | "inspectContainer" | "listNetworks" | "watch">;
  readonly clock: Clock;
  readonly log: Log;
  /** That all services get beside their own; default none. */
  readonly tags?: readonly string[];
  /** Address of this host; by default what the catalog says of it. */
  readonly hostAddress?: () => Ipv4 | null;
  /**
   * Whether reports of this host's instances are there yet (default: yes). Until then nothing is registered anew: after a
   * restart of the agent a missing report would make every instance with checks critical for a moment, cluster-wide.
   */
  readonly reportsKnown?: () => boolean;
  /** Knows the end of a container before the engine tells; missing: the engine's word is waited for. */
  readonly processes?: ProcessWatcher;
}

const NETWORK_NAME = "apollo";
const BRIDGE_NAME = "apollo0";
/** The engine's own default network, which the operator may have put on our bridge. */
const DEFAULT_NETWORK = "bridge";
const BRIDGE_OPTION = "com.docker.network.bridge.name";
/** Events come in bursts (create, attach, start); listing is many engine calls, and one for the burst will do. */
const LIST_GAP_MS = 50;
/** A busy engine is asked less: listing takes a fifth of the time at most while thirty containers start. */
const LIST_SHARE = 5;
/** Looks at single containers that have just started. */
const LOOKS_AT_ONCE = 4;
const RESYNC_MS = 30_000;
const RETRY_MS = 1000;
/** Events after which a container serves nobody. `kill` comes before, and may be a signal that it survives. */
const DEAD_ACTIONS: ReadonlySet<string> = new Set(["die", "destroy", "pause"]);
/** Events that change nothing that is registered; health checks by `exec` send some of them all the time. */
const IDLE_ACTIONS = /^(exec_|create|kill|stop|attach|detach|top|resize|copy|export|commit|archive|extract)/;

/** Keeps this host's endpoints in step with its containers. */
export function createRegistrationPart(options: RegistrationPartOptions): AgentPart {
  options.state.expectHolders("registration");
  return { name: "registration", run: (signal) => new Registrar(options).run(signal) };
}

class Registrar {
  readonly #options: RegistrationPartOptions;
  #containers: readonly Container[] | null = null;
  #otherNetworks: readonly string[] = [];
  /** The engine's names of networks that are declared ones of ours. */
  #declared: ReadonlyMap<string, string> = new Map();
  #networksKnown = false;
  /** Also a host without endpoints says so once: the server waits for it after a reconnect. */
  #announced = false;
  /** Containers that an event declared dead, until a look that began after the event; with a number of their own for each death. */
  readonly #dead = new Map<string, number>();
  #deaths = 0;
  /** Containers that the engine has not declared dead yet; null without the means to know. */
  readonly #ended: EndedContainers | null;
  readonly #looks = new Limiter(LOOKS_AT_ONCE);
  /** Containers looked at since the listing under way began, which may know less of them; null: none is under way. */
  #looked: Map<string, Container> | null = null;
  /** When checks of containers became critical; whoever is so for too long is looked for with every listing. */
  readonly #criticalSince = new Map<string, number>();
  #holders: ReadonlyMap<string, Holder> | null = null;
  #listFault: Condition | null = null;
  #conditions = "";
  #poked = false;
  #nap = new AbortController();

  constructor(options: RegistrationPartOptions) {
    this.#options = options;
    const { processes } = options;
    this.#ended = processes === undefined ? null : new EndedContainers(processes, () => this.#derive());
  }

  async run(signal: AbortSignal): Promise<void> {
    const { state, engine } = this.#options;
    // What only this host knows changes nothing about its containers: no new listing is needed.
    const topics: readonly Topic[] = [
      "identity",
      "assignments",
      "reports",
      "network-config",
      "imports",
      "names",
      "container-results",
    ];
    const stops = topics.map((topic) => state.on(topic, () => this.#derive()));
    const wake = (): void => this.#nap.abort();
    signal.addEventListener("abort", wake);
    const watching = engine.watch((event) => this.#see(event), signal);
    await Promise.all([watching, this.#loop(signal)]);
    this.#ended?.close();
    signal.removeEventListener("abort", wake);
    for (const stop of stops) stop();
  }

  async #loop(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (!signal.aborted) {
      this.#poked = false;
      this.#nap = new AbortController();
      const startedMs = clock.monotonicMs();
      const clean = await this.#list();
      const tookMs = clock.monotonicMs() - startedMs;
      if (signal.aborted) return;
      if (!this.#poked) await clock.sleep(clean ? RESYNC_MS : RETRY_MS, this.#nap.signal);
      const gap = startedMs + Math.max(LIST_GAP_MS, tookMs * LIST_SHARE) - clock.monotonicMs();
      if (gap > 0) await clock.sleep(gap, signal);
    }
  }

  /** A death is applied from the event itself, within the same turn; all else asks for a listing, and what started for a look before. */
  #see(event: EngineEvent): void {
    if (event.kind === "container" && IDLE_ACTIONS.test(event.action)) return;
    if (event.kind === "container" && DEAD_ACTIONS.has(event.action)) {
      this.#dead.set(event.id, ++this.#deaths);
      this.#derive();
    }
    if (event.kind === "container" && event.action === "start") {
      this.#ended?.forget(event.id);
      void this.#lookAt(event.id);
    }
    if (event.kind === "lost" || (event.kind === "network" && !/connect/.test(event.action)))
      this.#networksKnown = false;
    this.#poked = true;
    this.#nap.abort();
  }

  async #list(): Promise<boolean> {
    const { engine, log } = this.#options;
    const deadBefore = [...this.#dead];
    this.#looked = new Map();
    try {
      this.#take(withLooked(await engine.listContainers(), this.#looked));
      // Whether Docker's default network is on our bridge changes with a restart of the engine, not with containers.
      if (!this.#networksKnown) {
        const ours = (await engine.listNetworks()).filter(isOurs);
        this.#otherNetworks = ours.map(({ name }) => name);
        this.#declared = new Map(
          ours.flatMap(({ name, options: { [OPTION_NETWORK]: of } }) => (of === undefined ? [] : [[name, of]])),
        );
        this.#networksKnown = true;
      }
      for (const [id, death] of deadBefore) this.#forgetDeath(id, death);
      this.#listFault = null;
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      // What was registered stays: an engine that does not answer says nothing about its containers.
      if (this.#listFault === null) log.warn("Cannot list containers for registration", { error });
      this.#listFault = {
        code: "registration-blind",
        severity: "warning",
        text: `New containers are not registered: ${error.message}`,
        hint: error.hint ?? "See whether the container engine runs",
      };
    }
    this.#looked = null;
    this.#derive();
    return this.#listFault === null;
  }

  /** While the engine is busy the next listing may be seconds away; what has just started is wanted in DNS at once. */
  async #lookAt(id: string): Promise<void> {
    const death = this.#dead.get(id);
    // In trouble the listing that follows meets the same, and reports it.
    const container = await this.#looks.run(() => this.#options.engine.inspectContainer(id)).catch(onlyAppError);
    if (container === null || this.#containers === null) return;
    this.#take(withLooked(this.#containers, new Map([[id, container]])));
    this.#looked?.set(id, container);
    if (death !== undefined) this.#forgetDeath(id, death);
    this.#derive();
  }

  #take(containers: readonly Container[]): void {
    this.#containers = containers;
    this.#ended?.follow(containers);
  }

  /** It was looked at since; unless it has died again meanwhile. */
  #forgetDeath(id: string, death: number): void {
    if (this.#dead.get(id) === death) this.#dead.delete(id);
  }

  #derive(): void {
    const { state } = this.#options;
    const ready = this.#options.reportsKnown?.() ?? true;
    if (this.#containers === null || state.identity === null || !ready) {
      this.#report(this.#listFault === null ? [] : [this.#listFault]);
      return;
    }
    this.#noteCritical();
    const isGone = (container: Container): boolean =>
      this.#dead.has(container.id) || this.#ended?.has(container) === true;
    const alive = this.#containers.filter((container) => !isGone(container));
    const context: RegistrationContext = {
      hostName: state.identity.hostName,
      ...this.#hostAddresses(state.identity),
      assignments: state.assignments,
      reports: state.reports,
      engineNetworkName: NETWORK_NAME,
      otherNetworks: this.#otherNetworks,
      tags: this.#options.tags ?? [],
      checkResults: state.containerResults,
      criticalMs: (id) => this.#criticalMs(id),
    };
    const { endpoints: services, checks, conditions } = deriveEndpoints(alive, context);
    state.setContainerChecks(checks);
    const names = deriveNames(alive, { context, services, declared: state.names });
    const endpoints = [...services, ...names, ...state.imports];
    if (!this.#announced || !sameEndpoints(state.localEndpoints(), endpoints)) {
      this.#announced = true;
      state.setLocalEndpoints(keepUnchanged(state.localEndpoints(), endpoints));
    }
    this.#deriveHolders(alive, services, parseCidr(state.identity.settings.range));
    this.#report(this.#listFault === null ? conditions : [this.#listFault, ...conditions]);
  }

  #noteCritical(): void {
    const { containerResults } = this.#options.state;
    for (const id of this.#criticalSince.keys())
      if (containerResults.get(id)?.status !== "critical") this.#criticalSince.delete(id);
    for (const { id, status } of containerResults.values())
      if (status === "critical" && !this.#criticalSince.has(id))
        this.#criticalSince.set(id, this.#options.clock.monotonicMs());
  }

  #criticalMs(id: string): number {
    const sinceMs = this.#criticalSince.get(id);
    return sinceMs === undefined ? 0 : this.#options.clock.monotonicMs() - sinceMs;
  }

  #deriveHolders(containers: readonly Container[], endpoints: readonly Endpoint[], range: Cidr): void {
    const { state } = this.#options;
    const before = this.#holders ?? new Map<string, Holder>();
    const { policies, networks } = state.networkConfig;
    const holders = deriveHolders(containers, {
      hostName: state.identity?.hostName ?? "",
      range,
      otherNetworks: this.#otherNetworks.filter((name) => (this.#declared.get(name) ?? NETWORK_NAME) === NETWORK_NAME),
      networks: [NETWORK_NAME],
      declared: new Map(
        [...this.#declared].filter(([, of]) => networks.some(({ name }) => name === of && name !== NETWORK_NAME)),
      ),
      endpoints,
      labelKeys: policyLabelKeys(policies),
      before,
    });
    if (
      this.#holders !== null &&
      holders.length === before.size &&
      holders.every((holder) => before.get(holder.id) === holder)
    )
      return;
    this.#holders = new Map(holders.map((holder) => [holder.id, holder]));
    state.setLocalHolders("registration", holders);
  }

  /** A host that others reach by IPv6 alone is reached by its gateway in IPv4, whatever carries that. */
  #hostAddresses({ hostName, blocks }: AgentIdentity): Pick<RegistrationContext, "hostAddress" | "hostAddress6"> {
    const { state, hostAddress } = this.#options;
    const address = hostAddress?.() ?? state.hosts.find((host) => host.name === hostName)?.address ?? null;
    if (address === null || isIpv4(address)) return { hostAddress: address, hostAddress6: null };
    return { hostAddress: blocks.length === 0 ? null : gatewayOf(blocks), hostAddress6: address };
  }

  #report(conditions: readonly Condition[]): void {
    const text = JSON.stringify(conditions);
    if (text === this.#conditions) return;
    this.#conditions = text;
    this.#options.state.setConditions("registration", conditions);
  }
}

/** The engine's own default network when the operator put it on our bridge, and what our engine plugin made. */
function isOurs(network: EngineNetwork): boolean {
  if (network.driver === PLUGIN_DRIVER) return true;
  return network.name === DEFAULT_NETWORK && network.options[BRIDGE_OPTION] === BRIDGE_NAME;
}

function withLooked(containers: readonly Container[], looked: ReadonlyMap<string, Container>): readonly Container[] {
  return [...containers.filter(({ id }) => !looked.has(id)), ...looked.values()];
}

function onlyAppError(error: unknown): null {
  if (error instanceof AppError) return null;
  throw error;
}

function sameEndpoints(before: ReadonlyMap<string, Endpoint>, after: readonly Endpoint[]): boolean {
  if (before.size !== after.length) return false;
  return after.every((endpoint) => {
    const known = before.get(endpoint.id);
    return known !== undefined && sameEndpoint(known, endpoint);
  });
}

/** The same objects for endpoints that did not change: readers tell changes by identity. */
function keepUnchanged(before: ReadonlyMap<string, Endpoint>, after: readonly Endpoint[]): readonly Endpoint[] {
  return after.map((endpoint) => {
    const known = before.get(endpoint.id);
    return known !== undefined && sameEndpoint(known, endpoint) ? known : endpoint;
  });
}
