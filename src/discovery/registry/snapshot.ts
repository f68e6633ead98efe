/** All that is stored, as one text that can be put back. The form is ours: nobody but us reads it. */
import { isRow, TABLES } from "./records.ts";
import type { Registry } from "./registry.ts";
import type { PlacedRow } from "./row-keys.ts";
import { registryError } from "./registry-error.ts";

const FORMAT = "apollo-registry-1";

export function renderSnapshot(registry: Registry): string {
  // Who restores it later waits for no lock of today.
  const kept = TABLES.filter((table) => table !== "lockDelay");
  const rows: PlacedRow[] = kept.flatMap((table) =>
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
export function parseSnapshot(text: string, sha256: (text: string) => string): readonly PlacedRow[] {
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

function parseRow(line: string): PlacedRow {
  const row = JSON.parse(line) as PlacedRow;
  if (!isRow(row.table, row.row))
    throw registryError(400, "Cannot restore the snapshot: it has a record that cannot be read");
  return row;
}

/** Replaces all that is stored, or nothing of it. @throws AppError 400, see `parseSnapshot`. */
export async function restoreSnapshot(registry: Registry, text: string): Promise<void> {
  await registry.replaceAll(parseSnapshot(text, (body) => registry.digest.sha256(body)));
}
