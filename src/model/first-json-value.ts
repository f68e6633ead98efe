/**
 * Where the first JSON value of a text ends: Go's stream decoder, which many APIs are made with, reads just that and leaves the
 * rest. Only brackets and strings count, whose bytes are in no other character of UTF-8; whether it is JSON is for the parser.
 */
const [QUOTE, BACKSLASH, OPEN, CLOSE] = [0x22, 0x5c, new Set([0x5b, 0x7b]), new Set([0x5d, 0x7d])] as const;
const SPACE: ReadonlySet<number> = new Set([0x20, 0x09, 0x0a, 0x0d]);

/** The bytes of the first object, list or string; all of them where the text begins with none or it does not end. */
export function firstJsonValue(bytes: Uint8Array): Uint8Array {
  let at = 0;
  while (SPACE.has(bytes[at] ?? 0)) at += 1;
  let depth = 0;
  for (; at < bytes.length; at += 1) {
    const byte = bytes[at] ?? 0;
    if (byte === QUOTE) at = endOfString(bytes, at);
    else if (OPEN.has(byte)) depth += 1;
    else if (CLOSE.has(byte)) depth -= 1;
    else if (depth === 0) return bytes;
    if (depth <= 0) return bytes.subarray(0, at + 1);
  }
  return bytes;
}

function endOfString(bytes: Uint8Array, start: number): number {
  let at = start + 1;
  while (at < bytes.length && bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1;
  return at;
}
