/** One stored value. `revision` grows with every commit of the whole store; it is the value's compare-and-swap token. */
export interface StoreEntry {
  readonly key: string;
  readonly value: unknown;
  readonly revision: number;
}

export type StoreWrite =
  | { readonly kind: "put"; readonly key: string; readonly value: unknown }
  | { readonly kind: "delete"; readonly key: string };

/** `revision: 0` demands that the key does not exist. */
export interface StoreCondition {
  readonly key: string;
  readonly revision: number;
}

export interface StoreChange {
  readonly revision: number;
  readonly writes: readonly StoreWrite[];
}

/**
 * Consistent desired state: ordered keys, JSON values. A commit is all or nothing and durable when it resolves.
 * Keys are paths of printable ASCII, 512 characters at most; values 1 MiB as JSON at most.
 */
export interface Store {
  get(key: string): Promise<StoreEntry | null>;
  /** Entries whose key starts with `prefix`, by key. */
  list(prefix: string): Promise<readonly StoreEntry[]>;
  /**
   * Applies all writes if every condition holds.
   * @returns the new revision, or null when a condition failed and nothing was written.
   */
  commit(writes: readonly StoreWrite[], conditions?: readonly StoreCondition[]): Promise<number | null>;
  /** Calls `onChange` after each commit in order, from now on. Returns the function that ends it. */
  watch(onChange: (change: StoreChange) => void): () => void;
  close(): Promise<void>;
}
