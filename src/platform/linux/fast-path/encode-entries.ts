/** Keys and values of the fast path's maps, byte by byte as fast-path-maps.h has them: host order, addresses in network order. */
import { AppError } from "../../../model/error.ts";
import type { Ipv4 } from "../../../model/ip.ts";
import { formatCidr, formatIpv4, ipv4ToNumber, parseCidr } from "../../../model/ip.ts";
import type { FastPathCounters, FastPathEntry, FastRouteKind } from "../../ports/fast-path.ts";

export type EntryMap = FastPathEntry["map"];

/** Sizes in bytes of each map's key and value; those of the object are compared with them when it is loaded. */
export const ENTRY_SIZES: Readonly<Record<EntryMap, { readonly key: number; readonly value: number }>> = {
  sources: { key: 8, value: 8 },
  endpoints: { key: 4, value: 20 },
  routes: { key: 8, value: 24 },
  settings: { key: 4, value: 4 },
};
export const COUNTER_BYTES = 40;

const SLOW = 1;
const ENDS = 2;
const KINDS: readonly FastRouteKind[] = ["direct", "tunnel", "slow", "virtual", "local"];

export interface EncodedEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

export function encodeEntry(entry: FastPathEntry): EncodedEntry {
  const { key, value } = ENTRY_SIZES[entry.map];
  const [k, v] = [new Writer(key), new Writer(value)];
  switch (entry.map) {
    case "sources":
      k.number(entry.ifindex);
      k.address(entry.address);
      v.mac(entry.mac);
      v.short(entry.slow ? SLOW : 0);
      break;
    case "endpoints":
      k.address(entry.address);
      v.number(entry.ifindex);
      v.number((entry.slow ? SLOW : 0) | (entry.ends ? ENDS : 0));
      v.mac(entry.mac);
      v.mac(entry.gatewayMac);
      break;
    case "routes": {
      const { first, prefix } = parseCidr(entry.destination);
      k.number(prefix);
      k.address(formatIpv4(first));
      v.number(KINDS.indexOf(entry.kind) + 1);
      v.number(entry.ifindex);
      v.address(entry.nextHop);
      v.number(entry.mtu);
      v.address(entry.peer);
      v.address(entry.local);
      break;
    }
    case "settings":
      k.number(0);
      v.number(entry.virtualRanges);
      break;
  }
  return { key: k.bytes, value: v.bytes };
}

/** @throws AppError `internal` when the bytes are none that `encodeEntry` makes. */
export function decodeEntry(map: EntryMap, { key, value }: EncodedEntry): FastPathEntry {
  const size = ENTRY_SIZES[map];
  if (key.length !== size.key || value.length !== size.value) throw unreadable(map);
  const [k, v] = [new Reader(key), new Reader(value)];
  switch (map) {
    case "sources":
      return { map, ifindex: k.number(), address: k.address(), mac: v.mac(), slow: v.short() === SLOW };
    case "endpoints": {
      const [ifindex, flags] = [v.number(), v.number()];
      const [slow, ends] = [(flags & SLOW) !== 0, (flags & ENDS) !== 0];
      return { map, address: k.address(), ifindex, mac: v.mac(), gatewayMac: v.mac(), slow, ends };
    }
    case "routes": {
      const prefix = k.number();
      const first = ipv4ToNumber(k.address());
      const kind = KINDS[v.number() - 1];
      if (kind === undefined || prefix > 32) throw unreadable(map);
      const destination = formatCidr({ first, prefix });
      const [ifindex, nextHop, mtu] = [v.number(), v.address(), v.number()];
      return { map, destination, kind, ifindex, nextHop, mtu, peer: v.address(), local: v.address() };
    }
    case "settings":
      return { map, virtualRanges: v.number() };
  }
}

/** Sums the values of all processors, each `COUNTER_BYTES` long. */
export function decodeCounters(perProcessor: Uint8Array): FastPathCounters {
  const view = new DataView(perProcessor.buffer, perProcessor.byteOffset, perProcessor.byteLength);
  const sums = [0, 0, 0, 0, 0];
  for (let at = 0; at + COUNTER_BYTES <= perProcessor.length; at += COUNTER_BYTES) {
    for (const [index, sum] of sums.entries()) sums[index] = sum + Number(view.getBigUint64(at + 8 * index, true));
  }
  const [sentPackets = 0, sentBytes = 0, receivedPackets = 0, receivedBytes = 0, refusedPackets = 0] = sums;
  return { sentPackets, sentBytes, receivedPackets, receivedBytes, refusedPackets };
}

export function decodeNumber(key: Uint8Array): number {
  return new Reader(key).number();
}

export function decodeAddress(key: Uint8Array): Ipv4 {
  return new Reader(key).address();
}

function unreadable(map: string): AppError {
  return new AppError("internal", `Cannot read an entry of the fast path's map "${map}": another program wrote it`);
}

/** Little-endian, as all machines that Bun runs on. */
class Writer {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
    this.#view = new DataView(this.bytes.buffer);
  }

  number(value: number): void {
    this.#view.setUint32(this.#at, value, true);
    this.#at += 4;
  }

  short(value: number): void {
    this.#view.setUint16(this.#at, value, true);
    this.#at += 2;
  }

  address(value: Ipv4): void {
    this.#view.setUint32(this.#at, ipv4ToNumber(value), false);
    this.#at += 4;
  }

  mac(text: string): void {
    for (const part of text.split(":")) this.#view.setUint8(this.#at++, Number.parseInt(part, 16));
  }
}

class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  number(): number {
    this.#at += 4;
    return this.#view.getUint32(this.#at - 4, true);
  }

  short(): number {
    this.#at += 2;
    return this.#view.getUint16(this.#at - 2, true);
  }

  address(): Ipv4 {
    this.#at += 4;
    return formatIpv4(this.#view.getUint32(this.#at - 4, false));
  }

  mac(): string {
    this.#at += 6;
    return [...this.#bytes.subarray(this.#at - 6, this.#at)]
      .map((byte) => byte.toString(16).padStart(2, "0"))
      .join(":");
  }
}
