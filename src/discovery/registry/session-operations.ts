/** Sessions and the locks they hold, as changes of a transaction. */
import type { Clock } from "../../platform/ports/clock.ts";
import type { CatalogView } from "./catalog-view.ts";
import { parseDuration } from "./parse-duration.ts";
import type { Session, SessionBehavior } from "./records.ts";
import { registryError } from "./registry-error.ts";
import { type Transaction } from "./tables.ts";

export interface SessionInput {
  readonly name: string;
  readonly node: string;
  readonly lockDelayMs: number;
  readonly behavior: SessionBehavior;
  readonly ttl: string;
  readonly nodeChecks: readonly string[];
  readonly serviceChecks: Session["serviceChecks"];
}

export const SERF_HEALTH = "serfHealth";
export const SESSION_TTL_MS = { min: 10_000, max: 86_400_000 } as const;
export const LOCK_DELAY_MS = { default: 15_000, max: 60_000 } as const;

/** Of one stored record: a value of the store has its limit, and so has a commit. */
const DELAYED_KEYS = 200;

/** Until when keys cannot be locked, since their holder did not give them up itself. See `LockDelayKeeper` for what is stored of it. */
export class LockDelays {
  readonly #clock: Clock;
  readonly #untilMs = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  isDelayed(key: string): boolean {
    const untilMs = this.#untilMs.get(key);
    if (untilMs === undefined) return false;
    if (untilMs > this.#clock.monotonicMs()) return true;
    this.#untilMs.delete(key);
    return false;
  }

  delay(key: string, ms: number): void {
    if (ms > 0) this.#untilMs.set(key, this.#clock.monotonicMs() + ms);
  }

  /** Forgets what is over. */
  sweep(): void {
    for (const key of this.#untilMs.keys()) this.isDelayed(key);
  }
}

/** @throws when the node or one of its checks is missing or critical, or the TTL is out of range. */
export function createSession(
  tx: Transaction,
  id: string,
  { input, view }: { input: SessionInput; view: CatalogView },
): Session {
  const { node, ttl } = input;
  const ttlMs = parseTtl(ttl);
  if (tx.get("node", node) === null && view.node(node) === null) throw registryError(500, "Missing node registration");
  for (const check of [...input.nodeChecks, ...input.serviceChecks.map((each) => each.id)]) {
    const record = tx.get("check", `${node}\0${check}`) ?? view.check(node, check);
    if (record === null) throw registryError(500, `Missing check '${check}' registration`);
    if (record.status === "critical") throw registryError(500, `Check '${check}' is in critical state`);
  }
  return tx.put("session", id, { ...input, id, ttlMs });
}

function parseTtl(ttl: string): number {
  if (ttl === "") return 0;
  const ms = parseDuration(ttl);
  if (ms === null)
    throw registryError(500, `Invalid Session TTL '${ttl}': time: invalid duration ${JSON.stringify(ttl)}`);
  if (ms !== 0 && (ms < SESSION_TTL_MS.min || ms > SESSION_TTL_MS.max))
    throw registryError(500, `Invalid Session TTL '${ms * 1e6}', must be between [10s=24h0m0s]`);
  return ms;
}

/** Ends a session: what it holds is released or deleted by its behaviour, and cannot be locked for its lock delay. */
export function endSession(tx: Transaction, id: string, lockDelays: LockDelays): void {
  const session = tx.get("session", id);
  if (session === null) return;
  const { lockDelayMs: delayMs } = session;
  const held = tx.heldBy(id).filter((key) => tx.get("kv", key) !== null);
  for (let at = 0; at < held.length && delayMs > 0; at += DELAYED_KEYS) {
    const part = `${id}/${at}`;
    tx.put("lockDelay", part, { id: part, keys: held.slice(at, at + DELAYED_KEYS), delayMs });
  }
  for (const key of held) {
    const row = tx.get("kv", key);
    if (row === null) continue;
    if (session.behavior === "delete") tx.delete("kv", key);
    else tx.put("kv", key, { ...row, session: null });
    lockDelays.delay(key, delayMs);
  }
  for (const query of tx.list("query", "")) if (query.session === id) tx.delete("query", query.id);
  tx.delete("session", id);
}
