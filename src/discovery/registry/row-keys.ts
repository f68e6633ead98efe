/** Where rows lie in the store. */
import type { Digest } from "../../platform/ports/digest.ts";
import type { Store, StoreWrite } from "../../platform/ports/store.ts";
import { type Rows, TABLES, type TableName } from "./records.ts";
import type { Change } from "./tables.ts";

/** All of it; the rest of the server does not look below it. */
export const REGISTRY_PREFIX = "registry/";
export const INDEX_KEY = `${REGISTRY_PREFIX}index`;

export interface Reserved {
  /** Indexes up to this one may have been used. */
  readonly reserved: number;
  /** Which set of rows counts; missing is 0. A restored snapshot is a new set, and this number makes it the one. */
  readonly generation?: number;
  /** Rows of another generation may lie in the store: of a restore that was broken off, or of what it replaced. */
  readonly unclean?: boolean;
  /** How often a server has taken the lead, this time included. */
  readonly term?: number;
}

/** A row with its place. */
export interface PlacedRow {
  readonly table: TableName;
  readonly id: string;
  readonly row: Rows[TableName];
}

interface Stored {
  readonly id: string;
  readonly row: Rows[TableName];
}

/** Rows of one commit where all or nothing is the matter of another one. */
const CHUNK_ROWS = 500;
/** No store takes more than some tens of megabytes at once, and one value may be most of one. */
const CHUNK_CHARS = 8 * 1024 * 1024;

/** The store takes keys of 512 characters; ids may be longer and are kept in the value anyway. */
const ENCODED_MAX = 400;

/** Rows of the first generation lie where they lay before there were others. */
export function rowsPrefix(generation: number): string {
  return generation === 0 ? REGISTRY_PREFIX : `${REGISTRY_PREFIX}@${generation}/`;
}

export interface RowPlace {
  readonly digest: Digest;
  readonly generation: number;
}

export function rowKey(table: TableName, id: string, { digest, generation }: RowPlace): string {
  // A lone surrogate cannot be encoded; such an id is told apart by its digest like a long one.
  const encoded = id.isWellFormed() ? encodeURIComponent(id) : "";
  const name = encoded !== "" && encoded.length <= ENCODED_MAX ? encoded : `#${digest.sha256(JSON.stringify(id))}`;
  return `${rowsPrefix(generation)}${table}/${name}`;
}

/** All stored rows, nodes before what is on them. */
export async function loadRows(store: Store, generation: number): Promise<readonly Change[]> {
  const changes: Change[] = [];
  for (const table of TABLES) {
    for (const { value } of await store.list(`${rowsPrefix(generation)}${table}/`)) {
      const { id, row } = value as Stored;
      changes.push({ table, id, row, index: row.modifyIndex });
    }
  }
  return changes;
}

/** Takes away what a restore that was broken off, or one that is through, left of other generations. */
export async function dropOtherGenerations(store: Store, generation: number): Promise<void> {
  const own = generation === 0 ? null : rowsPrefix(generation);
  const first = own === null ? [] : TABLES.map((table) => `${rowsPrefix(0)}${table}/`);
  for (const prefix of [`${REGISTRY_PREFIX}@`, ...first]) {
    const others = (await store.list(prefix)).filter(({ key }) => own === null || !key.startsWith(own));
    for (let at = 0; at < others.length; at += CHUNK_ROWS)
      await store.commit(others.slice(at, at + CHUNK_ROWS).map(({ key }) => ({ kind: "delete", key })));
  }
}

/** Stores a whole set of rows beside the one that counts: nobody reads it before its generation is named. */
export async function storeGeneration(store: Store, rows: readonly PlacedRow[], place: RowPlace): Promise<void> {
  let chunk: StoreWrite[] = [];
  let chars = 0;
  for (const { table, id, row } of rows) {
    const value: Stored = { id, row };
    const size = JSON.stringify(value).length;
    if (chunk.length === CHUNK_ROWS || (chunk.length > 0 && chars + size > CHUNK_CHARS)) {
      await store.commit(chunk);
      [chunk, chars] = [[], 0];
    }
    chunk.push({ kind: "put", key: rowKey(table, id, place), value });
    chars += size;
  }
  if (chunk.length > 0) await store.commit(chunk);
}
