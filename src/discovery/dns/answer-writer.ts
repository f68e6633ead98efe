import type { Random } from "../../platform/ports/random.ts";
import type { Edns, ParsedQuery, Query } from "./parse-query.ts";
import { GLUE_BYTES, type RecordSet, SRV_TARGET_OFFSET } from "./record-set.ts";
import {
  FLAG_AUTHORITATIVE,
  FLAG_CHECKING_DISABLED,
  FLAG_RECURSION_AVAILABLE,
  FLAG_RECURSION_DESIRED,
  FLAG_RESPONSE,
  FLAG_TRUNCATED,
  HEADER_BYTES,
  OPT_BYTES,
  RCODE_OK,
  TYPE_OPT,
  copyBytes,
  writeUint16,
} from "./wire-format.ts";

/** Without EDNS a client takes no more (RFC 1035 §4.2.1). */
export const PLAIN_UDP_BYTES_MAX = 512;
/**
 * The most we send in a datagram, however much the client takes. Our clients sit on the bridge of the same host or on
 * its loopback, where a datagram above the MTU does arrive.
 */
export const UDP_BYTES_MAX = 4096;
export const TCP_BYTES_MAX = 65_535;
/** What we tell clients they may send: a query is never longer. */
const RECEIVE_BYTES_MAX = 1232;
/** A compression pointer has 14 bits. */
const POINTER_OFFSET_MAX = 0x3fff;
const POINTER = 0xc000;

/** The longest answer that this client takes over UDP. */
export function udpBytesMax(edns: Edns | null): number {
  if (edns === null) return PLAIN_UDP_BYTES_MAX;
  return Math.max(PLAIN_UDP_BYTES_MAX, Math.min(UDP_BYTES_MAX, edns.udpBytesMax));
}

/** Writes answers; holds a buffer that is used again for each, and chance for their order. */
export class AnswerWriter {
  readonly #random: Random;
  readonly #buffer = new Uint8Array(TCP_BYTES_MAX);

  constructor(random: Random) {
    this.#random = random;
  }

  /**
   * Records in a new random order each time. What does not fit into `bytesMax` is left out, a record with the address
   * that belongs to it, and the truncation flag says so: the client asks again over TCP.
   */
  records(message: Uint8Array, query: Query, set: RecordSet, bytesMax: number): Uint8Array {
    const buffer = this.#buffer;
    let at = this.#question(message, query.nameEnd + 4);
    let free = bytesMax - at - (query.edns === null ? 0 : OPT_BYTES);
    let count = 0;
    for (; count < set.count; count++) {
      const index = this.#draw(set, count);
      const start = set.starts[index] ?? 0;
      const length = (set.starts[index + 1] ?? 0) - start;
      const glueBytes = set.glue === null ? 0 : GLUE_BYTES + ownerBytes(at, length);
      if (length + glueBytes > free) break;
      copyBytes(buffer, at, set.bytes, start, length);
      at += length;
      free -= length + glueBytes;
    }
    const answersEnd = at;
    if (set.glue !== null) at = this.#glue(set, set.glue, { count, at });
    const truncated = count < set.count ? FLAG_TRUNCATED : 0;
    this.#header(query, FLAG_AUTHORITATIVE | truncated | RCODE_OK);
    writeUint16(buffer, 6, count);
    writeUint16(buffer, 8, 0);
    writeUint16(buffer, 10, (at > answersEnd ? count : 0) + (query.edns === null ? 0 : 1));
    return buffer.slice(0, this.#opt(at, query.edns, RCODE_OK));
  }

  /** No records of that type, or no such name: `rcode` says which. The SOA record is left out where it does not fit. */
  negative(
    message: Uint8Array,
    query: Query,
    answer: { readonly rcode: number; readonly soa: Uint8Array },
  ): Uint8Array {
    const { rcode, soa } = answer;
    let at = this.#question(message, query.nameEnd + 4);
    const fits = at + soa.length + OPT_BYTES <= PLAIN_UDP_BYTES_MAX;
    if (fits) {
      this.#buffer.set(soa, at);
      at += soa.length;
    }
    this.#header(query, FLAG_AUTHORITATIVE | rcode);
    writeUint16(this.#buffer, 6, 0);
    writeUint16(this.#buffer, 8, fits ? 1 : 0);
    writeUint16(this.#buffer, 10, query.edns === null ? 0 : 1);
    return this.#buffer.slice(0, this.#opt(at, query.edns, rcode));
  }

  /** A code alone: for what is malformed, not served or not to be had now. */
  code(message: Uint8Array, refused: Extract<ParsedQuery, { kind: "refuse" }>): Uint8Array {
    const { questionEnd, edns, rcode } = refused;
    const at = questionEnd === null ? HEADER_BYTES : this.#question(message, questionEnd);
    this.#header(refused, rcode & 15);
    // The operation the client asked for is echoed (RFC 1035 §4.1.1).
    this.#buffer[2] = (this.#buffer[2] ?? 0) | ((refused.flags >>> 8) & 0x78);
    writeUint16(this.#buffer, 4, questionEnd === null ? 0 : 1);
    writeUint16(this.#buffer, 6, 0);
    writeUint16(this.#buffer, 8, 0);
    writeUint16(this.#buffer, 10, edns === null ? 0 : 1);
    return this.#buffer.slice(0, this.#opt(at, edns, rcode));
  }

  /** The question alone with the truncation flag: the answer from outside does not fit. */
  truncated(message: Uint8Array, query: Query): Uint8Array {
    const at = this.#question(message, query.nameEnd + 4);
    this.#header(query, FLAG_TRUNCATED);
    writeUint16(this.#buffer, 6, 0);
    writeUint16(this.#buffer, 8, 0);
    writeUint16(this.#buffer, 10, query.edns === null ? 0 : 1);
    return this.#buffer.slice(0, this.#opt(at, query.edns, RCODE_OK));
  }

  /** The next record of a shuffle that goes only as far as records are needed (Fisher and Yates). */
  #draw(set: RecordSet, position: number): number {
    const { order, count } = set;
    const other = position + Math.floor(this.#random.next() * (count - position));
    const drawn = order[other] ?? 0;
    order[other] = order[position] ?? 0;
    order[position] = drawn;
    return drawn;
  }

  #glue(set: RecordSet, glue: Uint8Array, part: { readonly count: number; readonly at: number }): number {
    const buffer = this.#buffer;
    let at = part.at;
    let answerAt = part.at;
    for (let position = 0; position < part.count; position++) {
      const index = set.order[position] ?? 0;
      answerAt -= (set.starts[index + 1] ?? 0) - (set.starts[index] ?? 0);
    }
    for (let position = 0; position < part.count; position++) {
      const index = set.order[position] ?? 0;
      const length = (set.starts[index + 1] ?? 0) - (set.starts[index] ?? 0);
      const target = answerAt + SRV_TARGET_OFFSET;
      if (target <= POINTER_OFFSET_MAX) {
        writeUint16(buffer, at, POINTER | target);
        at += 2;
      } else {
        copyBytes(buffer, at, buffer, target, length - SRV_TARGET_OFFSET);
        at += length - SRV_TARGET_OFFSET;
      }
      copyBytes(buffer, at, glue, index * GLUE_BYTES, GLUE_BYTES);
      at += GLUE_BYTES;
      answerAt += length;
    }
    return at;
  }

  /** Copies the question as it came, with the client's case. */
  #question(message: Uint8Array, end: number): number {
    copyBytes(this.#buffer, HEADER_BYTES, message, HEADER_BYTES, end - HEADER_BYTES);
    return end;
  }

  #header(query: { readonly id: number; readonly flags: number }, flags: number): void {
    const kept = query.flags & (FLAG_RECURSION_DESIRED | FLAG_CHECKING_DISABLED);
    writeUint16(this.#buffer, 0, query.id);
    writeUint16(this.#buffer, 2, FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE | kept | flags);
    writeUint16(this.#buffer, 4, 1);
  }

  #opt(at: number, edns: Edns | null, rcode: number): number {
    if (edns === null) return at;
    const buffer = this.#buffer;
    buffer[at] = 0;
    writeUint16(buffer, at + 1, TYPE_OPT);
    writeUint16(buffer, at + 3, RECEIVE_BYTES_MAX);
    buffer[at + 5] = rcode >>> 4;
    buffer[at + 6] = 0;
    writeUint16(buffer, at + 7, edns.dnssecOk ? 0x8000 : 0);
    writeUint16(buffer, at + 9, 0);
    return at + OPT_BYTES;
  }
}

/** Bytes that name the target again: a pointer, or all of it where a pointer does not reach. */
function ownerBytes(recordAt: number, recordBytes: number): number {
  return recordAt + SRV_TARGET_OFFSET <= POINTER_OFFSET_MAX ? 2 : recordBytes - SRV_TARGET_OFFSET;
}
