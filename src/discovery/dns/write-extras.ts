import type { RecordSet } from "./record-set.ts";
import { HEADER_BYTES, TYPE_TXT, copyBytes, writeUint16 } from "./wire-format.ts";

/** A compression pointer has 14 bits. */
const POINTER_OFFSET_MAX = 0x3fff;
const POINTER = 0xc000;

export interface ExtrasPlace {
  /** Where the first answer stands; as many as `count` of the set's order follow it without a gap. */
  readonly answersAt: number;
  readonly count: number;
  /** Where the extras begin, and what they may not go beyond. */
  readonly at: number;
  readonly end: number;
}

/**
 * Writes the additional records of the answers: the addresses of all before the texts of any, as far as there is room.
 * Each names its owner by a pointer into the answer it belongs to.
 */
export function writeExtras(buffer: Uint8Array, set: RecordSet, place: ExtrasPlace): { at: number; written: number } {
  const { extras } = set;
  const result = { at: place.at, written: 0 };
  if (extras === null) return result;
  for (const texts of [false, true]) {
    let recordAt = place.answersAt;
    for (let position = 0; position < place.count; position++) {
      const index = set.order[position] ?? 0;
      const next = recordAt + (set.starts[index + 1] ?? 0) - (set.starts[index] ?? 0);
      const last = extras.first[index + 1] ?? 0;
      for (let extra = extras.first[index] ?? 0; extra < last; extra++) {
        const from = extras.starts[extra] ?? 0;
        const length = (extras.starts[extra + 1] ?? 0) - from;
        if ((extras.bytes[from + 1] === TYPE_TXT) !== texts) continue;
        const ownerAt = extras.ownerOffset === 0 ? HEADER_BYTES : recordAt + extras.ownerOffset;
        const ownerBytes = ownerAt <= POINTER_OFFSET_MAX ? 2 : next - ownerAt;
        if (result.at + ownerBytes + length > place.end) return result;
        if (ownerBytes === 2) writeUint16(buffer, result.at, POINTER | ownerAt);
        else copyBytes(buffer, result.at, buffer, ownerAt, ownerBytes);
        copyBytes(buffer, result.at + ownerBytes, extras.bytes, from, length);
        result.at += ownerBytes + length;
        result.written += 1;
      }
      recordAt = next;
    }
  }
  return result;
}
