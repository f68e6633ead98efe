import { type CatalogHost, type Endpoint, isNameOnly, judged } from "../model/endpoint.ts";
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
import { CatalogTracker } from "./catalog-tracker.ts";
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
  catalogRevision = 0;
  readonly assignments = new Map<InstanceId, Assignment>();
  readonly peers = new Map<HostId, Peer>();
  hosts: readonly CatalogHost[] = [];
  /** What operators declared about the network. */
  networkConfig: NetworkConfig = EMPTY_NETWORK_CONFIG;
  /** Of this host, as its agent was started with. */
  labels: Readonly<Record<string, string>> = {};
  readonly queries = new AgentQueries();
  /** The same for this host's own endpoints. */
  localKnown = false;
  /** Grows with every change of this host's own endpoints. */
  localRevision = 0;
  /** The `localRevision` that this host's ingress serves; null when it has none. */
  releasedRevision: number | null = null;
  /** By id: checks that clients registered on this host. */
  readonly checks = new Map<string, HostCheck>();
  readonly #catalog = new Map<string, Endpoint>();
  /** By host and id; this host's own are those that it remembers, until it has looked. */
  readonly #holders = new Map<string, Map<string, Holder>>();
  readonly #localHolders = new Map<string, readonly Holder[]>();
  /** Those that will tell holders, and have not yet. */
  readonly #expectedHolders = new Set<string>();
  #local: ReadonlyMap<string, Endpoint> = new Map();
  /** Readers tell changes by identity: the same object for the same verdict. */
  readonly #judgedLocal = new Map<string, { readonly local: Endpoint; readonly endpoint: Endpoint }>();
  readonly #applied = new Map<string, number>();
  readonly #trackers = new Set<CatalogTracker>();

  /**
   * Endpoints to answer with: other hosts' from the server, this host's own as seen here, fresher than any server. An
   * instance that is to go is left out the moment its assignment says so, before any part has looked at it.
   */
  endpoints(): readonly Endpoint[] {
    if (this.isRemoved()) return [];
    const own = this.identity?.hostName;
    const leaving = (id: InstanceId | null): boolean =>
      id !== null && (this.assignments.get(id)?.instance.goal ?? "running") !== "running";
    const others = [...this.#catalog.values()].filter((each) => isOthers(each, own) && !isNameOnly(each));
    const local = [...this.#local.values()]
      .filter((endpoint) => !isNameOnly(endpoint) && !leaving(endpoint.instanceId))
      .map((endpoint) => this.#judged(endpoint));
    return [...others, ...local].toSorted((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** As `endpoints` with those that only name a container, neither copied nor sorted: for readers that keep an index of their own and look for what changed. */
  *eachEndpoint(): Iterable<Endpoint> {
    if (this.isRemoved()) return;
    const own = this.identity?.hostName;
    for (const endpoint of this.#catalog.values()) if (isOthers(endpoint, own)) yield endpoint;
    for (const endpoint of this.#local.values()) if (!this.#isLeaving(endpoint)) yield this.#judged(endpoint);
  }

  /** The one of `eachEndpoint` with that id, or null. */
  endpointOf(id: string): Endpoint | null {
    const local = this.#local.get(id);
    if (local !== undefined) return this.#isLeaving(local) ? null : this.#judged(local);
    const endpoint = this.#catalog.get(id);
    return endpoint === undefined || !isOthers(endpoint, this.identity?.hostName) ? null : endpoint;
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

  /** This host sees its own endpoints itself; what clients' checks and maintenance say of them the server told last. */
  #judged(local: Endpoint): Endpoint {
    const said = this.#catalog.get(local.id)?.verdict?.said;
    if (said === undefined) return local;
    const known = this.#judgedLocal.get(local.id);
    if (known?.local === local && known.endpoint.verdict?.said === said) return known.endpoint;
    const endpoint = judged(local, said);
    this.#judgedLocal.set(local.id, { local, endpoint });
    return endpoint;
  }

  isRemoved(): boolean {
    return this.refusal?.code === "host-removed";
  }

  localEndpoints(): ReadonlyMap<string, Endpoint> {
    return this.#local;
  }

  /** Written by the registration part, whole. */
  setLocalEndpoints(endpoints: readonly Endpoint[]): void {
    this.#local = new Map(endpoints.map((endpoint) => [endpoint.id, endpoint]));
    for (const id of this.#judgedLocal.keys()) if (!this.#local.has(id)) this.#judgedLocal.delete(id);
    this.localKnown = true;
    this.localRevision += 1;
    this.emit("local");
    this.emit("catalog");
  }

  /** Who holds which address: on other hosts as the server says, on this one as seen here. */
  holders(): readonly Holder[] {
    const own = this.identity?.hostName;
    const members = new Set([...this.peers.values()].map(({ name }) => name));
    // A host that was removed while this agent was away is no peer any more.
    const others = [...this.#holders].filter(([host]) => host !== own && members.has(host));
    return [...others.flatMap(([, holders]) => [...holders.values()]), ...this.localHolders()];
  }

  localHolders(): readonly Holder[] {
    if (this.#holdersTold()) return [...this.#localHolders.values()].flat();
    return [...(this.#holders.get(this.identity?.hostName ?? "")?.values() ?? [])];
  }

  /** This host's own were seen, or are remembered from before the agent was restarted. */
  localHoldersKnown(): boolean {
    return this.#holdersTold() || this.#holders.has(this.identity?.hostName ?? "");
  }

  #holdersTold(): boolean {
    return this.#localHolders.size > 0 && this.#expectedHolders.size === 0;
  }

  /** That part will tell holders: until then those that are remembered count. */
  expectHolders(part: string): void {
    if (!this.#localHolders.has(part)) this.#expectedHolders.add(part);
  }

  /** Each part tells whole what it knows of this host. */
  setLocalHolders(part: string, holders: readonly Holder[]): void {
    this.#expectedHolders.delete(part);
    this.#localHolders.set(part, holders);
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
    this.catalogRevision = 0;
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
      this.#catalog.clear();
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
  // oxlint-disable-next-line max-lines-per-function -- a case for each kind of message
  receive(message: ServerMessage): void {
    switch (message.type) {
      case "welcome": {
        const { hostId, hostName, settings, blocks, epoch } = message;
        if (this.identity?.epoch !== epoch) this.#forgetRevisions();
        // Endpoints of the own name are not answered with.
        if (this.identity?.hostName !== hostName) for (const tracker of this.#trackers) tracker.noteAll();
        const probeKey = message.probeKey ?? this.identity?.probeKey;
        this.identity = {
          hostId,
          hostName,
          settings,
          blocks,
          epoch,
          networks: message.networks ?? {},
          ...(probeKey === undefined ? {} : { probeKey }),
        };
        this.networkProblems = message.networkProblems ?? {};
        this.leaseProblem = message.leaseProblem === undefined ? NO_SERVER : message.leaseProblem;
        if (this.refusal !== null) this.setConditions("link", []);
        this.refusal = null;
        this.emit("identity");
        return;
      }
      case "blocks":
        if (this.identity === null) return;
        this.identity = { ...this.identity, blocks: message.blocks, networks: message.networks ?? {} };
        this.networkProblems = message.networkProblems ?? {};
        this.leaseProblem = message.leaseProblem;
        this.emit("identity");
        return;
      case "refused":
        return this.refuse(message.refusal);
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
        if (message.hostChanges !== undefined) this.hosts = changedHosts(this.hosts, message.hostChanges);
        this.catalogRevision = message.revision;
        this.emit("catalog");
        return;
      case "peers":
        this.peers.clear();
        for (const peer of message.peers) this.peers.set(peer.id, peer);
        this.emit("peers");
        return;
      case "peer-changes":
        for (const id of message.remove) this.peers.delete(id);
        for (const peer of message.upsert) this.peers.set(peer.id, peer);
        this.emit("peers");
        return;
      case "network-config":
        this.networkConfig = message.config;
        this.emit("network-config");
        return;
      case "consul":
        this.consul = message.consul;
        this.emit("consul");
        return;
      case "holders": {
        const holders = message.reset ? new Map<string, Holder>() : (this.#holders.get(message.host) ?? new Map());
        for (const holder of message.upsert) holders.set(holder.id, holder);
        for (const id of message.remove) holders.delete(id);
        if (holders.size === 0) this.#holders.delete(message.host);
        else this.#holders.set(message.host, holders);
        this.emit("holders");
        return;
      }
      case "checks":
        if (message.reset) this.checks.clear();
        for (const check of message.upsert) this.checks.set(check.id, check);
        for (const id of message.remove) this.checks.delete(id);
        this.emit("checks");
        return;
      case "check-report":
        for (const hear of this.checkReporters) hear(message.result);
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
    for (const endpoint of known.endpoints) this.#catalog.set(endpoint.id, endpoint);
    for (const peer of known.peers) this.peers.set(peer.id, peer);
    for (const record of known.health ?? []) this.health.set(record.instanceId, record);
    for (const check of known.checks ?? []) this.checks.set(check.id, check);
    if (known.links !== undefined) this.linkFacts = new Map(known.links);
    for (const holder of known.holders ?? []) {
      const holders = this.#holders.get(holder.host) ?? new Map<string, Holder>();
      this.#holders.set(holder.host, holders.set(holder.id, holder));
    }
    this.hosts = known.hosts;
    this.networkConfig = known.networkConfig ?? EMPTY_NETWORK_CONFIG;
    this.consul = known.consul ?? null;
    // Revisions of a former server do not compare with those of the next one.
    this.catalogRevision = 0;
    for (const tracker of this.#trackers) tracker.noteAll();
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

/** Whether the server's word on an endpoint counts here: this host's own containers it sees itself. */
function isOthers({ host, origin }: Endpoint, own: string | undefined): boolean {
  return host !== own || origin === "registry";
}

/** A part of the agent: started after the last known state was restored, stopped by the signal. */
export interface AgentPart {
  readonly name: string;
  run(signal: AbortSignal): Promise<void>;
}
