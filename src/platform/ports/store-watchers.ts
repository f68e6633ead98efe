import type { StoreChange } from "./store.ts";

/**
 * Those who watch a store, and the order in which they hear: every store keeps `Store.watch` with one of these. All of them
 * hear of one change before the first hears of the next, also when a watcher commits while it is told.
 */
export class StoreWatchers {
  readonly #watchers = new Set<(change: StoreChange) => void>();
  readonly #untold: StoreChange[] = [];
  #telling = false;

  /** From the next change on. Returns the function that ends it. */
  add(onChange: (change: StoreChange) => void): () => void {
    // A wrapper of its own, so that watching twice with one function is two watches.
    const watcher = (change: StoreChange): void => onChange(change);
    this.#watchers.add(watcher);
    return () => {
      this.#watchers.delete(watcher);
    };
  }

  /** Tells all, in the order of commits. Called by a watcher, it leaves the changes to the call that is telling already. */
  tell(changes: readonly StoreChange[]): void {
    this.#untold.push(...changes);
    if (this.#telling) return;
    this.#telling = true;
    try {
      for (let change = this.#untold.shift(); change !== undefined; change = this.#untold.shift()) {
        // A watcher that is ended while others are told is skipped; a Set allows that.
        for (const watcher of this.#watchers) watcher(change);
      }
    } finally {
      this.#telling = false;
    }
  }

  clear(): void {
    this.#watchers.clear();
  }
}
