/** Keys and values of the maps for DNS, byte by byte as fast-path-maps.h has them. */
import type { Ipv4 } from "../../../model/ip.ts";
import { ipv4ToNumber, isIpv4 } from "../../../model/ip.ts";
import { ipv6ToNumber } from "../../../model/ip6.ts";
import type { DnsCounts } from "../../../model/wire.ts";
import type { HostSeat } from "../../ports/kernel-answers.ts";
import type { EncodedEntry } from "./encode-entries.ts";

/** Sizes in bytes of each map's key and value. */
export const DNS_SIZES = {
  dns_state: { key: 4, value: 176 },
  dns_answers: { key: 128, value: 1040 },
  dns_seen: { key: 4, value: 16 },
} as const;

/** The id of a DNS message: its own in every question. */
const ID_BYTES = 2;
const QUESTION_BYTES_MAX = 126;
const ANSWER_BYTES_MAX = 512;
const QUESTION_AT = 2;
const ANSWERS_AT = 16;
const SEATS_AT = 16;
const SEAT_BYTES = 20;
/** Of the host's own, see SEATS of the program. */
export const SEATS_MAX = 8;
const SEAT_UNCOUNTED = 1;
/** How often each answer of several is given, see ANSWER_USES of the program. */
const USES = 32;

export interface DnsState {
  readonly generation: number;
  /** In nanoseconds of the kernel's monotonic clock. */
  readonly validUntilNs: bigint;
  readonly gateway: Ipv4;
  /** Those beyond `SEATS_MAX` are left out. */
  readonly seats: readonly HostSeat[];
}

export function encodeDnsState({ generation, validUntilNs, gateway, seats }: DnsState): EncodedEntry {
  const value = new Uint8Array(DNS_SIZES.dns_state.value);
  const view = new DataView(value.buffer);
  view.setBigUint64(0, validUntilNs, true);
  view.setUint32(8, generation, true);
  view.setUint32(12, ipv4ToNumber(gateway), false);
  for (const [index, { address, port, uncounted }] of seats.slice(0, SEATS_MAX).entries()) {
    const at = SEATS_AT + index * SEAT_BYTES;
    value.set(sixteenBytes(address), at);
    view.setUint16(at + 16, port, false);
    view.setUint16(at + 18, uncounted === true ? SEAT_UNCOUNTED : 0, true);
  }
  return { key: new Uint8Array(DNS_SIZES.dns_state.key), value };
}

/** An IPv4 address as ::ffff:a.b.c.d (RFC 4291 §2.5.5.2). */
function sixteenBytes(address: HostSeat["address"]): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  if (isIpv4(address)) {
    bytes.fill(0xff, 10, 12);
    view.setUint32(12, ipv4ToNumber(address), false);
    return bytes;
  }
  const value = ipv6ToNumber(address);
  view.setBigUint64(0, value >> 64n, false);
  view.setBigUint64(8, value & 0xffff_ffff_ffff_ffffn, false);
  return bytes;
}

export function decodeGeneration(state: Uint8Array): number {
  return new DataView(state.buffer, state.byteOffset, state.byteLength).getUint32(8, true);
}

/** How many answers of `bytes` bytes fit beside each other: the last one has to start within the first half. */
export function answersThatFit(bytes: number): number {
  const length = bytes - ID_BYTES;
  return length < 1 || length > ANSWER_BYTES_MAX ? 0 : Math.floor(ANSWER_BYTES_MAX / length) + 1;
}

/** Null when question or answers are too long, or the answers differ in length. */
export function encodeAnswers(
  question: Uint8Array,
  answers: readonly Uint8Array[],
  { serial, generation }: { readonly serial: number; readonly generation: number },
): EncodedEntry | null {
  const asked = question.length - ID_BYTES;
  const [first] = answers;
  if (first === undefined || asked < 1 || asked > QUESTION_BYTES_MAX) return null;
  const kept = answers.slice(0, answersThatFit(first.length));
  if (kept.length === 0 || kept.some(({ length }) => length !== first.length)) return null;
  const key = new Uint8Array(DNS_SIZES.dns_answers.key);
  new DataView(key.buffer).setUint16(0, asked, true);
  key.set(question.subarray(ID_BYTES), QUESTION_AT);
  const value = new Uint8Array(DNS_SIZES.dns_answers.value);
  const view = new DataView(value.buffer);
  const length = first.length - ID_BYTES;
  view.setUint32(0, serial, true);
  view.setUint32(4, generation, true);
  view.setInt32(8, USES * kept.length, true);
  view.setUint16(12, length, true);
  view.setUint16(14, kept.length, true);
  for (const [index, answer] of kept.entries()) value.set(answer.subarray(ID_BYTES), ANSWERS_AT + index * length);
  return { key, value };
}

/** Sums the values of all processors. */
export function decodeDnsCounts(perProcessor: Uint8Array): DnsCounts {
  const view = new DataView(perProcessor.buffer, perProcessor.byteOffset, perProcessor.byteLength);
  let [answered, passed] = [0, 0];
  for (let at = 0; at + DNS_SIZES.dns_seen.value <= perProcessor.length; at += DNS_SIZES.dns_seen.value) {
    answered += Number(view.getBigUint64(at, true));
    passed += Number(view.getBigUint64(at + 8, true));
  }
  return { answered, passed };
}
