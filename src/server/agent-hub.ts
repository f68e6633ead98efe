import type { Catalog } from "../discovery/catalog.ts";
import type { ConsulFacts } from "../model/consul.ts";
import { AppError } from "../model/error.ts";
import type { Host, Peer } from "../model/host.ts";
import type { HostCheck, HostCheckResult } from "../model/host-check.ts";
import type { HostId, InstanceId } from "../model/ids.ts";
import type { InstanceStatus } from "../model/instance.ts";
import { applyLinkChanges, type LinkReport } from "../model/link.ts";
import {
  type AgentMessage,
  type Condition,
  type DnsCounts,
  type ServerMessage,
  WIRE_OF_CHANGES,
} from "../model/wire.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Log } from "../platform/ports/log.ts";
import { type AgentConnection, AgentSession } from "./agent-session.ts";
import type { ChannelTable } from "./channel-table.ts";
import type { HolderChange } from "./holder-table.ts";
import { HolderTable } from "./holder-table.ts";
import { agreeOnWire, withHello } from "./host-word.ts";
import { peerOf, peersOf, withKeys, withProbeAddress } from "./peer-of.ts";
import { doubled, removed } from "./refusals.ts";
import { type ClusterState, keyOf } from "./cluster-state.ts";
import type { LeaseKeeper } from "./lease-keeper.ts";
import { parseAgentMessage } from "../model/parse-message.ts";

/** What a host last said about itself; in memory only. */
export interface ObservedHost {
  readonly agentVersion: string;
  lastSeenMs: number;
  appliedRevision: number;
  conditions: readonly Condition[];
  /** To its peers, by their names. */
  links: readonly LinkReport[];
  dns?: DnsCounts;
}

export interface AgentHubDeps {
  readonly state: ClusterState;
  readonly catalog: Catalog;
  readonly channels: ChannelTable;
  /** Names this run of the server, so that catalog revisions of another run are not compared with ours. */
  readonly epoch: string;
  /** With which agents sign their probes of each other, base64url. */
  readonly probeKey: string;
  readonly clock: Clock;
  readonly leases: Pick<LeaseKeeper, "hear" | "forget" | "problemOf" | "networkProblemsOf" | "settled">;
  readonly isDown: (id: HostId) => boolean;
  /** A sign of life from a host. */
  readonly heard: (id: HostId) => void;
  /** Observed state changed: the rollout should look. */
  readonly wake: () => void;
  readonly log: Log;
}

/** Where the checks that hosts run come from, and where what they say goes. */
export interface HostCheckSource {
  /** All that the host has to run. */
  checksOf(host: string): readonly HostCheck[];
  take(host: string, results: readonly HostCheckResult[]): void;
}

/**
 * An agent that is asked whether it lives has so long: two heartbeats and a bit. One that was killed is silent, and the
 * agent that was started after it is taken in its place.
 */
const DOUBT_MS = 2500;
const HOST_KEY = "host/";

/** Every agent's stream: takes what hosts observe into memory, sends each what is its to know. */
export class AgentHub {
  readonly #deps: AgentHubDeps;
  readonly #sessions = new Map<HostId, AgentSession>();
  readonly observed = new Map<HostId, ObservedHost>();
  /** By instance, over all hosts. */
  readonly statuses = new Map<InstanceId, InstanceStatus>();
  readonly #reportedBy = new Map<HostId, Set<InstanceId>>();
  /** Hosts that said what they serve since this server started. */
  readonly #endpointsOf = new Set<HostId>();
  readonly #holders = new HolderTable();
  /** What others were told of each host, as text. */
  readonly #toldPeers = new Map<HostId, string>();
  /** The catalog message that was sent last. */
  #catalogSent: {
    readonly since: number;
    readonly revision: number;
    readonly changes: boolean;
    readonly message: ServerMessage;
  } | null = null;
  #checks: HostCheckSource | null = null;
  /** What agents were told last of Consul's API. */
  consul: ConsulFacts | null = null;
  #catalogComplete = false;
  #flushing = false;
  /** Tasks under way that must be through before anything is sent. */
  #holds = 0;

  constructor(deps: AgentHubDeps) {
    this.#deps = deps;
    for (const host of deps.state.hosts.values()) this.#toldPeers.set(host.id, JSON.stringify(peerOf(host)));
    deps.catalog.subscribe(() => this.flush());
    deps.state.onCommit((writes) => {
      if (writes.some((write) => write.key.startsWith("instance/"))) this.flush();
      if (writes.some((write) => write.key.startsWith("net/"))) this.#sendNetworkConfig();
      const written = writes.flatMap(({ key }) =>
        key.startsWith(HOST_KEY) ? [key.slice(HOST_KEY.length) as HostId] : [],
      );
      this.#sendPeerChanges(written);
      for (const id of written) this.sendBlocks(id);
    });
  }

  /** From now on hosts are told the checks of this source when they connect; what changes later is sent by `sendChecks`. */
  serveChecks(source: HostCheckSource): void {
    this.#checks = source;
  }

  sendChecks(
    hostId: HostId,
    change: { readonly upsert: readonly HostCheck[]; readonly remove: readonly string[] },
  ): void {
    this.session(hostId)?.connection.send({ type: "checks", reset: false, ...change });
  }

  /** False while the host is away. */
  reportCheck(hostId: HostId, result: HostCheckResult): boolean {
    const session = this.session(hostId);
    session?.connection.send({ type: "check-report", result });
    return session !== null;
  }

  /** Takes an authenticated connection of a member. It counts once its hello is taken. */
  open(hostId: HostId, connection: AgentConnection): AgentSession {
    return new AgentSession(hostId, connection);
  }

  /**
   * One host, one agent. The same run of an agent that connects again takes the place of its older connection at once.
   * Another run does only when the older is silent: a copy of a host's disk must not push the host itself aside.
   */
  async #admit(session: AgentSession, host: Host, hello: AgentMessage & { type: "hello" }): Promise<boolean> {
    const { clock, log } = this.#deps;
    session.runId = hello.runId ?? null;
    const older = this.#sessions.get(host.id);
    const mayLive = older !== undefined && !this.#deps.isDown(host.id);
    if (mayLive && session.runId !== null && older.runId !== null && older.runId !== session.runId) {
      const { heard } = older;
      await clock.sleep(DOUBT_MS);
      if (this.#sessions.get(host.id) === older && older.heard > heard) {
        log.warn("agent refused: its host is connected already", { host: host.name, address: hello.address });
        session.connection.send({ type: "refused", refusal: doubled(host, hello.address) });
        session.connection.close("another agent is connected as this host");
        return false;
      }
    }
    const now = this.#sessions.get(host.id);
    if (now !== session) now?.connection.close("another agent joined as this host");
    this.#sessions.set(host.id, session);
    return true;
  }

  closed(session: AgentSession): void {
    session.closed = true;
    if (this.#sessions.get(session.hostId) !== session) return;
    this.#sessions.delete(session.hostId);
    // Without a word from its agent nothing is taken back: the next one may have started to use it again.
    this.#deps.leases.forget(session.hostId);
    this.#deps.channels.closeHost(session.hostId);
  }

  isConnected(hostId: HostId): boolean {
    return this.#sessions.get(hostId)?.ready === true;
  }

  /** The stream to a host, for logs and exec. */
  session(hostId: HostId): AgentSession | null {
    const session = this.#sessions.get(hostId);
    return session?.ready === true ? session : null;
  }

  /** @throws AppError `invalid` for a malformed frame: the caller closes the connection. */
  async receive(session: AgentSession, frame: string): Promise<void> {
    const message = parseAgentMessage(frame);
    const host = this.#deps.state.hosts.get(session.hostId);
    session.heard += 1;
    if (message === null || host === undefined || session.closed) return;
    if (message.type === "hello") {
      if (!(await this.#admit(session, host, message)) || session.closed) return;
      return this.#hello(session, message);
    }
    if (session.ready && this.#sessions.get(session.hostId) !== session) return;
    if (!session.ready)
      throw new AppError("invalid", `Cannot take "${message.type}" from host "${host.name}": hello must come first`);
    switch (message.type) {
      case "heartbeat":
        this.#heartbeat(session, message);
        return this.#note(host, (known) => withProbeAddress(known, message.probeAddress));
      case "instances":
        return this.#instances(session, message);
      case "endpoints":
        this.#deps.catalog.applyEndpoints(host.name, message);
        this.#endpointsOf.add(host.id);
        this.flush();
        return;
      case "keys":
        return this.#note(host, (known) => withKeys(known, message));
      case "links": {
        const observed = this.observed.get(host.id);
        if (observed !== undefined) observed.links = message.links;
        return;
      }
      case "link-changes": {
        const observed = this.observed.get(host.id);
        if (observed !== undefined) observed.links = applyLinkChanges(observed.links, message);
        return;
      }
      case "holders":
        return this.#passOnHolders(host, this.#holders.apply(host.name, message));
      case "check-results":
        return this.#checks?.take(host.name, message.results);
      case "data":
        return this.#deps.channels.data(session.hostId, message);
      case "close":
        return this.#deps.channels.close(session.hostId, message);
    }
  }

  async #hello(session: AgentSession, hello: AgentMessage & { type: "hello" }): Promise<void> {
    const { state, epoch, probeKey, clock, log, catalog, leases } = this.#deps;
    // What is being taken back at this moment must not be promised again.
    await leases.settled();
    const host = state.hosts.get(session.hostId);
    if (host === undefined || session.closed) return;
    session.wire = agreeOnWire(host, hello);
    this.observed.set(host.id, {
      agentVersion: hello.agentVersion,
      lastSeenMs: clock.nowMs(),
      appliedRevision: 0,
      conditions: [],
      links: [],
    });
    await this.#note(host, (known) => withHello(known, hello));
    const blocks = this.#blocksOf(state.hosts.get(host.id) ?? host);
    session.blocks = JSON.stringify(blocks);
    session.connection.send({
      type: "welcome",
      wire: session.wire,
      hostId: host.id,
      hostName: host.name,
      settings: state.settings,
      ...blocks,
      epoch,
      probeKey,
    });
    session.ready = true;
    leases.forget(host.id);
    // What a host served before it was down may be gone with a power cut: it counts again once its agent has looked.
    if (this.#deps.isDown(host.id)) catalog.applyEndpoints(host.name, { reset: true, upsert: [], remove: [] });
    this.#sendAssignments(session, true);
    session.connection.send({ type: "peers", peers: peersOf(state.hosts, host.id) });
    session.connection.send({ type: "network-config", config: state.networkConfig() });
    if (this.consul !== null) session.connection.send({ type: "consul", consul: this.consul });
    for (const [name, change] of this.#holders.all()) {
      if (name !== host.name) session.connection.send({ type: "holders", host: name, ...change });
    }
    if (this.#checks !== null)
      session.connection.send({ type: "checks", reset: true, upsert: this.#checks.checksOf(host.name), remove: [] });
    this.#deps.heard(host.id);
    this.flush();
    log.info("agent connected", { host: host.name, agentVersion: hello.agentVersion });
  }

  async #note(host: Host, noted: (known: Host) => Host): Promise<void> {
    if (noted(host) !== host) await this.#deps.state.update<Host>(keyOf.host(host.id), noted);
  }

  #heartbeat(session: AgentSession, message: AgentMessage & { type: "heartbeat" }): void {
    const observed = this.observed.get(session.hostId);
    if (observed === undefined) return;
    const changed = JSON.stringify(message.conditions) !== JSON.stringify(observed.conditions);
    observed.lastSeenMs = this.#deps.clock.nowMs();
    if (message.addresses !== undefined) this.#deps.leases.hear(session.hostId, message.addresses, message.networks);
    observed.conditions = message.conditions;
    if (message.dns !== undefined) observed.dns = message.dns;
    const applied = message.epoch === this.#deps.epoch ? message.appliedRevision : 0;
    const moved = applied !== observed.appliedRevision;
    observed.appliedRevision = applied;
    this.#deps.heard(session.hostId);
    if (moved || changed) this.#deps.wake();
  }

  #instances(session: AgentSession, message: AgentMessage & { type: "instances" }): void {
    const mine = this.#reportedBy.get(session.hostId) ?? new Set<InstanceId>();
    this.#reportedBy.set(session.hostId, mine);
    const drop = (id: InstanceId): void => {
      mine.delete(id);
      this.statuses.delete(id);
    };
    if (message.reset) for (const id of mine) drop(id);
    for (const id of message.remove) if (mine.has(id)) drop(id);
    for (const report of message.upsert) {
      // A report about somebody else's instance would let one host speak for another.
      if (this.#deps.state.instances.get(report.id)?.hostId !== session.hostId) continue;
      mine.add(report.id);
      this.statuses.set(report.id, report.status);
    }
    this.#deps.heard(session.hostId);
    this.#deps.wake();
  }

  /**
   * True when every host that is not down serves catalog `revision` or later. One whose agent is away for a moment, or has
   * not reported to this server yet, has a HAProxy that goes on with what it had.
   */
  drainedBy(revision: number): boolean {
    return [...this.#deps.state.hosts.keys()].every(
      (id) => this.#deps.isDown(id) || (this.observed.get(id)?.appliedRevision ?? 0) >= revision,
    );
  }

  /**
   * Sends nothing while `task` runs. A host must have the goals of its own instances no later than the catalog without
   * them: else it confirms that catalog while it still serves them by its own knowledge.
   */
  async sendAfter(task: () => Promise<void>): Promise<void> {
    this.#holds += 1;
    try {
      await task();
    } finally {
      this.#holds -= 1;
      this.flush();
    }
  }

  forgetStatus(id: InstanceId): void {
    this.statuses.delete(id);
    for (const mine of this.#reportedBy.values()) mine.delete(id);
  }

  /** Sends changed assignments and catalog entries; calls of one turn fold. Assignments go first, see AgentState.endpoints. */
  flush(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flushing = false;
      if (this.#holds > 0) return;
      for (const session of this.#sessions.values()) {
        if (!session.ready) continue;
        this.#sendAssignments(session, false);
        this.#sendCatalog(session);
      }
    });
  }

  /** A commit touches few of a thousand hosts: the others are not even looked at. */
  #sendAssignments(session: AgentSession, reset: boolean): void {
    const changes = this.#deps.state.instanceChanges(session.hostId);
    if (!reset && changes === session.instanceChanges) return;
    session.instanceChanges = changes;
    session.sendAssignments(this.#deps.state.assignmentsOf(session.hostId), reset);
  }

  #sendCatalog(session: AgentSession): void {
    const { catalog } = this.#deps;
    if (session.catalogRevision === catalog.revision || !this.#isCatalogComplete()) return;
    session.connection.send(this.#catalogMessage(session.catalogRevision, session.wire >= WIRE_OF_CHANGES));
    session.catalogRevision = catalog.revision;
  }

  /** A thousand agents are at the same revision, and get the same. */
  #catalogMessage(since: number, changes: boolean): ServerMessage {
    const { catalog } = this.#deps;
    const known = this.#catalogSent;
    if (known?.since === since && known.revision === catalog.revision && known.changes === changes)
      return known.message;
    const delta = catalog.changesSince(since);
    const { hostChanges, ...whole } = delta ?? catalog.snapshot();
    const rest = changes && hostChanges !== null ? { ...whole, hosts: null, hostChanges } : whole;
    const message: ServerMessage = { type: "catalog", reset: delta === null, ...rest };
    this.#catalogSent = { since, revision: catalog.revision, changes, message };
    return message;
  }

  /**
   * A server that has just started knows no endpoints, while every agent still answers with its last known ones: nothing is
   * said about the catalog until each member has told its part or is known to be down.
   */
  #isCatalogComplete(): boolean {
    this.#catalogComplete ||= [...this.#deps.state.hosts.keys()].every(
      (id) => this.#endpointsOf.has(id) || this.#deps.isDown(id),
    );
    return this.#catalogComplete;
  }

  /** What agents are to know of Consul's API. */
  tellConsul(consul: ConsulFacts): void {
    this.consul = consul;
    for (const session of this.#sessions.values())
      if (session.ready) session.connection.send({ type: "consul", consul });
  }

  /** Most of what is stored of a host is none of the others' business. */
  #sendPeerChanges(written: readonly HostId[]): void {
    const { hosts } = this.#deps.state;
    const upsert: Peer[] = [];
    const remove: HostId[] = [];
    for (const id of new Set(written)) {
      const host = hosts.get(id);
      const peer = host === undefined ? null : peerOf(host);
      const text = peer === null ? "" : JSON.stringify(peer);
      if ((this.#toldPeers.get(id) ?? "") === text) continue;
      if (peer === null) {
        this.#toldPeers.delete(id);
        remove.push(id);
      } else {
        this.#toldPeers.set(id, text);
        upsert.push(peer);
      }
    }
    if (upsert.length + remove.length === 0) return;
    const changes: ServerMessage = { type: "peer-changes", upsert, remove };
    for (const session of this.#sessions.values()) {
      if (!session.ready) continue;
      const { hostId, connection, wire } = session;
      if (wire < WIRE_OF_CHANGES) connection.send({ type: "peers", peers: peersOf(hosts, hostId) });
      else if (upsert.every(({ id }) => id !== hostId)) connection.send(changes);
      else if (upsert.length + remove.length > 1) {
        connection.send({ ...changes, upsert: upsert.filter(({ id }) => id !== hostId) });
      }
    }
  }

  #sendNetworkConfig(): void {
    const message: ServerMessage = { type: "network-config", config: this.#deps.state.networkConfig() };
    for (const session of this.#sessions.values()) if (session.ready) session.connection.send(message);
  }

  /** Tells a host its blocks and why it gets no further one, when either has changed. */
  sendBlocks(hostId: HostId): void {
    const session = this.#sessions.get(hostId);
    const host = this.#deps.state.hosts.get(hostId);
    if (session?.ready !== true || host === undefined) return;
    const now = this.#blocksOf(host);
    const text = JSON.stringify(now);
    if (session.blocks === text) return;
    session.blocks = text;
    session.connection.send({ type: "blocks", ...now });
  }

  #blocksOf({ id, blocks, networks = {} }: Host): Omit<ServerMessage & { type: "blocks" }, "type"> {
    const { leases } = this.#deps;
    const networkProblems = leases.networkProblemsOf(id);
    return {
      blocks,
      leaseProblem: leases.problemOf(id),
      ...(Object.keys(networks).length === 0 ? {} : { networks }),
      ...(Object.keys(networkProblems).length === 0 ? {} : { networkProblems }),
    };
  }

  /** As it came: whoever has all that was said before has all of it now. */
  #passOnHolders(host: Pick<Host, "id" | "name">, change: HolderChange | null): void {
    if (change === null) return;
    const message: ServerMessage = { type: "holders", host: host.name, ...change };
    for (const session of this.#sessions.values()) {
      if (session.ready && session.hostId !== host.id) session.connection.send(message);
    }
  }

  /** A member was removed: its agent is told to go and its word no longer counts. */
  dropHost(hostId: HostId, name: string): void {
    this.#passOnHolders({ id: hostId, name }, this.#holders.drop(name));
    const session = this.#sessions.get(hostId);
    session?.connection.send({ type: "refused", refusal: removed() });
    session?.connection.close("this host was removed from the cluster");
    this.#deps.leases.forget(hostId);
    this.#sessions.delete(hostId);
    for (const id of this.#reportedBy.get(hostId) ?? []) this.statuses.delete(id);
    this.#reportedBy.delete(hostId);
    this.#endpointsOf.delete(hostId);
    this.observed.delete(hostId);
  }
}
