/** Reads as much of an upstream's answer as passing it on and remembering it takes. Upstreams are strangers, too. */
import { endOfName } from "./parse-query.ts";
import {
  FLAG_TRUNCATED,
  HEADER_BYTES,
  OPT_BYTES,
  RCODE_NXDOMAIN,
  RCODE_OK,
  TYPE_A,
  TYPE_OPT,
  TYPE_SOA,
  copyOf,
  readUint16,
  readUint32,
} from "./wire-format.ts";

export interface ParsedResponse {
  readonly id: number;
  readonly rcode: number;
  readonly truncated: boolean;
  /** Just past type and class of the one question. */
  readonly questionEnd: number;
  /** Where the TTL of each record but OPT stands. */
  readonly ttlOffsets: readonly number[];
  /** How long the whole may be remembered: 0 for what says nothing about it. */
  readonly ttlSeconds: number;
  /** Place of the OPT record, when it is the last: one in the middle cannot be cut out under compression pointers. */
  readonly opt: { readonly start: number; readonly end: number } | null;
}

/** More records than any honest answer holds in 64 KiB of 11 bytes each. */
const RECORDS_MAX = 6000;
/** A signed 32-bit number by RFC 2181 §8; anything above is read as zero. */
const TTL_MAX = 0x7fffffff;

/** Null for anything that is not one well-formed answer to one question. */
export function parseResponse(bytes: Uint8Array): ParsedResponse | null {
  if (bytes.length < HEADER_BYTES) return null;
  const flags = readUint16(bytes, 2);
  if ((flags & 0x8000) === 0 || readUint16(bytes, 4) !== 1) return null;
  const nameEnd = endOfName(bytes, HEADER_BYTES);
  if (nameEnd === null || nameEnd + 4 > bytes.length) return null;
  const questionEnd = nameEnd + 4;
  const answers = readUint16(bytes, 6);
  const records = readRecords(bytes, questionEnd, answers + readUint16(bytes, 8) + readUint16(bytes, 10));
  if (records === null) return null;
  const rcode = flags & 15;
  return {
    id: readUint16(bytes, 0),
    rcode,
    truncated: (flags & FLAG_TRUNCATED) !== 0,
    questionEnd,
    ttlOffsets: records.filter((record) => record.type !== TYPE_OPT).map((record) => record.ttlAt),
    ttlSeconds: rcode === RCODE_OK || rcode === RCODE_NXDOMAIN ? cacheSeconds(bytes, records, answers) : 0,
    opt: lastOpt(records, bytes.length),
  };
}

/**
 * The address records of that type among the answers, without their owners: all belong to the name asked for, by whatever
 * chain of aliases. [] for anything malformed.
 */
export function readAddressRecords(bytes: Uint8Array, type: number): readonly Uint8Array[] {
  const response = parseResponse(bytes);
  const records = response === null ? null : readRecords(bytes, response.questionEnd, readUint16(bytes, 6));
  return (records ?? [])
    .filter((record) => record.type === type && record.end - record.ttlAt === 6 + (type === TYPE_A ? 4 : 16))
    .map((record) => copyOf(bytes, record.ttlAt - 4, record.end));
}

interface RecordPlace {
  readonly type: number;
  readonly start: number;
  readonly ttlAt: number;
  readonly end: number;
}

function readRecords(bytes: Uint8Array, start: number, count: number): readonly RecordPlace[] | null {
  if (count > RECORDS_MAX) return null;
  const records: RecordPlace[] = [];
  let offset = start;
  for (let index = 0; index < count; index++) {
    const nameEnd = endOfName(bytes, offset);
    if (nameEnd === null || nameEnd + 10 > bytes.length) return null;
    const end = nameEnd + 10 + readUint16(bytes, nameEnd + 8);
    if (end > bytes.length) return null;
    records.push({ type: readUint16(bytes, nameEnd), start: offset, ttlAt: nameEnd + 4, end });
    offset = end;
  }
  return records;
}

/** The least TTL of the answers; of a negative answer, what its SOA record allows (RFC 2308 §5). */
function cacheSeconds(bytes: Uint8Array, records: readonly RecordPlace[], answers: number): number {
  const ttlOf = (record: RecordPlace): number => {
    const ttl = readUint32(bytes, record.ttlAt);
    return ttl > TTL_MAX ? 0 : ttl;
  };
  const positive = records.slice(0, answers).map(ttlOf);
  const soa = records.slice(answers).find((record) => record.type === TYPE_SOA);
  if (positive.length > 0) return Math.min(...positive);
  if (soa === undefined || soa.end - soa.ttlAt < 10) return 0;
  return Math.min(ttlOf(soa), readUint32(bytes, soa.end - 4));
}

function lastOpt(records: readonly RecordPlace[], length: number): ParsedResponse["opt"] {
  const last = records.at(-1);
  if (last?.type !== TYPE_OPT || last.end !== length || last.end - last.start < OPT_BYTES) return null;
  return { start: last.start, end: last.end };
}
