/**
 * What is stored of the registry as a whole: up to where indexes are reserved, how often a server has taken the lead, and which
 * set of rows counts. A restored snapshot is written as a new set beside the old one, in as many commits as it takes; the one
 * commit that names it makes it the one that counts.
 */
import type { Digest } from "../../platform/ports/digest.ts";
import type { Store } from "../../platform/ports/store.ts";
import { dropOtherGenerations, INDEX_KEY, type PlacedRow, type Reserved, storeGeneration } from "./row-keys.ts";

export class StoredHead {
  readonly #store: Store;
  #now: Required<Reserved>;
  #storing: Promise<void> = Promise.resolve();

  /** @throws AppError `unavailable` when the store cannot be read. */
  static async open(store: Store): Promise<StoredHead> {
    const stored = (await store.get(INDEX_KEY))?.value as Reserved | undefined;
    const { reserved = 1, generation = 0, term = 0, unclean = false } = stored ?? {};
    return new StoredHead(store, { reserved, generation, term: term + 1, unclean });
  }

  private constructor(store: Store, now: Required<Reserved>) {
    this.#store = store;
    this.#now = now;
  }

  /** Indexes up to this one may have been used. */
  get reserved(): number {
    return this.#now.reserved;
  }

  /** Of the rows that count. */
  get generation(): number {
    return this.#now.generation;
  }

  /** Grows by one with each opening. */
  get term(): number {
    return this.#now.term;
  }

  reserve(reserved: number): Promise<void> {
    return this.#write({ reserved });
  }

  /** Takes away rows that do not count: of a restore that was broken off, or of what one has replaced. */
  async clean(): Promise<void> {
    if (!this.#now.unclean) return;
    await dropOtherGenerations(this.#store, this.generation);
    await this.#write({ unclean: false });
  }

  /** Stores these rows as those that count, all or none; the others lie there until `clean`. */
  async replace(rows: readonly PlacedRow[], digest: Digest): Promise<void> {
    // What an earlier try left behind would else come to life with it.
    await this.clean();
    const generation = this.generation + 1;
    await this.#write({ unclean: true });
    await storeGeneration(this.#store, rows, { digest, generation });
    await this.#write({ generation });
  }

  /** One after another, each with what the one before it has made true: two at once would take each other back. */
  #write(change: Partial<Reserved>): Promise<void> {
    const storing = this.#storing.then(async () => {
      const now = { ...this.#now, ...change };
      await this.#store.commit([{ kind: "put", key: INDEX_KEY, value: now }]);
      this.#now = now;
    });
    this.#storing = storing.catch(() => undefined);
    return storing;
  }
}
