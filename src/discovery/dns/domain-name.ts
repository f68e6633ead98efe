import { LABEL_BYTES_MAX, NAME_BYTES_MAX } from "./wire-format.ts";

/**
 * A name in wire form, lower case, one character a byte: "\u0003web\u0000". Unlike a dotted text it keeps apart what a
 * hostile client writes into labels (dots, zero bytes), and it is cut from a query without parsing.
 */
export type NameKey = string & { readonly __brand: "NameKey" };

/** Reads the name at `offset`, which ends before `end`, both as `parseQuery` found them. */
export function nameKeyAt(bytes: Uint8Array, offset: number, end: number): NameKey {
  let key = "";
  for (let index = offset; index < end; index++) {
    const byte = bytes[index] ?? 0;
    // Length bytes are at most 63, so only letters fall into this range.
    key += String.fromCharCode(byte >= 65 && byte <= 90 ? byte + 32 : byte);
  }
  return key as NameKey;
}

/** The labels of a key, first label first; the root is []. */
export function labelsOf(key: NameKey): readonly string[] {
  const labels: string[] = [];
  let offset = 0;
  while (offset < key.length) {
    const length = key.charCodeAt(offset);
    if (length === 0) break;
    labels.push(key.slice(offset + 1, offset + 1 + length));
    offset += 1 + length;
  }
  return labels;
}

/** The key of a dotted name, or null when no name can look so (empty or long label, long name, characters beyond Latin 1). */
export function nameKey(name: string): NameKey | null {
  const text = name.endsWith(".") ? name.slice(0, -1) : name;
  if (text === "") return "\u0000" as NameKey;
  let key = "";
  for (const label of text.toLowerCase().split(".")) {
    if (label.length === 0 || label.length > LABEL_BYTES_MAX || isWide(label)) return null;
    key += String.fromCharCode(label.length) + label;
  }
  return key.length + 1 > NAME_BYTES_MAX ? null : ((key + "\u0000") as NameKey);
}

function isWide(label: string): boolean {
  for (let index = 0; index < label.length; index++) if (label.charCodeAt(index) > 0xff) return true;
  return false;
}

/** The wire bytes of a key. */
export function nameBytes(key: NameKey): Uint8Array {
  const bytes = new Uint8Array(key.length);
  for (let index = 0; index < key.length; index++) bytes[index] = key.charCodeAt(index);
  return bytes;
}

/** For people: dotted, with a dot at the end. */
export function formatName(key: NameKey): string {
  return `${labelsOf(key).join(".")}.`;
}
