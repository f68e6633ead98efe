/**
 * Reads a DNS query as it came from the network, where anything can come. The question name is not decoded: its place
 * in the datagram is enough to look it up and to echo it with the case the client chose (0x20).
 */
import {
  CLASS_ANY,
  CLASS_IN,
  HEADER_BYTES,
  LABEL_BYTES_MAX,
  NAME_BYTES_MAX,
  OPT_BYTES,
  RCODE_BADVERS,
  RCODE_FORMERR,
  RCODE_NOTIMP,
  RCODE_REFUSED,
  TYPE_AXFR,
  TYPE_IXFR,
  TYPE_OPT,
  readUint16,
} from "./wire-format.ts";

export interface Edns {
  /** Largest datagram the client takes. */
  readonly udpBytesMax: number;
  /** The client asks for DNSSEC records. */
  readonly dnssecOk: boolean;
}

export interface Query {
  readonly kind: "query";
  readonly id: number;
  /** Second 16 bits of the header. */
  readonly flags: number;
  readonly type: number;
  /** Just past the zero byte of the name, which starts at `HEADER_BYTES`. */
  readonly nameEnd: number;
  readonly edns: Edns | null;
}

/** `drop`: an answer would help nobody or feed a loop. `refuse`: to be answered with `rcode` alone. */
export type ParsedQuery =
  | Query
  | { readonly kind: "drop" }
  | {
      readonly kind: "refuse";
      readonly id: number;
      readonly flags: number;
      readonly rcode: number;
      /** End of a question that can be echoed, or null. */
      readonly questionEnd: number | null;
      readonly edns: Edns | null;
    };

const PLAIN_EDNS: Edns = { udpBytesMax: 512, dnssecOk: false };
const DROP = { kind: "drop" } as const;
/** A query carries OPT, TSIG or SIG(0), a cookie is within OPT: more records are an attempt to make us work. */
const ADDITIONAL_MAX = 8;

export function parseQuery(bytes: Uint8Array): ParsedQuery {
  if (bytes.length < HEADER_BYTES) return DROP;
  const id = readUint16(bytes, 0);
  const flags = readUint16(bytes, 2);
  // Never answer an answer: two servers would throw it back and forth.
  if ((flags & 0x8000) !== 0) return DROP;
  if (((flags >> 11) & 15) !== 0) return refuse(bytes, RCODE_NOTIMP);
  const additional = readUint16(bytes, 10);
  if (readUint16(bytes, 4) !== 1 || readUint16(bytes, 6) !== 0 || additional > ADDITIONAL_MAX) {
    return refuse(bytes, RCODE_FORMERR);
  }
  const nameEnd = endOfPlainName(bytes, HEADER_BYTES);
  if (nameEnd === null || nameEnd + 4 > bytes.length) return refuse(bytes, RCODE_FORMERR);
  const questionEnd = nameEnd + 4;
  const type = readUint16(bytes, nameEnd);
  const queryClass = readUint16(bytes, nameEnd + 2);
  // IXFR alone carries something in its authority section.
  if (type === TYPE_AXFR || type === TYPE_IXFR) return refuse(bytes, RCODE_NOTIMP, questionEnd);
  if (readUint16(bytes, 8) !== 0) return refuse(bytes, RCODE_FORMERR);
  const edns = additional === 0 ? null : findEdns(bytes, questionEnd, additional);
  if (edns === "malformed") return refuse(bytes, RCODE_FORMERR);
  if (edns === "version") return refuse(bytes, RCODE_BADVERS, questionEnd, PLAIN_EDNS);
  if (queryClass !== CLASS_IN && queryClass !== CLASS_ANY) return refuse(bytes, RCODE_REFUSED, questionEnd, edns);
  return { kind: "query", id, flags, type, nameEnd, edns };
}

function refuse(
  bytes: Uint8Array,
  rcode: number,
  questionEnd: number | null = null,
  edns: Edns | null = null,
): ParsedQuery {
  return { kind: "refuse", id: readUint16(bytes, 0), flags: readUint16(bytes, 2), rcode, questionEnd, edns };
}

/** End of a name that holds no pointers, or null: in a question there is nothing before it to point at. */
function endOfPlainName(bytes: Uint8Array, start: number): number | null {
  let offset = start;
  for (;;) {
    const length = bytes[offset];
    if (length === undefined || length > LABEL_BYTES_MAX) return null;
    offset += 1 + length;
    if (offset - start > NAME_BYTES_MAX) return null;
    if (length === 0) return offset;
  }
}

/**
 * End of a name that may end in a pointer, or null. The pointer is not followed, so loops of pointers cost nothing.
 */
export function endOfName(bytes: Uint8Array, start: number): number | null {
  let offset = start;
  for (;;) {
    const length = bytes[offset];
    if (length === undefined) return null;
    if (length >= 0xc0) return offset + 2 <= bytes.length ? offset + 2 : null;
    if (length > LABEL_BYTES_MAX) return null;
    offset += 1 + length;
    if (offset - start > NAME_BYTES_MAX) return null;
    if (length === 0) return offset;
  }
}

function findEdns(bytes: Uint8Array, start: number, count: number): Edns | null | "malformed" | "version" {
  let offset = start;
  let found: Edns | null = null;
  for (let index = 0; index < count; index++) {
    const nameEnd = endOfName(bytes, offset);
    if (nameEnd === null || nameEnd + OPT_BYTES - 1 > bytes.length) return "malformed";
    const dataEnd = nameEnd + 10 + readUint16(bytes, nameEnd + 8);
    if (dataEnd > bytes.length) return "malformed";
    if (readUint16(bytes, nameEnd) === TYPE_OPT) {
      // The owner must be the root and there is one at most (RFC 6891 §6.1.1).
      if (found !== null || nameEnd !== offset + 1) return "malformed";
      if (bytes[nameEnd + 5] !== 0) return "version";
      found = { udpBytesMax: readUint16(bytes, nameEnd + 2), dnssecOk: ((bytes[nameEnd + 6] ?? 0) & 0x80) !== 0 };
    }
    offset = dataEnd;
  }
  return found;
}
