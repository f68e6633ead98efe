/**
 * IPv6 addresses of containers. All follow from the range, a /64, and from IPv4 addresses: a host's part is
 *
 *   RANGE6 (64 bits) : first address of the host's first block (32 bits) :: /96
 *
 * and an address in it ends with the IPv4 address of the same container. One prefix a host holds every address that the host
 * can ever give out, of whatever block, and fixed ones that come from another host: an engine's network has one subnet only,
 * and what lies in it is on the wire. Leases, blocks and the address book stay IPv4's; nothing is stored or told twice.
 */
import { AppError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import { ipv4ToNumber, parseCidr } from "../model/ip.ts";
import type { Cidr6, Ipv6 } from "../model/ip6.ts";
import { cidr6Contains, formatCidr6, formatIpv6, ipv6ToNumber, parseCidr6 } from "../model/ip6.ts";

export const RANGE6_PREFIX = 64;
export const HOST6_PREFIX = 96;
/** Unique local addresses (RFC 4193) that are assigned by oneself. */
const ULA_START = 0xfdn;
/** Link-local, and "ap" to tell our addresses from those that follow from a MAC. */
const LINK_LOCAL_START = 0xfe80n << 112n;
const LINK_LOCAL_MARK = 0x6170n << 48n;
const UNICAST: Cidr6 = parseCidr6("2000::/3");
const UNIQUE_LOCAL: Cidr6 = parseCidr6("fc00::/7");

/** A /64 of a prefix that nobody else has, by 40 random bits (RFC 4193 §3.2.2). @param random five bytes */
export function makeRange6(random: Uint8Array): string {
  const id = [...random.subarray(0, 5)].reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  return formatCidr6({ first: (ULA_START << 120n) | (id << 80n), prefix: RANGE6_PREFIX });
}

/** @throws AppError `invalid` for what is not a /64 of addresses that containers can have. */
export function parseRange6(text: string): string {
  const range = parseCidr6(text);
  const usable = [UNICAST, UNIQUE_LOCAL].some((area) => cidr6Contains(area, formatIpv6(range.first)));
  if (range.prefix !== RANGE6_PREFIX || !usable) {
    throw new AppError(
      "invalid",
      `Cannot use IPv6 range "${text}": it must be a /${RANGE6_PREFIX} of unicast addresses`,
      {
        hint: "Leave it out for a private one that is made for this cluster, or write one such as fd12:3456:789a::/64",
      },
    );
  }
  return formatCidr6(range);
}

/** What the host with this gateway has of the range: the gateway is the address after the first of the first block. */
export function host6Of(range6: string, gateway: Ipv4): Cidr6 {
  const { first } = parseCidr6(range6);
  return { first: first | (BigInt(ipv4ToNumber(gateway) - 1) << 32n), prefix: HOST6_PREFIX };
}

/**
 * What a declared network has of the range, on all hosts: its number stands where parts of hosts have an address, of which none
 * begins with 0.
 */
export function network6Of(range6: string, vni: number): Cidr6 {
  const { first } = parseCidr6(range6);
  return { first: first | (BigInt(vni) << 32n), prefix: HOST6_PREFIX };
}

/** The addresses of a block of IPv4 addresses in such a part. */
export function block6Of(part: Cidr6, block: string): Cidr6 {
  const { first, prefix } = parseCidr(block);
  return { first: part.first | BigInt(first), prefix: HOST6_PREFIX + prefix };
}

/** The IPv6 address of whoever has this IPv4 address on the host. */
export function address6Of(host6: Cidr6, address: Ipv4): Ipv6 {
  return formatIpv6(host6.first | BigInt(ipv4ToNumber(address)));
}

/** The gateway of a host; it ends as the IPv4 one. */
export function gateway6Of(range6: string, gateway: Ipv4): Ipv6 {
  return address6Of(host6Of(range6, gateway), gateway);
}

/**
 * The IPv6 twins of the services' virtual addresses. The range of those overlaps that of the containers nowhere, so no host has
 * the prefix.
 */
export function virtual6Of(range6: string, virtualRange: string): Cidr6 {
  const { first } = parseCidr6(range6);
  return { first: first | (BigInt(parseCidr(virtualRange).first) << 32n), prefix: HOST6_PREFIX };
}

/**
 * The part of a host's prefix that the engine gives to containers for which nobody chose an address. No container has an
 * IPv4 address that begins with 0, so these are nobody's by `address6Of`.
 */
export function engineRange6(host6: Cidr6): string {
  return formatCidr6({ first: host6.first, prefix: 112 });
}

/**
 * An additional link-local address that each host has on its way out, made of its IPv4 address there: the next hop of routes
 * to it, which IPv6 cannot have of another family. So it follows from the peer's address, and nobody has to tell it.
 */
export function linkLocalOf(underlay: Ipv4): Ipv6 {
  return formatIpv6(LINK_LOCAL_START | LINK_LOCAL_MARK | BigInt(ipv4ToNumber(underlay)));
}

/** True for what `linkLocalOf` makes. */
export function isOurLinkLocal(address: Ipv6): boolean {
  return ipv6ToNumber(address) >> 32n === (LINK_LOCAL_START | LINK_LOCAL_MARK) >> 32n;
}
