/**
 * Records of one name and type, encoded once when the catalog changes and copied for every answer. Owner names are the
 * pointer to the question, so a set serves whatever case or spelling the client asked with.
 */
import { type Ipv4, ipv4ToNumber } from "../../model/ip.ts";
import { type Ipv6, ipv6ToNumber } from "../../model/ip6.ts";
import { type NameKey, nameBytes } from "./domain-name.ts";
import {
  CLASS_IN,
  HEADER_BYTES,
  TYPE_A,
  TYPE_AAAA,
  TYPE_NS,
  TYPE_PTR,
  TYPE_SOA,
  TYPE_SRV,
  joinBytes,
  writeUint16,
  writeUint32,
} from "./wire-format.ts";

export interface RecordSet {
  readonly count: number;
  /** All records, one after the other; record i is from starts[i] to starts[i + 1]. */
  readonly bytes: Uint8Array;
  readonly starts: Uint32Array;
  /**
   * Type, class, TTL, length and data of the address record that goes with each record (14 bytes each), null when there
   * are none. Its owner is the target of the record, which `targetOffset` bytes into the record starts.
   */
  readonly glue: Uint8Array | null;
  /** A permutation of the record numbers, left by the last shuffle: every shuffle of a permutation is one. */
  readonly order: Uint32Array;
}

/** Type, class, TTL and length. */
const FIXED_BYTES = 10;
export const GLUE_BYTES = FIXED_BYTES + 4;
/** Owner pointer, fixed fields, priority, weight and port come before the target of an SRV record. */
export const SRV_TARGET_OFFSET = 2 + FIXED_BYTES + 6;
const POINTER_TO_QUESTION = 0xc000 | HEADER_BYTES;

export interface SrvTarget {
  readonly target: NameKey;
  readonly port: number;
  readonly address: Ipv4;
}

export function addressRecords(addresses: readonly Ipv4[], ttlSeconds: number): RecordSet {
  return recordSet(
    addresses.map((address) => record(TYPE_A, ttlSeconds, addressBytes(address))),
    null,
  );
}

export function address6Records(addresses: readonly Ipv6[], ttlSeconds: number): RecordSet {
  return recordSet(
    addresses.map((address) => record(TYPE_AAAA, ttlSeconds, address6Bytes(address))),
    null,
  );
}

/** The records of both, for a question that asks for any. */
export function joinRecords(a: RecordSet, b: RecordSet): RecordSet {
  return recordSet([...recordsOf(a), ...recordsOf(b)], null);
}

function recordsOf({ bytes, starts, count }: RecordSet): readonly Uint8Array[] {
  return Array.from({ length: count }, (_, index) => bytes.subarray(starts[index], starts[index + 1]));
}

/** Every target comes with its own address, so that a client pairs port and address without a second question. */
export function srvRecords(targets: readonly SrvTarget[], ttlSeconds: number): RecordSet {
  const records = targets.map(({ target, port }) => {
    // Priority 1 and weight 1 for all: chance spreads the load evenly, as Consul's clients know it.
    const fixed = new Uint8Array([0, 1, 0, 1, port >>> 8, port & 255]);
    return record(TYPE_SRV, ttlSeconds, joinBytes([fixed, nameBytes(target)]));
  });
  const glue = targets.map(({ address }) => record(TYPE_A, ttlSeconds, addressBytes(address)).subarray(2));
  return recordSet(records, joinBytes(glue));
}

export function pointerRecords(names: readonly NameKey[], ttlSeconds: number): RecordSet {
  return recordSet(
    names.map((name) => record(TYPE_PTR, ttlSeconds, nameBytes(name))),
    null,
  );
}

export function nameserverRecords(name: NameKey, ttlSeconds: number): RecordSet {
  return recordSet([record(TYPE_NS, ttlSeconds, nameBytes(name))], null);
}

export function soaRecords(soa: Uint8Array): RecordSet {
  const data = soa.subarray(soaOwnerBytes(soa));
  return recordSet([joinBytes([pointer(), data])], null);
}

/**
 * The SOA record with its owner written out, for the authority section of negative answers. All times are those of
 * Consul; the last one, how long a resolver may remember that a name is missing, is zero: the name can come any moment.
 */
export function soaRecord(owner: NameKey, domain: NameKey, serial: number): Uint8Array {
  const primary = nameBytes(`\u0002ns${domain}` as NameKey);
  const mailbox = nameBytes(`\u000ahostmaster${domain}` as NameKey);
  const numbers = new Uint8Array(20);
  [serial, 3600, 600, 86_400, 0].forEach((value, index) => writeUint32(numbers, index * 4, value));
  const fields = record(TYPE_SOA, 0, joinBytes([primary, mailbox, numbers])).subarray(2);
  return joinBytes([nameBytes(owner), fields]);
}

function soaOwnerBytes(soa: Uint8Array): number {
  let offset = 0;
  while ((soa[offset] ?? 0) !== 0) offset += 1 + (soa[offset] ?? 0);
  return offset + 1;
}

function pointer(): Uint8Array {
  const bytes = new Uint8Array(2);
  writeUint16(bytes, 0, POINTER_TO_QUESTION);
  return bytes;
}

function record(type: number, ttlSeconds: number, data: Uint8Array): Uint8Array {
  const fixed = new Uint8Array(FIXED_BYTES);
  writeUint16(fixed, 0, type);
  writeUint16(fixed, 2, CLASS_IN);
  writeUint32(fixed, 4, ttlSeconds);
  writeUint16(fixed, 8, data.length);
  return joinBytes([pointer(), fixed, data]);
}

function addressBytes(address: Ipv4): Uint8Array {
  const bytes = new Uint8Array(4);
  writeUint32(bytes, 0, ipv4ToNumber(address));
  return bytes;
}

function address6Bytes(address: Ipv6): Uint8Array {
  const value = ipv6ToNumber(address);
  const bytes = new Uint8Array(16);
  for (let word = 0; word < 4; word++) {
    writeUint32(bytes, word * 4, Number((value >> BigInt(96 - 32 * word)) & 0xffffffffn));
  }
  return bytes;
}

function recordSet(records: readonly Uint8Array[], glue: Uint8Array | null): RecordSet {
  const starts = new Uint32Array(records.length + 1);
  records.forEach((each, index) => {
    starts[index + 1] = (starts[index] ?? 0) + each.length;
  });
  const order = new Uint32Array(records.length).map((_, index) => index);
  return { count: records.length, bytes: joinBytes(records), starts, glue, order };
}
