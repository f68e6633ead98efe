import type { CatalogHost, Endpoint } from "../model/endpoint.ts";
import type { AnnouncedKeys, Peer } from "../model/host.ts";
import type { HostId, InstanceId } from "../model/ids.ts";
import type { Assignment, CheckResult, InstanceHealth, InstanceStatus } from "../model/instance.ts";
import type { ClusterSettings } from "../model/cluster.ts";
import type { NetworkConfig } from "../model/network-config.ts";
import { EMPTY_NETWORK_CONFIG } from "../model/network-config.ts";
import type { Condition, ServerMessage } from "../model/wire.ts";
import type { LocalPort } from "../network/local-port.ts";
import type { RulesetPart } from "../network/render-ruleset.ts";
import { AgentQueries } from "./agent-queries.ts";
import { CatalogTracker } from "./catalog-tracker.ts";

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
  | "keys"
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
  readonly queries = new AgentQueries();
  /** This host's own WireGuard keys, see `setKeys`; null when it has none. */
  keys: AnnouncedKeys | null = null;
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
  readonly #trackers = new Set<CatalogTracker>();

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
    const others = [...this.#catalog.values()].filter((endpoint) => endpoint.host !== own);
    const local = [...this.#local.values()].filter((endpoint) => !leaving(endpoint.instanceId));
    return [...others, ...local].toSorted((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** As `endpoints`, neither copied nor sorted: for readers that keep an index of their own and look for what changed. */
  *eachEndpoint(): Iterable<Endpoint> {
    const own = this.identity?.hostName;
    for (const endpoint of this.#catalog.values()) if (endpoint.host !== own) yield endpoint;
    for (const endpoint of this.#local.values()) if (!this.#isLeaving(endpoint)) yield endpoint;
  }

  /** The one of `eachEndpoint` with that id, or null. */
  endpointOf(id: string): Endpoint | null {
    const local = this.#local.get(id);
    if (local !== undefined) return this.#isLeaving(local) ? null : local;
    const endpoint = this.#catalog.get(id);
    return endpoint === undefined || endpoint.host === this.identity?.hostName ? null : endpoint;
  }

  /** Tells a reader which endpoints of other hosts changed; those of this host are few, see `localEndpoints`. */
  trackCatalog(): CatalogTracker {
    const tracker = new CatalogTracker();
    this.#trackers.add(tracker);
    return tracker;
  }

  /** An instance that is to go is out the moment its assignment says so, before any part has looked at it. */
  #isLeaving({ instanceId }: Endpoint): boolean {
    const assignment = instanceId === null ? undefined : this.assignments.get(instanceId);
    return (assignment?.instance.goal ?? "running") !== "running";
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

  /** Written by the key part. */
  setKeys(keys: AnnouncedKeys): void {
    this.keys = keys;
    this.emit("keys");
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
        // Endpoints of the own name are not answered with.
        if (this.identity?.hostName !== hostName) for (const tracker of this.#trackers) tracker.noteAll();
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
        for (const tracker of this.#trackers) {
          if (message.reset) tracker.noteAll();
          tracker.note(message.upsert.map(({ id }) => id));
          tracker.note(message.remove);
        }
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
    for (const tracker of this.#trackers) tracker.noteAll();
    for (const topic of ["identity", "assignments", "catalog", "peers", "network-config"] as const) this.emit(topic);
  }
}

/** A part of the agent: started after the last known state was restored, stopped by the signal. */
export interface AgentPart {
  readonly name: string;
  run(signal: AbortSignal): Promise<void>;
}
