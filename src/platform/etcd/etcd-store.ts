/**
 * The store in etcd, for one writer at a time: the holder of an office.
 *
 * All commits are a chain. Each writes one further key, with an id of its own, under the condition that this key is still as
 * the commit before it left it. So a commit whose answer was lost is simply sent again: it happens once, and the key tells
 * whether it has. Who comes into office starts the chain anew, and from then on nothing of a former holder is taken, however
 * late it arrives. Since nobody else writes, watchers hear of commits from here and not from etcd.
 */
import { AppError } from "../../model/error.ts";
import type { Clock } from "../ports/clock.ts";
import type { Random } from "../ports/random.ts";
import type { Store, StoreChange, StoreCondition, StoreEntry, StoreWrite } from "../ports/store.ts";
import { StoreWatchers } from "../ports/store-watchers.ts";
import type { EtcdEntry, EtcdGateway, EtcdOutcome, EtcdTransaction, EtcdWrite } from "./etcd-gateway.ts";
import type { Office } from "./office.ts";

export interface EtcdStoreOptions {
  readonly gateway: EtcdGateway;
  readonly office: Pick<Office, "key" | "revision" | "abandon" | "lost">;
  readonly clock: Clock;
  readonly random: Random;
  /** Of all keys, as the office has it. */
  readonly prefix: string;
}

const VALUE_BYTES_MAX = 1024 * 1024;
const KEY_PATTERN = /^[\x20-\x7e]{1,512}$/;
const PREFIX_PATTERN = /^[\x20-\x7e]{0,512}$/;
/** Sorts after every printable character: `prefix + AFTER` ends the range of a prefix. */
const AFTER = "\x7f";
/** A commit larger than this is a programming mistake, not a workload. etcd is started so that it takes them. */
export const STORE_WRITES_MAX = 10_000;
/** Entries that are read at once, so that no answer is larger than some hundred MiB in the worst case. */
const PAGE_ENTRIES = 500;
/** etcd elects a new leader of its own within a second or two; what takes longer has no quorum. */
const COMMIT_MS_MAX = 15_000;
const RETRY_MS = 100;

export class EtcdStore implements Store {
  readonly #options: EtcdStoreOptions;
  readonly #watchers = new StoreWatchers();
  readonly #end = new AbortController();
  /** One after the other: each knows what the one before it left. */
  #last: Promise<unknown> = Promise.resolve();
  #chain: number;

  /** @throws AppError `unavailable` when the office was lost or etcd has no quorum. */
  static async open(options: EtcdStoreOptions): Promise<EtcdStore> {
    const { gateway, office, random, prefix } = options;
    const started = await gateway.transact({
      compare: [{ key: office.key, of: "CREATE", revision: office.revision }],
      writes: [{ kind: "put", key: chainKey(prefix), value: random.uuid() }],
    });
    if (!started.succeeded) throw new AppError("unavailable", "Cannot open the store: another server leads by now");
    return new EtcdStore(options, started.revision);
  }

  private constructor(options: EtcdStoreOptions, chain: number) {
    this.#options = options;
    this.#chain = chain;
    const { lost } = options.office;
    if (lost.aborted) this.#end.abort();
    lost.addEventListener("abort", () => this.#end.abort(), { once: true });
  }

  async get(key: string): Promise<StoreEntry | null> {
    checkKey(key);
    const entry = await this.#within((signal) => this.#options.gateway.get(this.#dataKey(key), signal));
    return entry === null ? null : this.#entryOf(entry);
  }

  async list(prefix: string): Promise<readonly StoreEntry[]> {
    if (!PREFIX_PATTERN.test(prefix)) throw badKey(prefix);
    const { gateway } = this.#options;
    const entries: StoreEntry[] = [];
    const to = this.#dataKey(prefix + AFTER);
    let from = this.#dataKey(prefix);
    let revision = 0;
    for (;;) {
      const asked = { from, to, limit: PAGE_ENTRIES, revision };
      const page = await this.#within((signal) => gateway.range(asked, signal));
      for (const entry of page.entries) entries.push(this.#entryOf(entry));
      const last = page.entries.at(-1);
      if (!page.more || last === undefined) return entries;
      // All pages are of one moment.
      revision = revision === 0 ? page.revision : revision;
      from = `${last.key}\0`;
    }
  }

  async commit(writes: readonly StoreWrite[], conditions: readonly StoreCondition[] = []): Promise<number | null> {
    if (writes.length > STORE_WRITES_MAX)
      throw new AppError("invalid", `Cannot commit ${writes.length} writes at once: at most ${STORE_WRITES_MAX}`);
    const encoded = writes.map((write) => this.#encode(write));
    for (const { key } of conditions) checkKey(key);
    const turn = this.#last.then(() => this.#commitNow(encoded, conditions));
    this.#last = turn.catch(() => undefined);
    const revision = await turn;
    if (revision !== null) this.#watchers.tell([{ revision, writes }]);
    return revision;
  }

  watch(onChange: (change: StoreChange) => void): () => void {
    return this.#watchers.add(onChange);
  }

  /** Waits for commits under way; the office is its holder's to give up. */
  async close(): Promise<void> {
    await this.#last;
    this.#end.abort();
    this.#watchers.clear();
  }

  async #commitNow(encoded: readonly EtcdWrite[], conditions: readonly StoreCondition[]): Promise<number | null> {
    const chain = chainKey(this.#options.prefix);
    const id = this.#options.random.uuid();
    const outcome = await this.#send({
      compare: [
        { key: chain, of: "MOD", revision: this.#chain },
        ...conditions.map(({ key, revision }) => ({ key: this.#dataKey(key), of: "MOD", revision }) as const),
      ],
      writes: [{ kind: "put", key: chain, value: id }, ...lastOfEachKey(encoded)],
      otherwise: chain,
    });
    if (outcome.succeeded) {
      this.#chain = outcome.revision;
      return outcome.revision;
    }
    if (outcome.found?.modRevision === this.#chain) return null;
    if (outcome.found?.value === id) {
      // It was carried out when it was sent before.
      this.#chain = outcome.found.modRevision;
      return this.#chain;
    }
    this.#options.office.abandon();
    throw lostOffice();
  }

  /** Sends until there is an answer. Without one nobody knows what is stored: the office is given up. */
  async #send(transaction: EtcdTransaction): Promise<EtcdOutcome> {
    const { gateway, clock, office } = this.#options;
    const deadlineMs = clock.monotonicMs() + COMMIT_MS_MAX;
    for (;;) {
      try {
        return await this.#within((signal) => gateway.transact(transaction, signal));
      } catch (error) {
        if (!(error instanceof AppError) || error.code === "internal") throw error;
        if (error.code === "conflict") {
          throw new AppError("unavailable", `Cannot write to the store: ${error.message}`, {
            cause: error,
            hint: "Free space on the disks of the servers, or take smaller steps; nothing of the change was written",
          });
        }
        if (this.#end.signal.aborted) throw lostOffice();
        if (clock.monotonicMs() > deadlineMs) {
          office.abandon();
          throw error;
        }
      }
      await clock.sleep(RETRY_MS, this.#end.signal);
    }
  }

  async #within<Value>(ask: (signal: AbortSignal) => Promise<Value>): Promise<Value> {
    const { signal } = this.#end;
    if (signal.aborted) throw lostOffice();
    return await ask(signal);
  }

  #dataKey(key: string): string {
    return `${this.#options.prefix}data/${key}`;
  }

  #entryOf({ key, value, modRevision }: EtcdEntry): StoreEntry {
    return { key: key.slice(this.#dataKey("").length), value: JSON.parse(value) as unknown, revision: modRevision };
  }

  #encode(write: StoreWrite): EtcdWrite {
    checkKey(write.key);
    const key = this.#dataKey(write.key);
    if (write.kind === "delete") return { kind: "delete", key };
    const value = JSON.stringify(write.value) as string | undefined;
    if (value === undefined) throw new AppError("invalid", `Cannot store "${write.key}": the value is not JSON`);
    const bytes = Buffer.byteLength(value);
    if (bytes > VALUE_BYTES_MAX)
      throw new AppError("invalid", `Cannot store "${write.key}": ${bytes} bytes, at most ${VALUE_BYTES_MAX}`);
    return { kind: "put", key, value };
  }
}

/** What is stored under keys that start with `keys`, for those that hold no office. @throws AppError `unavailable` without a quorum. */
export async function readStored(
  { gateway, prefix }: Pick<EtcdStoreOptions, "gateway" | "prefix">,
  keys: string,
): Promise<readonly unknown[]> {
  const from = `${prefix}data/${keys}`;
  const page = await gateway.range({ from, to: from + AFTER, limit: PAGE_ENTRIES, revision: 0 });
  return page.entries.map(({ value }) => JSON.parse(value) as unknown);
}

/** etcd takes one write a key in a transaction. */
function lastOfEachKey(writes: readonly EtcdWrite[]): readonly EtcdWrite[] {
  return [...new Map(writes.map((write) => [write.key, write])).values()];
}

function chainKey(prefix: string): string {
  return `${prefix}chain`;
}

function lostOffice(): AppError {
  return new AppError("unavailable", "Cannot use the store: this server does not lead", {
    hint: "Try again: another server leads by now, or soon will",
  });
}

function checkKey(key: string): void {
  if (!KEY_PATTERN.test(key)) throw badKey(key);
}

function badKey(key: string): AppError {
  return new AppError(
    "invalid",
    `Cannot use key ${JSON.stringify(key.slice(0, 80))}: 1 to 512 printable ASCII characters`,
  );
}
