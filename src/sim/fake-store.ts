import { AppError } from "../model/error.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Random } from "../platform/ports/random.ts";
import type { Store, StoreChange, StoreCondition, StoreEntry, StoreWrite } from "../platform/ports/store.ts";
import { StoreWatchers } from "../platform/ports/store-watchers.ts";

const KEY_PATTERN = /^[\x20-\x7e]{1,512}$/;
const VALUE_BYTES_MAX = 1024 * 1024;

export interface FakeStoreOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Longest time that one half of a call takes: the way in and the way out each draw theirs. */
  readonly latencyMs?: number;
}

interface Stored {
  /** JSON text: a reader cannot change what is stored, and what JSON does not carry is lost here too. */
  readonly text: string;
  readonly revision: number;
}

/**
 * The store in memory, as strict as the real ones. Each call takes time before and after its effect, so that others come
 * in between: a commit may be done and its answer still on the way when its caller dies.
 */
export class FakeStore implements Store {
  readonly #options: FakeStoreOptions;
  readonly #entries: Map<string, Stored>;
  readonly #watchers = new StoreWatchers();
  #refusals = 0;
  #revision: { value: number };
  #closed = false;

  constructor(options: FakeStoreOptions) {
    this.#options = options;
    this.#entries = new Map();
    this.#revision = { value: 0 };
  }

  /** The same disk under a new process: data is there, watchers are not. This one must not be used any more. */
  reopen(): FakeStore {
    const next = new FakeStore(this.#options);
    for (const [key, stored] of this.#entries) next.#entries.set(key, stored);
    next.#revision = this.#revision;
    this.#closed = true;
    this.#watchers.clear();
    return next;
  }

  /** The next so many commits are refused, as by a full disk. */
  refuseNext(count: number): void {
    this.#refusals = count;
  }

  async get(key: string): Promise<StoreEntry | null> {
    checkKey(key);
    await this.#wait();
    const stored = this.#entries.get(key);
    const entry = stored === undefined ? null : readEntry(key, stored);
    await this.#wait();
    return entry;
  }

  async list(prefix: string): Promise<readonly StoreEntry[]> {
    await this.#wait();
    const entries = [...this.#entries]
      .filter(([key]) => key.startsWith(prefix))
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, stored]) => readEntry(key, stored));
    await this.#wait();
    return entries;
  }

  async commit(writes: readonly StoreWrite[], conditions: readonly StoreCondition[] = []): Promise<number | null> {
    // Taken as they are now: what the caller does to the objects later is not part of the commit.
    const texts = writes.map(checkWrite);
    for (const { key } of conditions) checkKey(key);
    await this.#wait();
    if (this.#refusals > 0) {
      this.#refusals -= 1;
      throw new AppError("unavailable", "Cannot write to the store: the disk is full");
    }
    const revision = this.#apply(writes, texts, conditions);
    await this.#wait();
    return revision;
  }

  watch(onChange: (change: StoreChange) => void): () => void {
    return this.#watchers.add(onChange);
  }

  async close(): Promise<void> {
    await this.#wait();
    this.#closed = true;
    this.#watchers.clear();
  }

  /** All of it, a line a key: for assertions. */
  toString(): string {
    return [...this.#entries]
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, { text, revision }]) => `${key} @${revision} ${text}`)
      .join("\n");
  }

  #apply(
    writes: readonly StoreWrite[],
    texts: readonly (string | null)[],
    conditions: readonly StoreCondition[],
  ): number | null {
    if (conditions.some(({ key, revision }) => (this.#entries.get(key)?.revision ?? 0) !== revision)) return null;
    this.#revision.value += 1;
    const revision = this.#revision.value;
    writes.forEach(({ key }, at) => {
      const text = texts[at];
      if (typeof text === "string") this.#entries.set(key, { text, revision });
      else this.#entries.delete(key);
    });
    this.#watchers.tell([{ revision, writes: writes.map((write, at) => copyWrite(write, texts[at] ?? null)) }]);
    return revision;
  }

  async #wait(): Promise<void> {
    await this.#options.clock.sleep(this.#options.random.next() * (this.#options.latencyMs ?? 2));
    if (this.#closed) throw new AppError("unavailable", "Cannot use the store: it is closed");
  }
}

function readEntry(key: string, { text, revision }: Stored): StoreEntry {
  return { key, value: JSON.parse(text) as unknown, revision };
}

function copyWrite(write: StoreWrite, text: string | null): StoreWrite {
  return text === null ? write : { kind: "put", key: write.key, value: JSON.parse(text) as unknown };
}

function checkWrite(write: StoreWrite): string | null {
  checkKey(write.key);
  if (write.kind === "delete") return null;
  const text = JSON.stringify(write.value) as string | undefined;
  if (text === undefined) throw new AppError("invalid", `Cannot store "${write.key}": its value is not JSON`);
  if (Buffer.byteLength(text) > VALUE_BYTES_MAX) {
    throw new AppError("invalid", `Cannot store "${write.key}": its value is larger than ${VALUE_BYTES_MAX} bytes`);
  }
  return text;
}

function checkKey(key: string): void {
  if (!KEY_PATTERN.test(key)) {
    throw new AppError(
      "invalid",
      `Cannot use store key "${key.slice(0, 80)}": it must be 1-512 printable ASCII characters`,
    );
  }
}
