/** All that is stored, as one text that can be put back. The form is ours: nobody but us reads it. */
import { AppError } from "../../model/error.ts";
import { isRow, type Rows, TABLES, type TableName } from "./records.ts";
import type { Registry } from "./registry.ts";
import { registryError } from "./registry-error.ts";

const FORMAT = "apollo-registry-1";
/** Rows that are put back in one commit. */
const CHUNK_ROWS = 500;

interface SnapshotRow {
  readonly table: TableName;
  readonly id: string;
  readonly row: Rows[TableName];
}

export function renderSnapshot(registry: Registry): string {
  const rows: SnapshotRow[] = TABLES.flatMap((table) =>
    [...registry.tables.ids(table, "")].flatMap((id) => {
      const row = registry.tables.get(table, id);
      return row === null ? [] : [{ table, id, row }];
    }),
  );
  const body = rows.map((row) => JSON.stringify(row)).join("\n");
  const head = { format: FORMAT, index: registry.index, rows: rows.length, sha256: registry.digest.sha256(body) };
  return `${JSON.stringify(head)}\n${body}`;
}

/** @throws AppError 400 for anything but a whole snapshot of ours. */
export function parseSnapshot(text: string, sha256: (text: string) => string): readonly SnapshotRow[] {
  const end = text.indexOf("\n");
  const head = parseHead(text.slice(0, Math.max(0, end)));
  const body = text.slice(end + 1);
  if (head === null || head.format !== FORMAT)
    throw registryError(
      400,
      "Cannot restore the snapshot: it is none of this platform (a snapshot of Consul itself cannot be read here)",
    );
  if (head.sha256 !== sha256(body)) throw registryError(400, "Cannot restore the snapshot: it is damaged or cut off");
  return body === "" ? [] : body.split("\n").map(parseRow);
}

function parseHead(line: string): { readonly format?: unknown; readonly sha256?: unknown } | null {
  try {
    const head: unknown = JSON.parse(line);
    return typeof head === "object" && head !== null ? head : null;
  } catch {
    return null;
  }
}

function parseRow(line: string): SnapshotRow {
  const row = JSON.parse(line) as SnapshotRow;
  if (!isRow(row.table, row.row))
    throw registryError(400, "Cannot restore the snapshot: it has a record that cannot be read");
  return row;
}

/**
 * Replaces all that is stored. Rows get new indexes, later than all before, so every watcher sees the change. It goes in
 * several commits; one that is broken off is done again by restoring again.
 */
export async function restoreSnapshot(registry: Registry, text: string): Promise<void> {
  const rows = parseSnapshot(text, (body) => registry.digest.sha256(body));
  const kept = new Set(rows.map(({ table, id }) => `${table}/${id}`));
  const gone = TABLES.toReversed().flatMap((table) =>
    [...registry.tables.ids(table, "")].filter((id) => !kept.has(`${table}/${id}`)).map((id) => ({ table, id })),
  );
  for (let at = 0; at < gone.length; at += CHUNK_ROWS)
    await registry.write((tx) => gone.slice(at, at + CHUNK_ROWS).forEach(({ table, id }) => tx.delete(table, id)));
  for (let at = 0; at < rows.length; at += CHUNK_ROWS)
    await registry.write((tx) =>
      rows.slice(at, at + CHUNK_ROWS).forEach(({ table, id, row }) => void tx.put(table, id, row)),
    );
  for (const { table, id } of rows)
    if (registry.tables.get(table, id) === null)
      throw new AppError("internal", `Cannot restore the snapshot: ${table} "${id}" is missing`);
}
