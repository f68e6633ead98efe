import { LIVENESS_TICK_MS, Liveness, type PresenceChange } from "../cluster/liveness.ts";
import { Catalog } from "../discovery/catalog.ts";
import type { ClusterSettings } from "../model/cluster.ts";
import type { CatalogHost } from "../model/endpoint.ts";
import type { Host } from "../model/host.ts";
import type { HostId } from "../model/ids.ts";
import { ReconcileLoop } from "../platform/loop/reconcile-loop.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Log } from "../platform/ports/log.ts";
import type { Random } from "../platform/ports/random.ts";
import type { Store } from "../platform/ports/store.ts";
import type { RolloutInput } from "../scheduling/plan-rollout.ts";
import type { RolloutAction } from "../scheduling/rollout-pass.ts";
import { AgentHub } from "./agent-hub.ts";
import { ChannelTable } from "./channel-table.ts";
import { ClusterState } from "./cluster-state.ts";
import { openProbeKey } from "./probe-key.ts";
import { LeaseKeeper } from "./lease-keeper.ts";
import { RolloutSubject } from "./rollout-subject.ts";
import { ServerApps } from "./server-apps.ts";
import { Turns } from "../platform/loop/turns.ts";

export interface ClusterServerDeps {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Of a new cluster; an existing one keeps its own. */
  readonly initial: ClusterSettings;
  /** See `JOIN_GRACE_TICKS`, which counts for those of which this gives undefined. */
  readonly joinGraceTicks?: (host: Host) => number | undefined;
}

/** The scheduler looks again after this even if nothing called it. */
const RESYNC_MS = 10_000;

/** The server without its sockets: what the programs and the simulator run alike. */
export class ClusterServer {
  readonly state: ClusterState;
  readonly catalog: Catalog;
  readonly liveness: Liveness;
  readonly channels = new ChannelTable();
  readonly hub: AgentHub;
  readonly leases: LeaseKeeper;
  readonly apps: ServerApps;
  readonly rollout: RolloutSubject;
  readonly startedAtMs: number;
  readonly clock: Clock;
  readonly #deps: ClusterServerDeps;
  readonly #loop: ReconcileLoop<RolloutInput, readonly RolloutAction[]>;
  readonly #listeners = new Set<() => void>();

  static async open(deps: ClusterServerDeps): Promise<ClusterServer> {
    const state = await ClusterState.load(deps.store, deps.initial);
    return new ClusterServer(deps, state, await openProbeKey(deps.store, deps.random));
  }

  private constructor(deps: ClusterServerDeps, state: ClusterState, probeKey: string) {
    const { clock, random, log } = deps;
    this.#deps = deps;
    this.liveness = new Liveness();
    this.clock = clock;
    this.state = state;
    this.startedAtMs = clock.nowMs();
    this.catalog = catalogOf(state);
    const presenceOf = (id: HostId) => this.liveness.presenceOf(id);
    const wake = (): void => this.#changed();
    this.leases = new LeaseKeeper({ state, clock, log, onProblem: (id) => this.hub.sendBlocks(id) });
    this.hub = new AgentHub({
      leases: this.leases,
      clock,
      state,
      catalog: this.catalog,
      channels: this.channels,
      epoch: random.uuid(),
      probeKey,
      isDown: (id) => presenceOf(id).phase === "down",
      heard: (id) => this.#presenceChanged(this.liveness.heard(id, clock.nowMs())),
      wake,
      log,
    });
    this.rollout = new RolloutSubject({ state, hub: this.hub, catalog: this.catalog, clock, random, presenceOf, log });
    const turns = new Turns();
    this.apps = new ServerApps({
      state,
      turns,
      hub: this.hub,
      clock,
      random,
      isUp: (instance) => presenceOf(instance.hostId).phase !== "down",
      problems: () => this.rollout.problems,
      applyRollout: (actions) => (actions.length === 0 ? Promise.resolve() : this.rollout.apply(actions)),
      wake,
    });
    this.#loop = new ReconcileLoop(this.rollout, {
      clock,
      resyncMs: () => Math.max(0, Math.min(RESYNC_MS, (this.rollout.nextWakeMs ?? Infinity) - clock.nowMs())),
      within: (pass) => turns.take(pass),
      onFailure: (error) => log.error("rollout pass failed", { error: error.message, cause: error.cause }),
      // What a pass stored shows in the next one; it is clean and plans nothing when all is as wanted.
      onPass: (_clean, actions) => (actions.length > 0 ? this.#loop.poke() : undefined),
    });
    this.#syncHosts();
    state.onCommit((writes) => {
      if (writes.some((write) => write.key.startsWith("host/"))) this.#syncHosts();
      this.#changed();
    });
    this.catalog.subscribe(() => this.#tell());
  }

  /** Calls whenever anything an API shows may have changed. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Runs the scheduler and the watch over hosts until aborted. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#loop.run(signal), this.#watchHosts(signal), this.leases.run(signal)]);
  }

  async #watchHosts(signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    while (!signal.aborted) {
      await clock.sleep(LIVENESS_TICK_MS, signal);
      if (signal.aborted) return;
      for (const change of this.liveness.tick(clock.nowMs())) this.#presenceChanged(change);
    }
  }

  /** A host goes: from now on nobody is led to its instances, and it is waited for by nobody. */
  hostGoes(id: HostId): void {
    this.#presenceChanged(this.liveness.gone(id, this.clock.nowMs()));
  }

  #presenceChanged(change: PresenceChange | null): void {
    if (change === null) return;
    const host = this.state.hosts.get(change.id);
    if (host === undefined) return;
    const { log } = this.#deps;
    if (change.presence.phase === "down") log.warn("host is down", { host: host.name });
    else log.info("host is up", { host: host.name });
    this.#putHost(change.id);
    this.hub.flush();
    this.#changed();
  }

  /** Members come and go by the store alone; the rest of the server follows it. */
  #syncHosts(): void {
    const members = new Set([...this.state.hosts.values()].map((host) => host.name));
    for (const [id, host] of this.state.hosts) {
      this.liveness.add(id, this.clock.nowMs(), this.#deps.joinGraceTicks?.(host));
      this.#putHost(id);
    }
    for (const host of this.catalog.hosts()) if (!members.has(host.name)) this.catalog.removeHost(host.name);
  }

  /** A host that was not heard of yet is not taken out: its endpoints are the ones that agents still serve. */
  #putHost(id: HostId): void {
    const host = this.state.hosts.get(id);
    if (host === undefined) return;
    const up = this.liveness.presenceOf(id).phase !== "down";
    this.catalog.putHost({ name: host.name, address: host.address, up, ...metaOf(host) });
  }

  #changed(): void {
    this.#loop.poke();
    this.#tell();
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}

/**
 * Drains that an earlier run began go on in this one: the catalog never has their instances, and its revisions are all later
 * than those that were noted with them, so that a host confirms them with the first catalog of this run that it serves.
 */
function catalogOf({ instances }: ClusterState): Catalog {
  const leaving = [...instances.values()].filter(({ goal }) => goal !== "running");
  const catalog = new Catalog(Math.max(0, ...leaving.map(({ drainRevision = 0 }) => drainRevision)) + 1);
  catalog.setDraining(leaving.map(({ id }) => id));
  return catalog;
}

/** Labels are what DNS tells of a host as TXT. */
function metaOf({ labels }: Host): Pick<CatalogHost, "meta"> {
  return Object.keys(labels).length === 0 ? {} : { meta: labels };
}
