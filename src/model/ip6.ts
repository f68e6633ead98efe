import { AppError } from "./error.ts";
import { isIpv4, ipv4ToNumber, type Ipv4 } from "./ip.ts";

/** An IPv6 address as RFC 5952 writes it, made only by `parseIpv6` and `formatIpv6`: equal addresses are equal texts. */
export type Ipv6 = string & { readonly __brand: "Ipv6" };

/** An IPv6 range; `first` is the network address as an unsigned 128-bit number. */
export interface Cidr6 {
  readonly first: bigint;
  /** Prefix length, 0 to 128. */
  readonly prefix: number;
}

const GROUPS = 8;
/** The longest text: eight groups of four, or six and a dotted quad. */
const TEXT_LENGTH_MAX = 45;

/** Reads every form of RFC 4291 §2.2, without a zone, and gives the one of RFC 5952. */
export function parseIpv6(text: string): Ipv6 {
  const value = readIpv6(text);
  if (value === null) {
    throw new AppError("invalid", `Cannot read address "${text.slice(0, 64)}": it must be an IPv6 address`, {
      hint: "Write it like fd12:3456:789a::1",
    });
  }
  return formatIpv6(value);
}

/** True for an address in the form of RFC 5952: only that one can be compared as text. */
export function isIpv6(text: string): text is Ipv6 {
  const value = readIpv6(text);
  return value !== null && formatIpv6(value) === text;
}

/** The address as a number; null for a text that is none. */
function readIpv6(text: string): bigint | null {
  if (text.length > TEXT_LENGTH_MAX) return null;
  const halves = text.split("::");
  if (halves.length > 2) return null;
  const [head, tail] = halves.map(readGroups);
  if (head === undefined || head === null || tail === null) return null;
  if (tail === undefined) return head.length === GROUPS ? joinGroups(head) : null;
  const missing = GROUPS - head.length - tail.length;
  // "::" stands for one group at least.
  return missing < 1 ? null : joinGroups([...head, ...Array.from({ length: missing }, () => 0), ...tail]);
}

/** Groups of a half; a dotted quad at its end is two. Null for what is none. */
function readGroups(half: string): number[] | null {
  if (half === "") return [];
  const parts = half.split(":");
  const groups: number[] = [];
  for (const [index, part] of parts.entries()) {
    if (index === parts.length - 1 && isIpv4(part)) {
      const value = ipv4ToNumber(part);
      groups.push(Math.floor(value / 0x1_00_00), value % 0x1_00_00);
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) groups.push(Number.parseInt(part, 16));
    else return null;
  }
  return groups.length > GROUPS ? null : groups;
}

function joinGroups(groups: readonly number[]): bigint {
  return groups.reduce((sum, group) => (sum << 16n) | BigInt(group), 0n);
}

export function ipv6ToNumber(address: Ipv6): bigint {
  return readIpv6(address) ?? 0n;
}

/** RFC 5952: lower case, no leading zeros, the longest run of two zero groups or more as "::", the first of equals. */
export function formatIpv6(value: bigint): Ipv6 {
  const groups = Array.from({ length: GROUPS }, (_, index) => Number((value >> BigInt(16 * (7 - index))) & 0xffffn));
  let run = { at: 0, length: 1 };
  for (let at = 0; at < GROUPS; at++) {
    let end = at;
    while (end < GROUPS && groups[end] === 0) end += 1;
    if (end - at > run.length) run = { at, length: end - at };
    at = Math.max(at, end - 1);
  }
  const texts = groups.map((group) => group.toString(16));
  if (run.length < 2) return texts.join(":") as Ipv6;
  return `${texts.slice(0, run.at).join(":")}::${texts.slice(run.at + run.length).join(":")}` as Ipv6;
}

/** Reads "fd12:3456:789a::/64"; bits after the prefix must be zero. */
export function parseCidr6(text: string): Cidr6 {
  const [address = "", length = "", rest] = text.split("/");
  const first = readIpv6(address);
  const prefix = /^[0-9]{1,3}$/.test(length) ? Number(length) : 129;
  if (first === null || prefix > 128 || rest !== undefined) {
    throw new AppError("invalid", `Cannot read range "${text.slice(0, 64)}": it must look like fd12:3456:789a::/64`);
  }
  const base = networkOf6(first, prefix);
  if (base !== first) {
    throw new AppError("invalid", `Cannot read range "${text}": bits after the prefix are set`, {
      hint: `Write ${formatIpv6(base)}/${prefix}`,
    });
  }
  return { first, prefix };
}

export function formatCidr6(cidr: Cidr6): string {
  return `${formatIpv6(cidr.first)}/${cidr.prefix}`;
}

export function cidr6Contains(cidr: Cidr6, address: Ipv6): boolean {
  return networkOf6(ipv6ToNumber(address), cidr.prefix) === cidr.first;
}

export function cidrs6Overlap(a: Cidr6, b: Cidr6): boolean {
  const prefix = Math.min(a.prefix, b.prefix);
  return networkOf6(a.first, prefix) === networkOf6(b.first, prefix);
}

/** The address with the bits after the prefix taken off. */
function networkOf6(value: bigint, prefix: number): bigint {
  const host = BigInt(128 - prefix);
  return (value >> host) << host;
}

/** Of either family. */
export type HostAddress = Ipv4 | Ipv6;

/** `ADDRESS:PORT`, as programs and people write it: an IPv6 address in brackets. */
export function formatEndpoint(address: string, port: number): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** @throws AppError `invalid` for what is neither. */
export function parseHostAddress(text: string): HostAddress {
  if (isIpv4(text)) return text;
  const value = readIpv6(text);
  if (value !== null) return formatIpv6(value);
  throw new AppError("invalid", `Cannot read address "${text.slice(0, 64)}": it is neither IPv4 nor IPv6`, {
    hint: "Write it like 192.0.2.1 or 2001:db8::1",
  });
}
