/** Ends sessions whose time is over, and those whose node or checks went. */
import type { Deadline } from "./deadlines.ts";
import type { Session } from "./records.ts";
import type { Registry } from "./registry.ts";
import { endSession, type LockDelays } from "./session-operations.ts";
import type { Touched } from "./touched.ts";

/** A session lives for at least its TTL; Consul ends it after twice that, so that a late renewal still counts. */
const TTL_FACTOR = 2;
const SWEEP_MS = 60_000;

export class SessionKeeper {
  readonly #registry: Registry;
  readonly #lockDelays: LockDelays;
  readonly #deadlines = new Map<string, Deadline>();
  readonly #byNode = new Map<string, Set<string>>();
  /** Under way to their end. */
  readonly #ending = new Set<string>();

  constructor(registry: Registry, lockDelays: LockDelays) {
    this.#registry = registry;
    this.#lockDelays = lockDelays;
    for (const session of registry.tables.list("session", "")) this.#started(session);
    registry.onChange(({ table, id, row }, before) => {
      if (table !== "session") return;
      if (before !== null) this.#ended(id, (before as Session).node);
      if (row !== null) this.#started(row as Session);
    });
    registry.onTouched((touched) => this.#review(touched));
    this.#sweepLater();
  }

  /** Starts the session's time anew; null when there is no such session. */
  renew(id: string): Session | null {
    const session = this.#registry.tables.get("session", id);
    if (session !== null && !this.#ending.has(id)) this.#arm(session);
    return session;
  }

  end(id: string): Promise<void> {
    this.#ending.add(id);
    return this.#registry.write((tx) => endSession(tx, id, this.#lockDelays)).finally(() => this.#ending.delete(id));
  }

  #started(session: Session): void {
    this.#byNode.set(session.node, (this.#byNode.get(session.node) ?? new Set()).add(session.id));
    this.#arm(session);
  }

  #ended(id: string, node: string): void {
    this.#deadlines.get(id)?.cancel();
    this.#deadlines.delete(id);
    const ofNode = this.#byNode.get(node);
    ofNode?.delete(id);
    if (ofNode?.size === 0) this.#byNode.delete(node);
  }

  #arm({ id, ttlMs }: Session): void {
    this.#deadlines.get(id)?.cancel();
    if (ttlMs === 0) return;
    this.#deadlines.set(
      id,
      this.#registry.deadlines.after(ttlMs * TTL_FACTOR, () => this.#endOrRetry(id)),
    );
  }

  /** A store that cannot be written is tried again after the TTL: a session must not outlive its time for ever. */
  #endOrRetry(id: string): void {
    if (this.#ending.has(id)) return;
    this.end(id).catch(() => this.renew(id));
  }

  /** Ends sessions on nodes of which a check or the node itself changed, when they lost what they need. */
  #review(touched: Touched): void {
    for (const each of touched.topics) {
      const node = /^node(?:-checks)?:([^]*)$/.exec(each)?.[1];
      if (node === undefined) continue;
      for (const id of this.#byNode.get(node) ?? []) {
        const session = this.#registry.tables.get("session", id);
        if (session !== null && !this.#holds(session)) this.#endOrRetry(id);
      }
    }
  }

  #holds({ node, nodeChecks, serviceChecks }: Session): boolean {
    const { view } = this.#registry;
    if (view.node(node) === null) return false;
    return [...nodeChecks, ...serviceChecks.map(({ id }) => id)].every((id) => {
      const check = view.check(node, id);
      return check !== null && check.status !== "critical";
    });
  }

  #sweepLater(): void {
    this.#registry.deadlines.after(SWEEP_MS, () => {
      this.#lockDelays.sweep();
      this.#sweepLater();
    });
  }
}
