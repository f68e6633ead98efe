/** What can be done to keys, as changes of a transaction. Consul's rules; docs/consul-api.md. */
import { registryError } from "./registry-error.ts";
import type { KvEntry } from "./records.ts";
import type { LockDelays } from "./session-operations.ts";
import { type Transaction, type Unstamped } from "./tables.ts";

export interface KvInput {
  /** Base64, null for none. */
  readonly value: string | null;
  /** Decimal text of an unsigned 64-bit number. */
  readonly flags: string;
}

export type KvCondition =
  | { readonly kind: "always" }
  /** 0: only when it is not there. */
  | { readonly kind: "cas"; readonly index: bigint }
  | { readonly kind: "acquire"; readonly session: string }
  | { readonly kind: "release"; readonly session: string };

/** Writes a key; null when the condition does not hold, and nothing is written then. @throws when the session is unknown. */
export function putKey(
  tx: Transaction,
  key: string,
  { input, condition, lockDelays }: { input: KvInput; condition: KvCondition; lockDelays: LockDelays },
): KvEntry | null {
  const before = tx.get("kv", key);
  const kept = { key, ...input, lockIndex: before?.lockIndex ?? 0, session: before?.session ?? null };
  switch (condition.kind) {
    case "always":
      return write(tx, before, kept);
    case "cas":
      return BigInt(before?.modifyIndex ?? 0) === condition.index ? write(tx, before, kept) : null;
    case "acquire": {
      const { session } = condition;
      if (tx.get("session", session) === null) throw invalidSession(session);
      if (before?.session === session) return write(tx, before, kept);
      if (before !== null && before.session !== null) return null;
      if (lockDelays.isDelayed(key)) return null;
      return write(tx, before, { ...kept, session, lockIndex: kept.lockIndex + 1 });
    }
    case "release":
      if (before === null || before.session !== condition.session) return null;
      return write(tx, before, { ...kept, session: null });
  }
}

/** Writing what is there already is no change: nobody is woken for it. */
function write(tx: Transaction, before: KvEntry | null, row: Unstamped<KvEntry>): KvEntry {
  const same =
    before !== null &&
    before.value === row.value &&
    before.flags === row.flags &&
    before.session === row.session &&
    before.lockIndex === row.lockIndex;
  return same ? before : tx.put("kv", row.key, row);
}

/** `index`: only when the key was last changed there. False when that does not hold; a key that is not there is deleted. */
export function deleteKey(tx: Transaction, key: string, index: bigint | null = null): boolean {
  const before = tx.get("kv", key);
  if (before !== null && index !== null && BigInt(before.modifyIndex) !== index) return false;
  tx.delete("kv", key);
  return true;
}

/** Deletes up to `most` keys below the prefix; true when none is left. */
export function deleteBelow(tx: Transaction, prefix: string, most: number): boolean {
  const rows = tx.list("kv", prefix);
  for (const { key } of rows.slice(0, most)) tx.delete("kv", key);
  return rows.length <= most;
}

/** Keys under the prefix, cut behind the first separator after it, each once. */
export function foldKeys(keys: readonly string[], prefix: string, separator: string): readonly string[] {
  if (separator === "") return keys;
  const folded = new Set<string>();
  for (const key of keys) {
    const at = key.indexOf(separator, prefix.length);
    folded.add(at < 0 ? key : key.slice(0, at + separator.length));
  }
  return [...folded];
}

/** Patroni looks for the beginning of this text. */
export function invalidSession(session: string): Error {
  return registryError(500, `invalid session ${JSON.stringify(session)}`);
}
