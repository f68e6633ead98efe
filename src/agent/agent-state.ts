import type { CatalogHost, Endpoint } from "../model/endpoint.ts";
import type { ConsulFacts } from "../model/consul.ts";
import type { Holder } from "../model/holder.ts";
import type { HostCheck } from "../model/host-check.ts";
import type { Peer } from "../model/host.ts";
import type { HostId, InstanceId } from "../model/ids.ts";
import type { Assignment } from "../model/instance.ts";
import type { ClusterSettings } from "../model/cluster.ts";
import type { NetworkConfig } from "../model/network-config.ts";
import { EMPTY_NETWORK_CONFIG } from "../model/network-config.ts";
import { AgentQueries } from "./agent-queries.ts";
import type { LinkFacts } from "../network/choose-link-mode.ts";
import type { LeaseProblem, NetworkBlocks } from "../model/lease.ts";
import type { Refusal, ServerMessage } from "../model/wire.ts";
import type { Topic } from "./agent-events.ts";
import type { CatalogTracker } from "./catalog-tracker.ts";
import { KnownCatalog } from "./known-catalog.ts";
import { KnownHolders } from "./known-holders.ts";
import { type HealthRecord, ObservedState } from "./observed-state.ts";

export interface AgentIdentity {
  readonly hostId: HostId;
  readonly hostName: string;
  readonly settings: ClusterSettings;
  /** CIDR texts leased to this host. */
  readonly blocks: readonly string[];
  readonly epoch: string;
  /** Blocks of declared networks, by network. */
  readonly networks?: NetworkBlocks;
  /** Signs probes between hosts, base64url; missing while only older servers were met. */
  readonly probeKey?: string;
}

/** What the server last told this agent: kept on disk, so that all of the agent runs without a server. */
export interface LastKnown {
  readonly identity: AgentIdentity | null;
  readonly assignments: readonly Assignment[];
  readonly endpoints: readonly Endpoint[];
  readonly hosts: readonly CatalogHost[];
  readonly peers: readonly Peer[];
  readonly revision: number;
  readonly networkConfig?: NetworkConfig;
  readonly holders?: readonly Holder[];
  readonly consul?: ConsulFacts;
  /** So that a restarted agent does not take healthy instances out of DNS until it has checked them again. */
  readonly health?: readonly HealthRecord[];
  /** Checks that clients registered on this host, with what they said last. */
  readonly checks?: readonly HostCheck[];
  /** So that a restarted agent leaves routes as measurement had them; missing when nothing was measured. */
  readonly links?: readonly (readonly [HostId, LinkFacts])[];
}

const RESTORED_TOPICS: readonly Topic[] = [
  "identity",
  "assignments",
  "catalog",
  "peers",
  "network-config",
  "holders",
  "checks",
  "consul",
];

/** What a server says of leases besides the blocks. */
type Leases = Pick<ServerMessage & { readonly type: "blocks" }, "networks" | "networkProblems" | "leaseProblem">;

const NO_SERVER: LeaseProblem = {
  text: "No server leases further blocks to this host now",
  hint: "Reconnect the host to a server: apollo host list",
};

/**
 * The one place where the agent's parts meet. Parts read what they need, write only what is theirs, and are woken by
 * topic; they never call each other.
 */
export class AgentState extends ObservedState {
  identity: AgentIdentity | null = null;
  /** A server is connected and has sent its whole list of assignments: what is missing from it is not wanted. */
  connected = false;
  /** The server that welcomed this agent last, as `https://host:port`. */
  serverUrl: string | null = null;
  /** What a server told of Consul's API; null while none did. */
  consul: ConsulFacts | null = null;
  /** Set while no server takes this host as the one it says it is: it serves nobody and starts nothing. */
  refusal: Refusal | null = null;
  /** Why there is no further block; null: one is leased when it is needed. A server of before leases none. */
  leaseProblem: LeaseProblem | null = NO_SERVER;
  readonly assignments = new Map<InstanceId, Assignment>();
  readonly peers = new Map<HostId, Peer>();
  /** Of the catalog. */
  hosts: readonly CatalogHost[] = [];
  /** What operators declared about the network. */
  networkConfig: NetworkConfig = EMPTY_NETWORK_CONFIG;
  /** Of this host, as its agent was started with. */
  labels: Readonly<Record<string, string>> = {};
  readonly queries = new AgentQueries();
  /** The `localRevision` that this host's ingress serves; null when it has none. */
  releasedRevision: number | null = null;
  /** By id: checks that clients registered on this host. */
  readonly checks = new Map<string, HostCheck>();
  readonly #catalog = new KnownCatalog({
    isRemoved: () => this.isRemoved(),
    own: () => this.identity?.hostName,
    isLeaving: (id) => (this.assignments.get(id)?.instance.goal ?? "running") !== "running",
  });
  readonly #holders = new KnownHolders({
    own: () => this.identity?.hostName,
    members: () => new Set([...this.peers.values()].map(({ name }) => name)),
  });
  readonly #applied = new Map<string, number>();

  /** What the catalog was last told as: all that is served here is of some revision. */
  get catalogRevision(): number {
    return this.#catalog.revision;
  }

  /** This host's own endpoints were looked at. */
  get localKnown(): boolean {
    return this.#catalog.localKnown;
  }

  /** Grows with every change of this host's own endpoints. */
  get localRevision(): number {
    return this.#catalog.localRevision;
  }

  /** Endpoints to answer with, by id. */
  endpoints(): readonly Endpoint[] {
    return this.#catalog.sorted();
  }

  /** As `endpoints` with those that only name a container, neither copied nor sorted: for readers that keep an index of their own and look for what changed. */
  eachEndpoint(): Iterable<Endpoint> {
    return this.#catalog.each();
  }

  /** The one of `eachEndpoint` with that id, or null. */
  endpointOf(id: string): Endpoint | null {
    return this.#catalog.find(id);
  }

  /** Tells a reader which endpoints of other hosts changed; those of this host are few, see `localEndpoints`. */
  trackCatalog(): CatalogTracker {
    return this.#catalog.track();
  }

  isRemoved(): boolean {
    return this.refusal?.code === "host-removed";
  }

  localEndpoints(): ReadonlyMap<string, Endpoint> {
    return this.#catalog.local();
  }

  /** Written by the registration part, whole. */
  setLocalEndpoints(endpoints: readonly Endpoint[]): void {
    this.#catalog.setLocal(endpoints);
    this.emit("local");
    this.emit("catalog");
  }

  /** Who holds which address: on other hosts as the server says, on this one as seen here. */
  holders(): readonly Holder[] {
    return this.#holders.all();
  }

  localHolders(): readonly Holder[] {
    return this.#holders.local();
  }

  /** This host's own were seen, or are remembered from before the agent was restarted. */
  localHoldersKnown(): boolean {
    return this.#holders.isLocalKnown();
  }

  /** That part will tell holders: until then those that are remembered count. */
  expectHolders(part: string): void {
    this.#holders.expect(part);
  }

  /** Each part tells whole what it knows of this host. */
  setLocalHolders(part: string, holders: readonly Holder[]): void {
    this.#holders.setLocal(part, holders);
    this.emit("holders");
  }

  /** Which catalog revision a part serves; null when it serves nothing that a drain would have to wait for. */
  setApplied(part: "dns" | "ingress" | "outside", revision: number | null): void {
    const before = this.appliedRevision();
    if (revision === null) this.#applied.delete(part);
    else this.#applied.set(part, revision);
    // A drain waits for the slowest host: the server is to hear of it at once.
    if (this.appliedRevision() !== before) this.emit("applied");
  }

  /** Written by the ingress part: it sends requests to no endpoint that left up to this `localRevision`. */
  setReleased(localRevision: number): void {
    if (localRevision === this.releasedRevision) return;
    this.releasedRevision = localRevision;
    this.emit("released");
  }

  /** The revision that everything on this host serves at least. */
  appliedRevision(): number {
    return Math.min(this.catalogRevision, ...this.#applied.values());
  }

  /** Revisions of a former server do not compare with those of this one. */
  #forgetRevisions(): void {
    this.#catalog.revision = 0;
    for (const part of this.#applied.keys()) this.#applied.set(part, 0);
  }

  /**
   * This host is not the member it thinks it is. One that was removed forgets all that is not its own any more: its
   * instances were replaced and its blocks are others'. A copy of a member only keeps still, since it may be wrong.
   */
  refuse(refusal: Refusal): void {
    if (this.refusal?.text === refusal.text || this.isRemoved()) return;
    this.refusal = refusal;
    const { code, text, hint } = refusal;
    this.setConditions("link", [{ code, severity: "error", text, hint }]);
    if (code === "host-removed") {
      this.assignments.clear();
      this.#catalog.forget();
      this.peers.clear();
      this.checks.clear();
      this.hosts = [];
    }
    for (const topic of ["identity", "assignments", "catalog", "peers", "checks", "connection"] as const)
      this.emit(topic);
  }

  setConnected(connected: boolean): void {
    this.connected = connected;
    if (!connected) this.leaseProblem = NO_SERVER;
    this.emit("connection");
  }

  /** Takes over what the server sent. Channel messages are not for the state. */
  receive(message: ServerMessage): void {
    switch (message.type) {
      case "welcome":
        this.#welcome(message);
        return this.emit("identity");
      case "blocks":
        if (this.identity === null) return;
        this.identity = { ...this.identity, blocks: message.blocks };
        this.#takeLeases(message);
        return this.emit("identity");
      case "refused":
        return this.refuse(message.refusal);
      case "assignments":
        change(this.assignments, message, ({ instance }) => instance.id);
        return this.emit("assignments");
      case "catalog":
        this.#catalog.receive(message);
        if (message.hosts !== null) this.hosts = message.hosts;
        if (message.hostChanges !== undefined) this.hosts = changedHosts(this.hosts, message.hostChanges);
        return this.emit("catalog");
      case "peers":
        this.peers.clear();
        for (const peer of message.peers) this.peers.set(peer.id, peer);
        return this.emit("peers");
      case "peer-changes":
        for (const id of message.remove) this.peers.delete(id);
        for (const peer of message.upsert) this.peers.set(peer.id, peer);
        return this.emit("peers");
      case "network-config":
        this.networkConfig = message.config;
        return this.emit("network-config");
      case "consul":
        this.consul = message.consul;
        return this.emit("consul");
      case "holders":
        this.#holders.receive(message);
        return this.emit("holders");
      case "checks":
        change(this.checks, message, ({ id }) => id);
        return this.emit("checks");
      case "check-report":
        for (const hear of this.checkReporters) hear(message.result);
        return;
      default:
        return;
    }
  }

  #welcome(message: ServerMessage & { readonly type: "welcome" }): void {
    const { hostId, hostName, settings, blocks, epoch } = message;
    if (this.identity?.epoch !== epoch) this.#forgetRevisions();
    // Endpoints of the own name are not answered with.
    if (this.identity?.hostName !== hostName) this.#catalog.noteAll();
    const probeKey = message.probeKey ?? this.identity?.probeKey;
    this.identity = { hostId, hostName, settings, blocks, epoch, ...(probeKey === undefined ? {} : { probeKey }) };
    this.#takeLeases({
      ...message,
      leaseProblem: message.leaseProblem === undefined ? NO_SERVER : message.leaseProblem,
    });
    if (this.refusal !== null) this.setConditions("link", []);
    this.refusal = null;
  }

  /** Blocks of declared networks, and why there are no further ones. */
  #takeLeases({ networks = {}, networkProblems = {}, leaseProblem }: Leases): void {
    if (this.identity !== null) this.identity = { ...this.identity, networks };
    this.networkProblems = networkProblems;
    this.leaseProblem = leaseProblem;
  }

  snapshot(): LastKnown {
    return {
      identity: this.identity,
      assignments: [...this.assignments.values()],
      endpoints: this.#catalog.told(),
      hosts: this.hosts,
      peers: [...this.peers.values()],
      revision: this.catalogRevision,
      networkConfig: this.networkConfig,
      holders: this.holders(),
      health: [...this.health.values()],
      checks: [...this.checks.values()].map((check) => ({
        ...check,
        status: this.checkResults.get(check.id)?.status ?? check.status,
      })),
      ...(this.consul === null ? {} : { consul: this.consul }),
      ...(this.linkFacts === null ? {} : { links: [...this.linkFacts] }),
    };
  }

  restore(known: LastKnown): void {
    this.identity = known.identity;
    for (const assignment of known.assignments) this.assignments.set(assignment.instance.id, assignment);
    this.#catalog.restore(known.endpoints);
    this.hosts = known.hosts;
    for (const peer of known.peers) this.peers.set(peer.id, peer);
    for (const record of known.health ?? []) this.health.set(record.instanceId, record);
    for (const check of known.checks ?? []) this.checks.set(check.id, check);
    if (known.links !== undefined) this.linkFacts = new Map(known.links);
    this.#holders.restore(known.holders ?? []);
    this.networkConfig = known.networkConfig ?? EMPTY_NETWORK_CONFIG;
    this.consul = known.consul ?? null;
    for (const topic of RESTORED_TOPICS) this.emit(topic);
  }
}

/** Sorted by name, as a server sends all of them. */
function changedHosts(
  hosts: readonly CatalogHost[],
  { upsert, remove }: { readonly upsert: readonly CatalogHost[]; readonly remove: readonly string[] },
): readonly CatalogHost[] {
  const byName = new Map(hosts.map((host) => [host.name, host]));
  for (const name of remove) byName.delete(name);
  for (const host of upsert) byName.set(host.name, host);
  return [...byName.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** What came, changed and went, on top of what is there unless `reset`. */
function change<Key, Value>(
  map: Map<Key, Value>,
  message: { readonly reset: boolean; readonly upsert: readonly Value[]; readonly remove: readonly Key[] },
  keyOf: (value: Value) => Key,
): void {
  if (message.reset) map.clear();
  for (const value of message.upsert) map.set(keyOf(value), value);
  for (const key of message.remove) map.delete(key);
}

/** A part of the agent: started after the last known state was restored, stopped by the signal. */
export interface AgentPart {
  readonly name: string;
  run(signal: AbortSignal): Promise<void>;
}
