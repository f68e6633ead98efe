/** A copy of the store on this machine that may lag behind, and that can be read whoever leads and whether or not anybody does. */
import type { StoreEntry } from "./store.ts";

export interface ReplicaChange {
  readonly key: string;
  /** Null: it was deleted. */
  readonly value: unknown;
  /** What it had; null for nothing. */
  readonly before: unknown;
}

/** The store as it was at one moment, and what came after. */
export interface ReplicaView {
  get(key: string): Promise<StoreEntry | null>;
  list(prefix: string): Promise<readonly StoreEntry[]>;
  /**
   * Calls `onCommit` for each later commit that changed keys below the prefix, in order. Resolves when it cannot go on: after an
   * abort, or when too much was missed. Who still wants it opens another view then.
   */
  follow(prefix: string, onCommit: (changes: readonly ReplicaChange[]) => void, signal: AbortSignal): Promise<void>;
}

export interface Replica {
  /** @throws AppError `unavailable` when this machine's copy does not answer. */
  open(): Promise<ReplicaView>;
  /** `ADDRESS:PORT` of who leads, and how long ago that was heard; null: nobody that is known of. */
  leader(): string | null;
  contactMs(): number;
}
