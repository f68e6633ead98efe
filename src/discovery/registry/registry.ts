/**
 * The registry: what Consul keeps. See docs/consul-api.md for how writing, indexes and watching fit together.
 */
import type { Clock } from "../../platform/ports/clock.ts";
import type { Digest } from "../../platform/ports/digest.ts";
import type { Random } from "../../platform/ports/random.ts";
import type { Store, StoreWrite } from "../../platform/ports/store.ts";
import { AppError } from "../../model/error.ts";
import { CatalogView } from "./catalog-view.ts";
import { Deadlines } from "./deadlines.ts";
import { Graves } from "./graves.ts";
import { type KvEntry, type Rows, TABLES, type TableName } from "./records.ts";
import { loadRows, type PlacedRow, rowKey } from "./row-keys.ts";
import { StoredHead } from "./stored-head.ts";
import { type Change, Tables, Transaction } from "./tables.ts";
import { topic, Touched } from "./touched.ts";
import { type Interest, Watches } from "./watches.ts";

export interface RegistryDeps {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly digest: Digest;
  /** It shows what another server writes, see `openReplica`, and takes no change itself. */
  readonly follows?: boolean;
}

/** A row that another server has stored, null when it has taken it away. */
export interface FollowedRow extends Omit<PlacedRow, "row"> {
  readonly row: PlacedRow["row"] | null;
}

/** What a blocking query asks. */
export interface Query<Value> {
  readonly interests: readonly Interest[];
  /** Index of the last change of what it depends on. */
  index(): number;
  read(): Value;
  /** Index to show when it is another than the one to compare, as for a key that is not there. */
  shown?(): number;
}

export interface BlockOptions {
  /** The client's index; 0 does not wait. */
  readonly minIndex: bigint;
  readonly waitMs: number;
  readonly signal: AbortSignal;
}

interface Below {
  readonly rows: readonly KvEntry[];
  /** Index of the latest change among them, deletions included. */
  readonly latest: number;
}

interface Replacing {
  readonly rows: readonly PlacedRow[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

interface Waiting {
  readonly run: (tx: Transaction) => unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** Indexes are reserved in the store in such steps, and the next step when half of one is used. */
const RESERVE_STEP = 1_000_000;
/** Changes that share a commit. */
const BATCH_MAX = 512;
/** Writes after which a batch is full, and most that one change should make; the store refuses more than 10,000. */
export const WRITES_MAX = 5000;
const ONE_COMMIT_MAX = 9999;
const QUEUE_MAX = 50_000;
const RETRY_MS = 1000;
/** Prefixes whose rows are kept until the next change. */
const TREES_MAX = 64;

export class Registry {
  readonly view = new CatalogView();
  readonly tables = new Tables();
  readonly deadlines: Deadlines;
  readonly watches: Watches;
  readonly clock: Clock;
  readonly random: Random;
  readonly digest: Digest;
  readonly #deps: RegistryDeps;
  readonly #graves = new Graves();
  readonly #listeners = new Set<(touched: Touched) => void>();
  readonly #changeListeners = new Set<(change: Change, before: Rows[TableName] | null) => void>();
  /** Rows below prefixes that were asked for since the last change of any key. */
  readonly #trees = new Map<string, Below>();
  #index: number;
  readonly #head: StoredHead;
  #kvIndex: number;
  /** Of the last change that was followed. */
  #followed: number;
  #reserving = false;
  #published = 0;
  #queue: Waiting[] = [];
  #replacing: Replacing[] = [];
  #writing = false;
  #closed = false;

  /** Reads all that is stored. The floor is an index that no earlier run has used. */
  static async open(deps: RegistryDeps): Promise<Registry> {
    const head = await StoredHead.open(deps.store);
    if (deps.follows === true) return await Registry.#openFollowing(deps, head);
    const registry = new Registry(deps, head, head.reserved);
    await registry.#reserve();
    await head.clean();
    for (const change of await loadRows(deps.store, head.generation)) registry.#apply(change, new Touched());
    return registry;
  }

  /** The leader's own indexes come after those of its rows, and below what it has reserved. */
  static async #openFollowing(deps: RegistryDeps, head: StoredHead): Promise<Registry> {
    const rows = await loadRows(deps.store, head.generation);
    const registry = new Registry(deps, head, Math.max(1, ...rows.map(({ index }) => index)));
    for (const change of rows) registry.#apply(change, new Touched());
    return registry;
  }

  private constructor(deps: RegistryDeps, head: StoredHead, floor: number) {
    this.#deps = deps;
    this.#head = head;
    this.clock = deps.clock;
    this.random = deps.random;
    this.digest = deps.digest;
    this.deadlines = new Deadlines(deps.clock);
    this.watches = new Watches(this.deadlines, floor);
    this.#index = floor;
    this.#kvIndex = floor;
    this.#followed = floor;
  }

  /** How often a server has taken the lead over what is stored. */
  get term(): number {
    return this.#head.term;
  }

  /** Index of the last change of anything. */
  get index(): number {
    return this.#index;
  }

  /** Index of the last change that was made known: while it stays, so do all answers. */
  get published(): number {
    return this.#published;
  }

  /** Index of the last change of any key. */
  get kvIndex(): number {
    return this.#kvIndex;
  }

  /** Called after each change with the topics it moved. */
  onTouched(listener: (touched: Touched) => void): void {
    this.#listeners.add(listener);
  }

  /** Called for each stored row that changed, as on loading. */
  onChange(listener: (change: Change, before: Rows[TableName] | null) => void): void {
    this.#changeListeners.add(listener);
  }

  /**
   * Carries out a change and resolves with what it returned when that is durable. What it throws takes back this change
   * alone. @throws AppError `unavailable` when the store does not take it: nothing of it happened then.
   */
  write<Value>(run: (tx: Transaction) => Value): Promise<Value> {
    if (this.#deps.follows === true)
      return Promise.reject(new AppError("unavailable", "Cannot change the registry: it follows another one"));
    if (this.#closed) return Promise.reject(new AppError("unavailable", "Cannot change the registry: it is closed"));
    if (this.#queue.length >= QUEUE_MAX)
      return Promise.reject(new AppError("unavailable", "Cannot change the registry: too many changes wait"));
    return new Promise<Value>((resolve, reject) => {
      this.#queue.push({ run, resolve: resolve as (value: unknown) => void, reject });
      if (!this.#writing) void this.#drain();
    });
  }

  /** A change that nobody waits for: tried again until the store takes it, for as long as `due` says that it is needed. */
  persist(run: (tx: Transaction) => unknown, due: () => boolean): void {
    if (!due() || this.#deps.follows === true) return;
    this.write(run).catch(() => this.deadlines.after(RETRY_MS, () => this.persist(run, due)));
  }

  /**
   * Puts these rows in the place of all that is stored, all of them or none, whenever the process may end. They get indexes
   * later than all before, so every watcher sees the change. @throws AppError `unavailable`, as `write`.
   */
  replaceAll(rows: readonly PlacedRow[]): Promise<void> {
    if (this.#closed) return Promise.reject(new AppError("unavailable", "Cannot change the registry: it is closed"));
    return new Promise<void>((resolve, reject) => {
      this.#replacing.push({ rows, resolve, reject });
      if (!this.#writing) void this.#drain();
    });
  }

  /**
   * Takes over what one commit of the leader has changed. Rows bring their indexes; what is gone gets one between those of the rows
   * before and after it, as the leader's was.
   */
  follow(rows: readonly FollowedRow[]): void {
    this.#followed = Math.max(this.#followed + 1, ...rows.map(({ row }) => row?.modifyIndex ?? 0));
    this.#index = Math.max(this.#index, this.#followed);
    const touched = new Touched();
    const changes = rows.map((each): Change => ({ ...each, index: each.row?.modifyIndex ?? this.#followed }));
    for (const change of changes.toSorted(byTable)) this.#apply(change, touched);
    this.#publish(touched, this.#followed);
    this.watches.raiseFloor(this.#graves.forget());
  }

  /** A change of what lives in memory only: hosts and containers. */
  observe(change: (view: CatalogView, touched: Touched, index: number) => void): void {
    const touched = new Touched();
    const index = this.#nextIndex();
    change(this.view, touched, index);
    this.#publish(touched, index);
  }

  /** Moves a topic of something that is kept elsewhere. */
  touch(moved: string): number {
    const touched = new Touched();
    touched.add(moved);
    const index = this.#nextIndex();
    this.#publish(touched, index);
    return index;
  }

  /** Ends at once when something changed after `minIndex`, else with the next change or at the end of the wait. @returns the index to show. */
  async block(query: Query<unknown>, { minIndex, waitMs, signal }: BlockOptions): Promise<number> {
    let unchanged = false;
    if (minIndex > 0n && BigInt(query.index()) <= minIndex) {
      // With the 1/64 that a deadline may be late this stays within Consul's wait/16, on which clients build their time-outs.
      const ms = waitMs + (this.random.next() * waitMs * 3) / 64;
      unchanged = (await this.watches.wait(query.interests, { ms, signal })) !== "changed";
    }
    const shown = query.shown?.() ?? query.index();
    const same = unchanged && query.shown !== undefined && minIndex <= BigInt(shown);
    return same ? Number(minIndex) : shown;
  }

  /** A query that depends on topics. */
  query<Value>(topics: readonly string[], read: () => Value): Query<Value> {
    return {
      interests: topics.map((each) => ({ kind: "topic", topic: each })),
      index: () => Math.max(...topics.map((each) => this.watches.indexOf(each))),
      read,
    };
  }

  keyQuery(key: string): Query<KvEntry | null> {
    const row = (): KvEntry | null => this.tables.get("kv", key);
    const query = {
      interests: [{ kind: "key", key } as const],
      index: () => row()?.modifyIndex ?? Math.max(this.#graves.indexOf(key), this.watches.floor),
      read: row,
    };
    // Of a key that is not there, Consul shows the index of all keys.
    return { ...query, shown: () => row()?.modifyIndex ?? Math.max(this.#kvIndex, this.watches.floor) };
  }

  prefixQuery(prefix: string): Query<readonly KvEntry[]> {
    const latest = (): number => Math.max(this.#below(prefix).latest, this.watches.floor);
    return {
      interests: [{ kind: "keys", prefix }],
      index: latest,
      read: () => this.#below(prefix).rows,
      shown: () => (this.#below(prefix).rows.length === 0 ? Math.max(this.#kvIndex, this.watches.floor) : latest()),
    };
  }

  /** A thousand watchers of one tree are woken at once: the tree is walked for the first of them alone. */
  #below(prefix: string): Below {
    const known = this.#trees.get(prefix);
    if (known !== undefined) return known;
    const rows = this.tables.list("kv", prefix);
    let latest = this.#graves.latestBelow(prefix);
    for (const { modifyIndex } of rows) if (modifyIndex > latest) latest = modifyIndex;
    const below = { rows, latest };
    if (this.#trees.size < TREES_MAX) this.#trees.set(prefix, below);
    return below;
  }

  close(): void {
    this.#closed = true;
    this.watches.close();
    this.deadlines.close();
  }

  async #drain(): Promise<void> {
    this.#writing = true;
    // What else came in this turn of the event loop goes with the first batch.
    await Promise.resolve();
    while (this.#queue.length + this.#replacing.length > 0) {
      const replacing = this.#replacing.shift();
      if (replacing === undefined) await this.#writeBatch();
      else await this.#replace(replacing).then(replacing.resolve, replacing.reject);
    }
    this.#writing = false;
  }

  async #replace({ rows }: Replacing): Promise<void> {
    const index = this.#nextIndex();
    const stamped = rows.map(({ table, id, row }): PlacedRow => {
      const createIndex = this.tables.get(table, id)?.createIndex ?? index;
      return { table, id, row: { ...row, createIndex, modifyIndex: index } };
    });
    await this.#head.replace(stamped, this.digest);
    const kept = new Set(stamped.map(({ table, id }) => `${table}/${id}`));
    const gone = TABLES.toReversed().flatMap((table) =>
      [...this.tables.ids(table, "")]
        .filter((id) => !kept.has(`${table}/${id}`))
        .map((id): Change => ({ table, id, row: null, index })),
    );
    const touched = new Touched();
    for (const change of [...gone, ...stamped.map((each) => ({ ...each, index })).toSorted(byTable)])
      this.#apply(change, touched);
    this.#publish(touched, index);
    this.watches.raiseFloor(this.#graves.forget());
    // The restore is through: what cannot be taken away now goes with the next start.
    await this.#head.clean().catch(() => undefined);
  }

  async #writeBatch(): Promise<void> {
    const tx = new Transaction(this.tables);
    const done: { readonly waiting: Waiting; readonly value: unknown }[] = [];
    let taken = 0;
    for (; taken < this.#queue.length && done.length < BATCH_MAX && tx.size < WRITES_MAX; taken += 1) {
      const waiting = this.#queue[taken];
      if (waiting === undefined) break;
      const index = this.#index + 1;
      tx.begin(index);
      try {
        const value = waiting.run(tx);
        if (tx.size > ONE_COMMIT_MAX)
          throw new AppError("invalid", "Cannot change so many records at once: take smaller steps");
        done.push({ waiting, value });
        if (tx.wrote) this.#nextIndex();
      } catch (error) {
        tx.rollback();
        waiting.reject(error);
      }
    }
    this.#queue = this.#queue.slice(taken);
    try {
      await this.#store(tx);
    } catch (error) {
      for (const { waiting } of done) waiting.reject(error);
      return;
    }
    for (const { waiting, value } of done) waiting.resolve(value);
    tx.runEffects();
  }

  async #store(tx: Transaction): Promise<void> {
    const changes = tx.changes();
    if (changes.length === 0) return;
    const writes = changes.map(({ table, id, row }): StoreWrite => {
      const key = rowKey(table, id, { digest: this.#deps.digest, generation: this.#head.generation });
      return row === null ? { kind: "delete", key } : { kind: "put", key, value: { id, row } };
    });
    await this.#deps.store.commit(writes);
    const byIndex = Map.groupBy(changes, ({ index }) => index);
    for (const index of [...byIndex.keys()].toSorted((a, b) => a - b)) {
      const touched = new Touched();
      for (const change of (byIndex.get(index) ?? []).toSorted(byTable)) this.#apply(change, touched);
      this.#publish(touched, index);
    }
    this.watches.raiseFloor(this.#graves.forget());
  }

  #reserve(): Promise<void> {
    return this.#head.reserve(this.#index + RESERVE_STEP);
  }

  /** Reserves the next step in good time; a store that cannot be written is asked again with the next change. */
  #nextIndex(): number {
    this.#index += 1;
    const isShort = this.#head.reserved - this.#index < RESERVE_STEP / 2;
    if (isShort && !this.#reserving && this.#deps.follows !== true) {
      this.#reserving = true;
      const done = (): void => {
        this.#reserving = false;
      };
      this.#reserve().then(done, done);
    }
    return this.#index;
  }

  /** Changes in memory may have overtaken a commit; topics must never go back, or who waits between two polls misses one. */
  #publish(touched: Touched, index: number): void {
    this.#published = index > this.#published ? index : this.#nextIndex();
    this.watches.touch(touched.topics, this.#published, touched.retired);
    for (const listener of this.#listeners) listener(touched);
  }

  #apply(change: Change, touched: Touched): void {
    const before = this.tables.get(change.table, change.id);
    this.tables.apply(change);
    switch (change.table) {
      case "kv":
        if (change.row === null) this.#graves.dig(change.id, change.index);
        else this.#graves.fill(change.id);
        this.#trees.clear();
        this.#kvIndex = Math.max(this.#kvIndex, change.index);
        this.watches.touchKey(change.id);
        break;
      case "session":
        this.#touchSession(change, before as Rows["session"] | null, touched);
        break;
      case "node":
        if (change.row === null) this.view.dropNode(change.id, touched);
        else this.view.putNode(change.row as Rows["node"], touched);
        break;
      case "service":
        this.#applyService(change, touched);
        break;
      case "check":
        if (change.row !== null) this.view.putCheck(change.row as Rows["check"], touched);
        else this.view.dropCheck(...splitId(change.id), touched);
        break;
      case "query":
        touched.add(topic.queries);
        break;
      case "token":
      case "policy":
      case "role":
      case "lockDelay":
        break;
    }
    for (const listener of this.#changeListeners) listener(change, before);
  }

  #applyService(change: Change, touched: Touched): void {
    if (change.row !== null) this.view.putService(change.row as Rows["service"], touched);
    else this.view.dropService(...splitId(change.id), touched);
  }

  #touchSession({ id, row }: Change, before: Rows["session"] | null, touched: Touched): void {
    touched.add(topic.sessions);
    const node = (row as Rows["session"] | null)?.node ?? before?.node;
    if (node !== undefined) touched.add(topic.nodeSessions(node));
    if (row === null) touched.retire(topic.session(id));
    else touched.add(topic.session(id));
  }
}

/** Nodes before what is on them, whatever order they were written in. */
function byTable(a: Change, b: Change): number {
  return TABLES.indexOf(a.table) - TABLES.indexOf(b.table);
}

function splitId(id: string): [string, string] {
  const at = id.indexOf("\0");
  return [id.slice(0, at), id.slice(at + 1)];
}
