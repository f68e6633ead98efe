/**
 * Keeps lock delays beyond the life of a server: they are stored with the end of the session, and a server that takes the lead
 * begins each of them anew, in full. So a key is never free too early, by no clock of any machine.
 */
import type { LockDelayRecord } from "./records.ts";
import type { Registry } from "./registry.ts";
import type { LockDelays } from "./session-operations.ts";

export class LockDelayKeeper {
  readonly #registry: Registry;

  constructor(registry: Registry, delays: LockDelays) {
    this.#registry = registry;
    for (const row of registry.tables.list("lockDelay", "")) {
      for (const key of row.keys) delays.delay(key, row.delayMs);
      this.#armEnd(row);
    }
    registry.onChange(({ table, row }) => {
      if (table === "lockDelay" && row !== null) this.#armEnd(row as LockDelayRecord);
    });
  }

  #armEnd({ id, delayMs }: LockDelayRecord): void {
    const isThere = (): boolean => this.#registry.tables.get("lockDelay", id) !== null;
    this.#registry.deadlines.after(delayMs, () => this.#registry.persist((tx) => tx.delete("lockDelay", id), isThere));
  }
}
