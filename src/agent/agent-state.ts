import { type CatalogHost, type Endpoint, isNameOnly } from "../model/endpoint.ts";
import type { Peer } from "../model/host.ts";
import type { HostId, InstanceId } from "../model/ids.ts";
import type { Assignment, CheckResult, InstanceHealth, InstanceStatus } from "../model/instance.ts";
import type { Ipv4 } from "../model/ip.ts";
import type { ClusterSettings } from "../model/cluster.ts";
import type { NetworkConfig } from "../model/network-config.ts";
import { EMPTY_NETWORK_CONFIG } from "../model/network-config.ts";
import type { Condition, ServerMessage } from "../model/wire.ts";
import type { LocalPort } from "../network/local-port.ts";
import type { RulesetPart } from "../network/render-ruleset.ts";
import { AgentQueries } from "./agent-queries.ts";

export interface AgentIdentity {
  readonly hostId: HostId;
  readonly hostName: string;
  readonly settings: ClusterSettings;
  /** CIDR texts leased to this host. */
  readonly blocks: readonly string[];
  readonly epoch: string;
}

/** What the health part found out about an instance's container. */
export interface HealthRecord {
  readonly instanceId: InstanceId;
  /** Results of another container of the same instance say nothing about this one. */
  readonly containerId: string;
  readonly health: InstanceHealth;
  readonly checks: readonly CheckResult[];
  readonly condemned: boolean;
}

/** A name that containers of the whole cluster can look up, and that no container of the engine has. */
export interface LocalName {
  /** Unique on this host. */
  readonly owner: string;
  readonly name: string;
  readonly address: Ipv4;
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
  /** So that a restarted agent does not take healthy instances out of DNS until it has checked them again. */
  readonly health?: readonly HealthRecord[];
}

export type Topic =
  | "identity"
  | "assignments"
  | "catalog"
  | "peers"
  | "network-config"
  | "ports"
  | "rules"
  | "names"
  /** What `wiredPorts` of the attach parts gives has changed. */
  | "wired"
  | "local"
  | "reports"
  | "health"
  | "applied"
  | "released"
  | "connection"
  | "conditions";

/**
 * The one place where the agent's parts meet. Parts read what they need, write only what is theirs, and are woken by
 * topic; they never call each other.
 */
export class AgentState {
  identity: AgentIdentity | null = null;
  /** A server is connected and has sent its whole list of assignments: what is missing from it is not wanted. */
  connected = false;
  catalogRevision = 0;
  readonly assignments = new Map<InstanceId, Assignment>();
  readonly peers = new Map<HostId, Peer>();
  hosts: readonly CatalogHost[] = [];
  /** What operators declared about the network. */
  networkConfig: NetworkConfig = EMPTY_NETWORK_CONFIG;
  /** This host's ends of the containers' interfaces; see `setPorts`. */
  ports: readonly LocalPort[] = [];
  /** Written by the attach part: attachments and exposed addresses. */
  names: readonly LocalName[] = [];
  readonly queries = new AgentQueries();
  /** By instance: what this host observes of its assignments. Written by the containers part. */
  readonly reports = new Map<InstanceId, InstanceStatus>();
  /** The containers part has seen this host's containers: before that, missing reports mean nothing. */
  reportsKnown = false;
  /** The same for this host's own endpoints. */
  localKnown = false;
  /** Grows with every change of this host's own endpoints. */
  localRevision = 0;
  /** The `localRevision` that this host's ingress serves; null when it has none. */
  releasedRevision: number | null = null;
  /** Written by the health part. */
  readonly health = new Map<InstanceId, HealthRecord>();
  readonly #catalog = new Map<string, Endpoint>();
  #local: ReadonlyMap<string, Endpoint> = new Map();
  readonly #conditions = new Map<string, readonly Condition[]>();
  readonly #applied = new Map<string, number>();
  readonly #rules = new Map<string, RulesetPart>();
  readonly #listeners = new Map<Topic, Set<() => void>>();

  on(topic: Topic, listener: () => void): () => void {
    const set = this.#listeners.get(topic) ?? new Set();
    this.#listeners.set(topic, set.add(listener));
    return () => set.delete(listener);
  }

  emit(topic: Topic): void {
    for (const listener of this.#listeners.get(topic) ?? []) listener();
  }

  /**
   * Endpoints to answer with: other hosts' from the server, this host's own as seen here, fresher than any server. An
   * instance that is to go is left out the moment its assignment says so, before any part has looked at it.
   */
  endpoints(): readonly Endpoint[] {
    const own = this.identity?.hostName;
    const leaving = (id: InstanceId | null): boolean =>
      id !== null && (this.assignments.get(id)?.instance.goal ?? "running") !== "running";
    const others = [...this.#catalog.values()].filter((endpoint) => endpoint.host !== own && !isNameOnly(endpoint));
    const local = [...this.#local.values()].filter(
      (endpoint) => !isNameOnly(endpoint) && !leaving(endpoint.instanceId),
    );
    return [...others, ...local].toSorted((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** As `endpoints` with those that only name a container, neither copied nor sorted: for readers that keep an index of their own and look for what changed. */
  *eachEndpoint(): Iterable<Endpoint> {
    const own = this.identity?.hostName;
    for (const endpoint of this.#catalog.values()) if (endpoint.host !== own) yield endpoint;
    for (const endpoint of this.#local.values()) {
      const assignment = endpoint.instanceId === null ? undefined : this.assignments.get(endpoint.instanceId);
      // An instance that is to go is out the moment its assignment says so, before any part has looked at it.
      if ((assignment?.instance.goal ?? "running") === "running") yield endpoint;
    }
  }

  localEndpoints(): ReadonlyMap<string, Endpoint> {
    return this.#local;
  }

  /** Written by the registration part, whole. */
  setLocalEndpoints(endpoints: readonly Endpoint[]): void {
    this.#local = new Map(endpoints.map((endpoint) => [endpoint.id, endpoint]));
    this.localKnown = true;
    this.localRevision += 1;
    this.emit("local");
    this.emit("catalog");
  }

  setReport(id: InstanceId, status: InstanceStatus | null): void {
    if (status === null) this.reports.delete(id);
    else this.reports.set(id, status);
    this.emit("reports");
  }

  setReportsKnown(): void {
    if (this.reportsKnown) return;
    this.reportsKnown = true;
    this.emit("reports");
  }

  setHealth(id: InstanceId, record: HealthRecord | null): void {
    if (record === null) this.health.delete(id);
    else this.health.set(id, record);
    this.emit("health");
  }

  /** Each part owns the conditions of its name; [] clears them. */
  setConditions(part: string, conditions: readonly Condition[]): void {
    this.#conditions.set(part, conditions);
    this.emit("conditions");
  }

  setPorts(ports: readonly LocalPort[]): void {
    this.ports = ports;
    this.emit("ports");
  }

  setNames(names: readonly LocalName[]): void {
    if (JSON.stringify(names) === JSON.stringify(this.names)) return;
    this.names = names;
    this.emit("names");
  }

  /** Each part owns the rules of its name in our nftables table; null takes them out. */
  setRules(part: RulesetPart["name"], rules: RulesetPart | null): void {
    if (rules === null) this.#rules.delete(part);
    else this.#rules.set(part, rules);
    this.emit("rules");
  }

  /** Sorted by name. */
  rules(): readonly RulesetPart[] {
    return [...this.#rules.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  conditions(): readonly Condition[] {
    return [...this.#conditions.keys()].toSorted().flatMap((part) => this.#conditions.get(part) ?? []);
  }

  /** "dns" and "ingress" say which catalog revision they serve. */
  setApplied(part: "dns" | "ingress", revision: number): void {
    const before = this.appliedRevision();
    this.#applied.set(part, revision);
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
    this.catalogRevision = 0;
    for (const part of this.#applied.keys()) this.#applied.set(part, 0);
  }

  setConnected(connected: boolean): void {
    this.connected = connected;
    this.emit("connection");
  }

  /** Takes over what the server sent. Channel messages are not for the state. */
  receive(message: ServerMessage): void {
    switch (message.type) {
      case "welcome": {
        const { hostId, hostName, settings, blocks, epoch } = message;
        if (this.identity?.epoch !== epoch) this.#forgetRevisions();
        this.identity = { hostId, hostName, settings, blocks, epoch };
        this.emit("identity");
        return;
      }
      case "assignments":
        if (message.reset) this.assignments.clear();
        for (const assignment of message.upsert) this.assignments.set(assignment.instance.id, assignment);
        for (const id of message.remove) this.assignments.delete(id);
        this.emit("assignments");
        return;
      case "catalog":
        if (message.reset) this.#catalog.clear();
        for (const endpoint of message.upsert) this.#catalog.set(endpoint.id, endpoint);
        for (const id of message.remove) this.#catalog.delete(id);
        if (message.hosts !== null) this.hosts = message.hosts;
        this.catalogRevision = message.revision;
        this.emit("catalog");
        return;
      case "peers":
        this.peers.clear();
        for (const peer of message.peers) this.peers.set(peer.id, peer);
        this.emit("peers");
        return;
      case "network-config":
        this.networkConfig = message.config;
        this.emit("network-config");
        return;
      default:
        return;
    }
  }

  snapshot(): LastKnown {
    return {
      identity: this.identity,
      assignments: [...this.assignments.values()],
      endpoints: [...this.#catalog.values()],
      hosts: this.hosts,
      peers: [...this.peers.values()],
      revision: this.catalogRevision,
      networkConfig: this.networkConfig,
      health: [...this.health.values()],
    };
  }

  restore(known: LastKnown): void {
    this.identity = known.identity;
    for (const assignment of known.assignments) this.assignments.set(assignment.instance.id, assignment);
    for (const endpoint of known.endpoints) this.#catalog.set(endpoint.id, endpoint);
    for (const peer of known.peers) this.peers.set(peer.id, peer);
    for (const record of known.health ?? []) this.health.set(record.instanceId, record);
    this.hosts = known.hosts;
    this.networkConfig = known.networkConfig ?? EMPTY_NETWORK_CONFIG;
    // Revisions of a former server do not compare with those of the next one.
    this.catalogRevision = 0;
    for (const topic of ["identity", "assignments", "catalog", "peers", "network-config"] as const) this.emit(topic);
  }
}

/** A part of the agent: started after the last known state was restored, stopped by the signal. */
export interface AgentPart {
  readonly name: string;
  run(signal: AbortSignal): Promise<void>;
}
