/** The stored tables in memory, and the overlay in which a change is worked out before it is stored. */
import { type Rows, type Stamped, TABLES, type TableName } from "./records.ts";
import { SortedKeys } from "./sorted-keys.ts";

export interface Change<T extends TableName = TableName> {
  readonly table: T;
  readonly id: string;
  /** Null: taken away. */
  readonly row: Rows[T] | null;
  readonly index: number;
}

interface Table<Row> {
  readonly rows: Map<string, Row>;
  readonly keys: SortedKeys;
}

type AllTables = { readonly [T in TableName]: Table<Rows[T]> };

export interface TableReader {
  get<T extends TableName>(table: T, id: string): Rows[T] | null;
  /** Rows whose id starts with `prefix`, in the order of ids. */
  list<T extends TableName>(table: T, prefix: string): readonly Rows[T][];
  /** Keys that a session holds. */
  heldBy(session: string): readonly string[];
}

export class Tables implements TableReader {
  readonly #tables: AllTables = emptyTables();
  readonly #held = new Map<string, Set<string>>();

  get<T extends TableName>(table: T, id: string): Rows[T] | null {
    return this.#tables[table].rows.get(id) ?? null;
  }

  list<T extends TableName>(table: T, prefix: string): readonly Rows[T][] {
    const { rows } = this.#tables[table];
    const found: Rows[T][] = [];
    for (const id of this.ids(table, prefix)) {
      const row = rows.get(id);
      if (row !== undefined) found.push(row);
    }
    return found;
  }

  ids(table: TableName, prefix: string): Generator<string> {
    return this.#tables[table].keys.withPrefix(prefix);
  }

  size(table: TableName): number {
    return this.#tables[table].rows.size;
  }

  heldBy(session: string): readonly string[] {
    return [...(this.#held.get(session) ?? [])].toSorted();
  }

  /** Takes over a change that is stored. */
  apply<T extends TableName>({ table, id, row }: Change<T>): void {
    const { rows, keys } = this.#tables[table];
    if (table === "kv") this.#noteHolder(id, row as Rows["kv"] | null);
    if (row === null) {
      rows.delete(id);
      keys.delete(id);
      return;
    }
    if (!rows.has(id)) keys.add(id);
    rows.set(id, row);
  }

  #noteHolder(key: string, row: Rows["kv"] | null): void {
    const before = this.#tables.kv.rows.get(key)?.session ?? null;
    const after = row?.session ?? null;
    if (before === after) return;
    if (before !== null) {
      const held = this.#held.get(before);
      held?.delete(key);
      if (held?.size === 0) this.#held.delete(before);
    }
    if (after !== null) this.#held.set(after, (this.#held.get(after) ?? new Set()).add(key));
  }
}

/** A row as a change gives it: its stamps are set by the transaction. */
export type Unstamped<Row> = Omit<Row, keyof Stamped>;

interface Pending {
  readonly table: TableName;
  readonly id: string;
  readonly row: Rows[TableName] | null;
  readonly index: number;
}

/** Changes on top of the tables. Readers of the tables see nothing of it until it is stored. */
export class Transaction implements TableReader {
  readonly #base: Tables;
  readonly #pending = new Map<TableName, Map<string, Pending>>();
  /** What takes back the change under way, last first. */
  #undo: (() => void)[] = [];
  #index = 0;
  #effects: (() => void)[] = [];

  constructor(base: Tables) {
    this.#base = base;
  }

  /** Index of the change under way: what it writes is stamped with it. */
  get index(): number {
    return this.#index;
  }

  begin(index: number): void {
    this.#index = index;
    this.#undo = [];
  }

  /** Takes back what was written since `begin`. */
  rollback(): void {
    for (const undo of this.#undo.toReversed()) undo();
    this.#undo = [];
  }

  /** Has `effect` called once all of it is stored and readable. Not taken back by `rollback`: ask last. */
  afterStore(effect: () => void): void {
    this.#effects.push(effect);
  }

  runEffects(): void {
    for (const effect of this.#effects) effect();
  }

  /** Whether anything was written since `begin`. */
  get wrote(): boolean {
    return this.#undo.length > 0;
  }

  get<T extends TableName>(table: T, id: string): Rows[T] | null {
    const pending = this.#pending.get(table)?.get(id);
    return pending === undefined ? this.#base.get(table, id) : (pending.row as Rows[T] | null);
  }

  list<T extends TableName>(table: T, prefix: string): readonly Rows[T][] {
    const pending = this.#pending.get(table);
    if (pending === undefined || pending.size === 0) return this.#base.list(table, prefix);
    const ids = new Set(this.#base.ids(table, prefix));
    for (const id of pending.keys()) if (id.startsWith(prefix)) ids.add(id);
    return [...ids].toSorted().flatMap((id) => this.get(table, id) ?? []);
  }

  heldBy(session: string): readonly string[] {
    const keys = new Set(this.#base.heldBy(session));
    for (const [key, { row }] of this.#pending.get("kv") ?? [])
      if ((row as Rows["kv"] | null)?.session === session) keys.add(key);
    return [...keys].filter((key) => this.get("kv", key)?.session === session).toSorted();
  }

  /** Writes a row; its stamps are this change's. */
  put<T extends TableName>(table: T, id: string, row: Unstamped<Rows[T]>): Rows[T] {
    const before = this.get(table, id);
    const stamped = { ...row, createIndex: before?.createIndex ?? this.#index, modifyIndex: this.#index } as Rows[T];
    this.#set(table, id, stamped);
    return stamped;
  }

  delete(table: TableName, id: string): void {
    if (this.get(table, id) !== null) this.#set(table, id, null);
  }

  /** Rows that are to be written. */
  get size(): number {
    let size = 0;
    for (const table of this.#pending.values()) size += table.size;
    return size;
  }

  changes(): readonly Change[] {
    return [...this.#pending.values()].flatMap((table) => [...table.values()]);
  }

  #set(table: TableName, id: string, row: Rows[TableName] | null): void {
    const ofTable = this.#pending.get(table) ?? new Map<string, Pending>();
    this.#pending.set(table, ofTable);
    const before = ofTable.get(id);
    this.#undo.push(() => {
      if (before === undefined) ofTable.delete(id);
      else ofTable.set(id, before);
    });
    ofTable.set(id, { table, id, row, index: this.#index });
  }
}

function emptyTables(): AllTables {
  return Object.fromEntries(
    TABLES.map((table) => [table, { rows: new Map(), keys: new SortedKeys() }]),
  ) as unknown as AllTables;
}
