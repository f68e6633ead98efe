/** Checks that clients report themselves: their time to live, and what becomes of services that stay critical. */
import { deregister, putCheck } from "./catalog-operations.ts";
import type { Deadline } from "./deadlines.ts";
import { type CheckRecord, type CheckStatus, onNode } from "./records.ts";
import { registryError } from "./registry-error.ts";
import type { Registry } from "./registry.ts";

/** Consul cuts what a check says. */
const OUTPUT_CHARS_MAX = 4096;

/** Passes a client's word on to the host whose container declares the check; false when the host is away. */
export type TellHost = (node: string, serviceId: string, said: Said) => boolean;

interface Said {
  readonly status: CheckStatus;
  readonly output: string;
}

export class CheckKeeper {
  readonly #registry: Registry;
  readonly #ttls = new Map<string, Deadline>();
  readonly #reapers = new Map<string, Deadline>();
  #tellHost: TellHost = () => false;

  constructor(registry: Registry) {
    this.#registry = registry;
    for (const check of registry.tables.list("check", "")) this.#changed(onNode(check.node, check.id), check, null);
    registry.onChange(({ table, id, row }, before) => {
      if (table === "check") this.#changed(id, row as CheckRecord | null, before as CheckRecord | null);
    });
  }

  /** Who is told of words on checks that containers declare: those are their hosts' to keep. */
  onDeclared(tellHost: TellHost): void {
    this.#tellHost = tellHost;
  }

  /**
   * Takes over a client's word on a TTL check and starts its time anew. Saying the same again is no change.
   * @throws AppError 404 for an unknown check, 500 for one without a TTL.
   */
  async report(node: string, id: string, { status, output }: Said): Promise<void> {
    const check = this.#registry.view.check(node, id);
    if (check === null) throw unknownCheck(id);
    if (check.origin === "platform" && check.type === "ttl") {
      if (this.#tellHost(node, check.serviceId, { status, output: output.slice(0, OUTPUT_CHARS_MAX) })) return;
      throw registryError(500, `The host of check ${JSON.stringify(id)} is not connected`);
    }
    if (check.ttlMs === 0) throw registryError(500, `CheckID ${JSON.stringify(id)} does not have associated TTL`);
    await this.set(node, id, { status, output: output.slice(0, OUTPUT_CHARS_MAX) });
    const now = this.#registry.tables.get("check", onNode(node, id));
    if (now !== null) this.#armTtl(onNode(node, id), now);
  }

  /** Changes what a check of the API says. */
  async set(node: string, id: string, said: { readonly status: CheckStatus; readonly output?: string }): Promise<void> {
    await this.#registry.write((tx) => {
      const check = tx.get("check", onNode(node, id));
      if (check === null) throw unknownCheck(id);
      putCheck({ tx, view: this.#registry.view, node }, { ...check, ...said });
    });
  }

  #changed(key: string, row: CheckRecord | null, before: CheckRecord | null): void {
    if (row === null) {
      this.#cancel(this.#ttls, key);
      this.#cancel(this.#reapers, key);
      return;
    }
    if (row.ttlMs > 0 && (before === null || before.ttlMs !== row.ttlMs)) this.#armTtl(key, row);
    if (row.status !== "critical" || row.deregisterAfterMs === 0 || row.serviceId === "")
      this.#cancel(this.#reapers, key);
    else if (!this.#reapers.has(key)) this.#armReaper(key, row);
  }

  #armTtl(key: string, { ttlMs, node, id }: CheckRecord): void {
    this.#cancel(this.#ttls, key);
    if (ttlMs === 0) return;
    const expire = (): void => {
      this.#ttls.delete(key);
      const check = this.#registry.view.check(node, id);
      if (check === null || check.status === "critical") return;
      // Not stored: the next try is one TTL later.
      this.set(node, id, { status: "critical" }).catch(() => this.#armTtl(key, check));
    };
    this.#ttls.set(key, this.#registry.deadlines.after(ttlMs, expire));
  }

  #armReaper(key: string, { deregisterAfterMs, node, serviceId }: CheckRecord): void {
    const reap = (): void => {
      this.#reapers.delete(key);
      this.#registry.persist(
        (tx) => deregister(tx, this.#registry.view, { node, serviceId, checkId: "" }),
        () => this.#registry.tables.get("check", key)?.status === "critical" && !this.#reapers.has(key),
      );
    };
    this.#reapers.set(key, this.#registry.deadlines.after(deregisterAfterMs, reap));
  }

  #cancel(deadlines: Map<string, Deadline>, key: string): void {
    deadlines.get(key)?.cancel();
    deadlines.delete(key);
  }
}

export function unknownCheck(id: string): Error {
  return registryError(
    404,
    `Unknown check ID ${JSON.stringify(id)}. Ensure that the check ID is passed, not the check name.`,
  );
}
