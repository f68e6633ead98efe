/** Where rows lie in the store. */
import type { Digest } from "../../platform/ports/digest.ts";
import type { Store } from "../../platform/ports/store.ts";
import { type Rows, TABLES, type TableName } from "./records.ts";
import type { Change } from "./tables.ts";

/** All of it; the rest of the server does not look below it. */
export const REGISTRY_PREFIX = "registry/";
export const INDEX_KEY = `${REGISTRY_PREFIX}index`;

export interface Reserved {
  /** Indexes up to this one may have been used. */
  readonly reserved: number;
}

interface Stored {
  readonly id: string;
  readonly row: Rows[TableName];
}

/** The store takes keys of 512 characters; ids may be longer and are kept in the value anyway. */
const ENCODED_MAX = 400;

export function rowKey(table: TableName, id: string, digest: Digest): string {
  // A lone surrogate cannot be encoded; such an id is told apart by its digest like a long one.
  const encoded = id.isWellFormed() ? encodeURIComponent(id) : "";
  const name = encoded !== "" && encoded.length <= ENCODED_MAX ? encoded : `#${digest.sha256(JSON.stringify(id))}`;
  return `${REGISTRY_PREFIX}${table}/${name}`;
}

/** All stored rows, nodes before what is on them. */
export async function loadRows(store: Store): Promise<readonly Change[]> {
  const changes: Change[] = [];
  for (const table of TABLES) {
    for (const { value } of await store.list(`${REGISTRY_PREFIX}${table}/`)) {
      const { id, row } = value as Stored;
      changes.push({ table, id, row, index: row.modifyIndex });
    }
  }
  return changes;
}
