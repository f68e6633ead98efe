/**
 * Which hosts are up, by heartbeat. It counts ticks of the server, not time: a server that was stopped for ten seconds
 * comes back to one tick, in which every host has its chance to be heard, and not to a cluster that looks dead.
 */
import type { HostId } from "../model/ids.ts";

/** Half a heartbeat, so that a lost host is noticed half a second sooner than with ticks as long as heartbeats. */
export const LIVENESS_TICK_MS = 500;

/**
 * Ticks without a word after which a host is down. The last heartbeat counts for the tick after it, so it takes 2.5 to
 * 3 s: two or three heartbeats. One lost packet or one pause of a busy host moves nothing.
 */
export const DOWN_AFTER_TICKS = 5;

/** Ticks that hosts have to report to a server that has just started: 10 s, longer than their longest reconnect wait. */
export const JOIN_GRACE_TICKS = 20;

export type Presence =
  | { readonly phase: "joining" }
  | { readonly phase: "up" }
  | { readonly phase: "down"; readonly sinceMs: number };

export interface PresenceChange {
  readonly id: HostId;
  readonly presence: Presence;
}

export interface LivenessOptions {
  readonly downAfterTicks?: number;
}

interface HostRecord {
  presence: Presence;
  /** A word came since the last tick. */
  heard: boolean;
  missedTicks: number;
  /** As long as it is joining. */
  readonly graceTicks: number;
  lastHeardMs: number | null;
}

export class Liveness {
  readonly #hosts = new Map<HostId, HostRecord>();
  readonly #downAfterTicks: number;

  constructor(options: LivenessOptions = {}) {
    this.#downAfterTicks = options.downAfterTicks ?? DOWN_AFTER_TICKS;
  }

  /** A member that is to be watched. It is `joining` until it is heard of, without any grace down. Known ones stay as they are. */
  add(id: HostId, nowMs: number, graceTicks = JOIN_GRACE_TICKS): void {
    if (this.#hosts.has(id)) return;
    const unheard = { heard: false, missedTicks: 0, lastHeardMs: null };
    const presence: Presence = graceTicks === 0 ? { phase: "down", sinceMs: nowMs } : { phase: "joining" };
    this.#hosts.set(id, { presence, graceTicks, ...unheard });
  }

  remove(id: HostId): void {
    this.#hosts.delete(id);
  }

  /** Any message is a sign of life. Returns the change when the host was not up; null for hosts that are no members. */
  heard(id: HostId, nowMs: number): PresenceChange | null {
    const host = this.#hosts.get(id);
    if (host === undefined) return null;
    host.heard = true;
    host.missedTicks = 0;
    host.lastHeardMs = nowMs;
    if (host.presence.phase === "up") return null;
    host.presence = { phase: "up" };
    return { id, presence: host.presence };
  }

  /** It said itself that it goes. Returns the change when it was not down; null for hosts that are no members. */
  gone(id: HostId, nowMs: number): PresenceChange | null {
    const host = this.#hosts.get(id);
    if (host === undefined || host.presence.phase === "down") return null;
    host.presence = { phase: "down", sinceMs: nowMs };
    return { id, presence: host.presence };
  }

  /** Counts a tick, whatever time has passed since the one before. Returns the hosts that are down from now on, by id. */
  tick(nowMs: number): readonly PresenceChange[] {
    const changes: PresenceChange[] = [];
    for (const [id, host] of this.#hosts) {
      if (host.heard) {
        host.heard = false;
        continue;
      }
      if (host.presence.phase === "down") continue;
      host.missedTicks += 1;
      const limit = host.presence.phase === "joining" ? host.graceTicks : this.#downAfterTicks;
      if (host.missedTicks < limit) continue;
      host.presence = { phase: "down", sinceMs: nowMs };
      changes.push({ id, presence: host.presence });
    }
    return changes.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** A host that is not watched counts as joining: nothing is placed there, nothing is taken away. */
  presenceOf(id: HostId): Presence {
    return this.#hosts.get(id)?.presence ?? { phase: "joining" };
  }

  lastHeardMs(id: HostId): number | null {
    return this.#hosts.get(id)?.lastHeardMs ?? null;
  }
}
