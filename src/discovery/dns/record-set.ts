/**
 * Records of one name and type, encoded once when the catalog changes and copied for every answer. Owner names are the
 * pointer to the question, so a set serves whatever case or spelling the client asked with.
 */
import type { DnsSettings } from "../../model/dns-settings.ts";
import { type NameKey, nameBytes } from "./domain-name.ts";
import {
  CLASS_IN,
  HEADER_BYTES,
  TYPE_A,
  TYPE_AAAA,
  TYPE_CNAME,
  TYPE_NS,
  TYPE_PTR,
  TYPE_SOA,
  TYPE_SRV,
  TYPE_TXT,
  joinBytes,
  writeUint16,
  writeUint32,
} from "./wire-format.ts";

export interface RecordSet {
  readonly count: number;
  /** All records, one after the other; record i is from starts[i] to starts[i + 1]. */
  readonly bytes: Uint8Array;
  readonly starts: Uint32Array;
  /** A permutation of the record numbers, left by the last shuffle: every shuffle of a permutation is one. */
  readonly order: Uint32Array;
  /** How often each is to come first; null when all are alike. */
  readonly weights: readonly number[] | null;
  /** Most records in an answer; 0 for as many as fit. */
  readonly answersMax: number;
  readonly extras: Extras | null;
}

/** What goes into the additional section with each record: addresses first, then texts. */
export interface Extras {
  /** Records without their owners; extra j is from starts[j] to starts[j + 1]. */
  readonly bytes: Uint8Array;
  readonly starts: Uint32Array;
  /** Extras of record i are first[i] to first[i + 1]. */
  readonly first: Uint32Array;
  /** Where in the record its target, which owns the extras, starts; 0 when the question's name owns them. */
  readonly ownerOffset: number;
}

/** Type, class, TTL and length. */
const FIXED_BYTES = 10;
const POINTER_TO_QUESTION = 0xc000 | HEADER_BYTES;
const POINTER_BYTES = 2;
/** Priority, weight and port. */
const SRV_FIXED_BYTES = 6;
/** The target of a CNAME record follows its owner and fixed fields. */
export const ALIAS_TARGET_OFFSET = POINTER_BYTES + FIXED_BYTES;
const TEXT_BYTES_MAX = 255;
/** RFC 2782: 0 to 65535. Consul's priority is 1 for all: chance by weight spreads the load. */
const SRV_PRIORITY = 1;

export interface SrvTarget {
  readonly target: NameKey;
  readonly port: number;
  readonly weight: number;
  /** Records of the target: see `ownerless`. */
  readonly extras: readonly Uint8Array[];
}

export interface WeightedAddress {
  /** 4 or 16. */
  readonly bytes: Uint8Array;
  readonly weight: number;
}

/** A or AAAA, by the length of each address. */
export function addressRecords(
  addresses: readonly WeightedAddress[],
  ttlSeconds: number,
  part: { readonly answersMax?: number; readonly texts?: readonly Uint8Array[] } = {},
): RecordSet {
  const records = addresses.map(({ bytes }) => owned(addressRecord(bytes, ttlSeconds)));
  // The texts belong to the name that was asked for: once is enough, whichever address comes first.
  const texts = part.texts ?? [];
  return {
    ...recordSet(records),
    weights: weightsOf(addresses.map(({ weight }) => weight)),
    answersMax: part.answersMax ?? 0,
    extras: texts.length === 0 ? null : extrasOf([texts, ...records.slice(1).map(() => [])], 0),
  };
}

/** Every target comes with its own address, so that a client pairs port and address without a second question. */
export function srvRecords(targets: readonly SrvTarget[], ttlSeconds: number): RecordSet {
  const records = targets.map(({ target, port, weight }) => {
    const fixed = new Uint8Array(SRV_FIXED_BYTES);
    [SRV_PRIORITY, Math.min(weight, 0xffff), port].forEach((value, index) => writeUint16(fixed, index * 2, value));
    return owned(ownerless(TYPE_SRV, ttlSeconds, joinBytes([fixed, nameBytes(target)])));
  });
  const extras = targets.map((each) => each.extras);
  const offset = POINTER_BYTES + FIXED_BYTES + SRV_FIXED_BYTES;
  return {
    ...recordSet(records),
    weights: weightsOf(targets.map(({ weight }) => weight)),
    extras: extras.every((each) => each.length === 0) ? null : extrasOf(extras, offset),
  };
}

export function pointerRecords(names: readonly NameKey[], ttlSeconds: number): RecordSet {
  return recordSet(names.map((name) => owned(ownerless(TYPE_PTR, ttlSeconds, nameBytes(name)))));
}

/** The name server with its addresses. */
export function nameserverRecords(name: NameKey, ttlSeconds: number, extras: readonly Uint8Array[]): RecordSet {
  const set = recordSet([owned(ownerless(TYPE_NS, ttlSeconds, nameBytes(name)))]);
  return extras.length === 0 ? set : { ...set, extras: extrasOf([extras], POINTER_BYTES + FIXED_BYTES) };
}

export function aliasRecords(target: NameKey, ttlSeconds: number): RecordSet {
  return recordSet([owned(ownerless(TYPE_CNAME, ttlSeconds, nameBytes(target)))]);
}

export function textRecords(texts: readonly Uint8Array[]): RecordSet {
  return recordSet(texts.map(owned));
}

export function soaRecords(soa: Uint8Array): RecordSet {
  return recordSet([owned(soa.subarray(soaOwnerBytes(soa)))]);
}

/** The records of several sets as one, for ANY; without extras. */
export function joinRecords(sets: readonly RecordSet[]): RecordSet {
  return recordSet(
    sets.flatMap(({ bytes, starts, count }) =>
      Array.from({ length: count }, (_, index) => bytes.subarray(starts[index], starts[index + 1])),
    ),
  );
}

/**
 * The SOA record with its owner written out, for the authority section of negative answers. Its TTL is the time that a
 * resolver may remember the answer (RFC 2308 §3).
 */
export function soaRecord(owner: NameKey, domain: NameKey, serial: number, times: DnsSettings["soa"]): Uint8Array {
  const primary = nameBytes(`\u0002ns${domain}` as NameKey);
  const mailbox = nameBytes(`\u000ahostmaster${domain}` as NameKey);
  const numbers = new Uint8Array(20);
  const { refreshSeconds, retrySeconds, expireSeconds, minTtlSeconds } = times;
  [serial, refreshSeconds, retrySeconds, expireSeconds, minTtlSeconds].forEach((value, index) =>
    writeUint32(numbers, index * 4, value),
  );
  return joinBytes([nameBytes(owner), ownerless(TYPE_SOA, minTtlSeconds, joinBytes([primary, mailbox, numbers]))]);
}

/** A record without its owner. */
export function addressRecord(address: Uint8Array, ttlSeconds: number): Uint8Array {
  return ownerless(address.length === 4 ? TYPE_A : TYPE_AAAA, ttlSeconds, address);
}

/** `key=value` as RFC 1464 has it, in pieces of 255 bytes; a key `rfc1035-…` gives its value alone. Without owner. */
export function textRecord(key: string, value: string, ttlSeconds: number): Uint8Array {
  const text = new TextEncoder().encode(key.toLowerCase().startsWith("rfc1035-") ? value : `${key}=${value}`);
  const pieces: Uint8Array[] = [];
  for (let at = 0; at === 0 || at < text.length; at += TEXT_BYTES_MAX) {
    const piece = text.subarray(at, at + TEXT_BYTES_MAX);
    pieces.push(new Uint8Array([piece.length]), piece);
  }
  return ownerless(TYPE_TXT, ttlSeconds, joinBytes(pieces));
}

function soaOwnerBytes(soa: Uint8Array): number {
  let offset = 0;
  while ((soa[offset] ?? 0) !== 0) offset += 1 + (soa[offset] ?? 0);
  return offset + 1;
}

function ownerless(type: number, ttlSeconds: number, data: Uint8Array): Uint8Array {
  const fixed = new Uint8Array(FIXED_BYTES);
  writeUint16(fixed, 0, type);
  writeUint16(fixed, 2, CLASS_IN);
  writeUint32(fixed, 4, ttlSeconds);
  writeUint16(fixed, 8, data.length);
  return joinBytes([fixed, data]);
}

function owned(record: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(POINTER_BYTES + record.length);
  writeUint16(bytes, 0, POINTER_TO_QUESTION);
  bytes.set(record, POINTER_BYTES);
  return bytes;
}

function weightsOf(weights: readonly number[]): readonly number[] | null {
  return weights.every((weight) => weight === weights[0]) ? null : weights;
}

function extrasOf(lists: readonly (readonly Uint8Array[])[], ownerOffset: number): Extras {
  const all = lists.flat();
  return {
    bytes: joinBytes(all),
    starts: startsOf(all.map((each) => each.length)),
    first: startsOf(lists.map((each) => each.length)),
    ownerOffset,
  };
}

function recordSet(records: readonly Uint8Array[]): RecordSet {
  return {
    count: records.length,
    bytes: joinBytes(records),
    starts: startsOf(records.map((each) => each.length)),
    order: new Uint32Array(records.length).map((_, index) => index),
    weights: null,
    answersMax: 0,
    extras: null,
  };
}

/** Running sums, from 0 to the whole. */
function startsOf(lengths: readonly number[]): Uint32Array {
  const starts = new Uint32Array(lengths.length + 1);
  lengths.forEach((length, index) => {
    starts[index + 1] = (starts[index] ?? 0) + length;
  });
  return starts;
}
