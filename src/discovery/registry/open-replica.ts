/** A registry that follows the one of the server that leads, and is never written to. */
import type { Replica, ReplicaChange, ReplicaView } from "../../platform/ports/replica.ts";
import type { Store } from "../../platform/ports/store.ts";
import { isRow, TABLES, type TableName } from "./records.ts";
import { openRegistry, type RegistryParts } from "./registry-parts.ts";
import { registryError } from "./registry-error.ts";
import type { FollowedRow, RegistryDeps } from "./registry.ts";
import { INDEX_KEY, type PlacedRow, REGISTRY_PREFIX, type Reserved, rowsPrefix } from "./row-keys.ts";

export interface RegistryReplica {
  readonly parts: RegistryParts;
  /** Aborts when it does not follow any more. */
  readonly ended: AbortSignal;
  close(): void;
}

export async function openReplica(replica: Replica, deps: Omit<RegistryDeps, "store">): Promise<RegistryReplica> {
  const view = await replica.open();
  const parts = await openRegistry({ ...deps, store: readOnly(view), follows: true });
  const generation = await generationOf(view);
  const end = new AbortController();
  const close = (): void => {
    end.abort();
    parts.close();
  };
  const take = (changes: readonly ReplicaChange[]): void => {
    // Another set of rows counts from now on: a snapshot was restored.
    const head = changes.find(({ key }) => key === INDEX_KEY);
    if (head !== undefined && ((head.value as Reserved | null)?.generation ?? 0) !== generation) return end.abort();
    const rows = changes.flatMap((change) => followedRow(change, generation) ?? []);
    if (rows.length > 0) parts.registry.follow(rows);
  };
  void view.follow(REGISTRY_PREFIX, take, end.signal).finally(close);
  return { parts, ended: end.signal, close };
}

async function generationOf(view: ReplicaView): Promise<number> {
  return ((await view.get(INDEX_KEY))?.value as Reserved | undefined)?.generation ?? 0;
}

/** Null for what is no row of the set that counts. */
function followedRow({ key, value, before }: ReplicaChange, generation: number): FollowedRow | null {
  const prefix = rowsPrefix(generation);
  const table = TABLES.find((name) => key.startsWith(`${prefix}${name}/`));
  if (table === undefined) return null;
  const now = placed(table, value);
  if (now !== null) return now;
  const was = placed(table, before);
  return was === null ? null : { table, id: was.id, row: null };
}

function placed(table: TableName, value: unknown): PlacedRow | null {
  const stored = value as Omit<PlacedRow, "table"> | null;
  return stored !== null && isRow(table, stored.row) ? { table, id: stored.id, row: stored.row } : null;
}

function readOnly(view: ReplicaView): Store {
  return {
    get: (key) => view.get(key),
    list: (prefix) => view.list(prefix),
    commit: () => Promise.reject(registryError(500, "No cluster leader")),
    watch: () => () => undefined,
    close: () => Promise.resolve(),
  };
}
