/**
 * Answers by the bytes of the question as they came, so that a question asked again costs one hash and one comparison: no
 * name is cut into labels and no text is made. Every name has one place in a table of fixed size, and the last one asked
 * holds it: a stranger who asks for millions of names slows others down a little and takes no memory.
 */
import { HEADER_BYTES } from "./wire-format.ts";
import type { RecordSet } from "./record-set.ts";
import type { Zone, ZoneEntry } from "./zone.ts";

/** What a zone said at a revision. */
export interface KnownAnswer {
  readonly zone: Zone;
  readonly revision: number;
  readonly type: number;
  readonly entry: ZoneEntry | "missing";
  /** Null for a negative answer, which then has `soa`. */
  readonly set: RecordSet | null;
  readonly soa: Uint8Array | null;
}

interface Slot {
  readonly name: Uint8Array;
  readonly answer: KnownAnswer;
}

/** A power of two, some four times the names of a large cluster. */
const SLOTS = 16_384;
/** FNV-1a, 32 bits. */
const HASH_START = 0x811c9dc5;
const HASH_FACTOR = 0x01000193;

export class QuestionTable {
  readonly #slots: (Slot | undefined)[] = Array.from({ length: SLOTS });

  /** What is known and still so; the name ends at `nameEnd`. */
  find(message: Uint8Array, nameEnd: number, type: number): KnownAnswer | null {
    const slot = this.#slots[slotOf(message, nameEnd, type)];
    if (slot === undefined || slot.answer.type !== type || !sameName(slot.name, message, nameEnd)) return null;
    const { zone, revision, entry, set } = slot.answer;
    if (zone.revision === revision) return slot.answer;
    // The SOA of a negative answer has the number of the zone, so any change makes it another.
    return set !== null && entry !== "missing" && entry.current ? slot.answer : null;
  }

  put(message: Uint8Array, nameEnd: number, answer: KnownAnswer): void {
    const name = new Uint8Array(nameEnd - HEADER_BYTES);
    for (let index = 0; index < name.length; index++) name[index] = lower(message[HEADER_BYTES + index] ?? 0);
    this.#slots[slotOf(message, nameEnd, answer.type)] = { name, answer };
  }
}

function slotOf(message: Uint8Array, nameEnd: number, type: number): number {
  let hash = HASH_START ^ type;
  for (let at = HEADER_BYTES; at < nameEnd; at++) hash = Math.imul(hash ^ lower(message[at] ?? 0), HASH_FACTOR);
  return (hash ^ (hash >>> 15)) & (SLOTS - 1);
}

function sameName(name: Uint8Array, message: Uint8Array, nameEnd: number): boolean {
  if (name.length !== nameEnd - HEADER_BYTES) return false;
  for (let index = 0; index < name.length; index++) {
    if (name[index] !== lower(message[HEADER_BYTES + index] ?? 0)) return false;
  }
  return true;
}

/** Length bytes are at most 63, so only letters are changed. */
function lower(byte: number): number {
  return byte >= 65 && byte <= 90 ? byte + 32 : byte;
}
