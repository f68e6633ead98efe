import type { Random } from "../../platform/ports/random.ts";
import type { Edns, ParsedQuery, Query } from "./parse-query.ts";
import { ALIAS_TARGET_OFFSET, type RecordSet } from "./record-set.ts";
import { arrangeByWeight } from "./weighted-order.ts";
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
import { writeExtras } from "./write-extras.ts";

/** Without EDNS a client takes no more (RFC 1035 §4.2.1). */
export const PLAIN_UDP_BYTES_MAX = 512;
/**
 * The most we send in a datagram, however much the client takes: what HAProxy can take. Our clients sit on the bridge of
 * the same host or on its loopback, where a datagram above the MTU does arrive.
 */
export const UDP_BYTES_MAX = 8192;
export const TCP_BYTES_MAX = 65_535;
/** What we tell clients they may send: a query is never longer. */
const RECEIVE_BYTES_MAX = 1232;
const POINTER = 0xc000;

/** The longest answer that this client takes over UDP. */
export function udpBytesMax(edns: Edns | null): number {
  if (edns === null) return PLAIN_UDP_BYTES_MAX;
  return Math.max(PLAIN_UDP_BYTES_MAX, Math.min(UDP_BYTES_MAX, edns.udpBytesMax));
}

export interface AliasAnswer {
  readonly alias: RecordSet;
  /** Records of what it stands for, without owners. */
  readonly addresses: readonly Uint8Array[];
  readonly bytesMax: number;
}

/** Writes answers; holds a buffer that is used again for each, and chance for their order. */
export class AnswerWriter {
  readonly #random: Random;
  readonly #fixedFlags: number;
  readonly #buffer = new Uint8Array(TCP_BYTES_MAX);

  /** `recursive`: outside names are answered, too. */
  constructor(random: Random, recursive: boolean) {
    this.#random = random;
    this.#fixedFlags = FLAG_RESPONSE | (recursive ? FLAG_RECURSION_AVAILABLE : 0);
  }

  /**
   * Records in a new random order each time, those of more weight sooner. Where not all fit into `bytesMax`, the
   * truncation flag says so and the client asks again over TCP. Addresses of targets come along as far as there is room:
   * leaving those out is no truncation (RFC 2181 §9).
   */
  records(message: Uint8Array, query: Query, set: RecordSet, bytesMax: number): Uint8Array {
    const buffer = this.#buffer;
    const end = bytesMax - (query.edns === null ? 0 : OPT_BYTES);
    const wanted = set.answersMax === 0 ? set.count : Math.min(set.count, set.answersMax);
    const answersAt = this.#question(message, query.nameEnd + 4);
    if (set.weights !== null) arrangeByWeight(set.order, set.weights, this.#random);
    let at = answersAt;
    let count = 0;
    for (; count < wanted; count++) {
      const index = set.weights === null ? this.#draw(set, count) : (set.order[count] ?? 0);
      const start = set.starts[index] ?? 0;
      const length = (set.starts[index + 1] ?? 0) - start;
      if (at + length > end) break;
      copyBytes(buffer, at, set.bytes, start, length);
      at += length;
    }
    this.#header(query, FLAG_AUTHORITATIVE | (count < wanted ? FLAG_TRUNCATED : 0));
    writeUint16(buffer, 6, count);
    let additionals = query.edns === null ? 0 : 1;
    if (set.extras !== null) {
      const extras = writeExtras(buffer, set, { answersAt, count, at, end });
      at = extras.at;
      additionals += extras.written;
    }
    writeUint16(buffer, 8, 0);
    writeUint16(buffer, 10, additionals);
    return buffer.slice(0, this.#opt(at, query.edns, RCODE_OK));
  }

  /** The alias with addresses of what it stands for, as far as they fit. */
  alias(message: Uint8Array, query: Query, answer: AliasAnswer): Uint8Array {
    const { alias, addresses, bytesMax } = answer;
    const buffer = this.#buffer;
    const end = bytesMax - (query.edns === null ? 0 : OPT_BYTES);
    const aliasAt = this.#question(message, query.nameEnd + 4);
    let at = aliasAt;
    let count = 0;
    // Two long names may be more than a plain datagram holds.
    if (at + alias.bytes.length <= end) {
      copyBytes(buffer, at, alias.bytes, 0, alias.bytes.length);
      at += alias.bytes.length;
      count = 1;
    }
    for (const address of count === 0 ? [] : addresses) {
      if (at + 2 + address.length > end) break;
      writeUint16(buffer, at, POINTER | (aliasAt + ALIAS_TARGET_OFFSET));
      copyBytes(buffer, at + 2, address, 0, address.length);
      at += 2 + address.length;
      count += 1;
    }
    this.#header(query, FLAG_AUTHORITATIVE | (count < 1 + addresses.length ? FLAG_TRUNCATED : 0));
    writeUint16(buffer, 6, count);
    writeUint16(buffer, 8, 0);
    writeUint16(buffer, 10, query.edns === null ? 0 : 1);
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

  /** Copies the question as it came, with the client's case. */
  #question(message: Uint8Array, end: number): number {
    copyBytes(this.#buffer, HEADER_BYTES, message, HEADER_BYTES, end - HEADER_BYTES);
    return end;
  }

  #header(query: { readonly id: number; readonly flags: number }, flags: number): void {
    const kept = query.flags & (FLAG_RECURSION_DESIRED | FLAG_CHECKING_DISABLED);
    writeUint16(this.#buffer, 0, query.id);
    writeUint16(this.#buffer, 2, this.#fixedFlags | kept | flags);
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
