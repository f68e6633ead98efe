import { AppError } from "../model/error.ts";
import type { Peer } from "../model/host.ts";
import type { Cidr, Ipv4 } from "../model/ip.ts";
import { cidrAddress, cidrSize, cidrsOverlap, formatCidr, parseCidr } from "../model/ip.ts";

/** A block of fewer addresses has no room for network, gateway, broadcast and two containers. */
export const BLOCK_PREFIX_MAX = 29;
/** Where a free range is looked for when the wanted one clashes: the private ranges of RFC 1918, the roomiest first. */
const PRIVATE_RANGES = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];

export type BlockChoice =
  | { readonly kind: "block"; readonly block: string }
  | { readonly kind: "problem"; readonly message: string; readonly hint: string };

export interface RangeClash {
  readonly range: string;
  /** The host's own ranges that overlap it, sorted. */
  readonly with: readonly string[];
  /** A range of the same size that overlaps none of them, null when there is none. */
  readonly suggestion: string | null;
}

/**
 * The lowest free block of the range. Block 0 comes last, so the first host gets 10.2.1.0/24 of 10.2.0.0/16: its number
 * is then the host's number, as people of the 2015 set-up know it.
 * @param taken blocks leased to other hosts, of any size
 * @param avoid ranges that must not be covered, such as networks the hosts use themselves
 */
export function chooseBlock(want: {
  readonly range: string;
  readonly blockPrefix: number;
  readonly taken: readonly string[];
  readonly avoid: readonly string[];
}): BlockChoice {
  const range = parseCidr(want.range);
  if (want.blockPrefix < range.prefix || want.blockPrefix > BLOCK_PREFIX_MAX) {
    return {
      kind: "problem",
      message: `Cannot lease a block: a /${want.blockPrefix} does not fit range ${want.range}`,
      hint: `Set the block prefix between ${range.prefix} and ${BLOCK_PREFIX_MAX}`,
    };
  }
  const size = cidrSize({ first: 0, prefix: want.blockPrefix });
  const count = cidrSize(range) / size;
  // Leases are nearly always of the size asked for: those are a set, only the rest is compared one by one.
  const exact = new Set<number>();
  const odd: Cidr[] = want.avoid.map(parseCidr);
  for (const taken of want.taken.map(parseCidr)) {
    if (taken.prefix === want.blockPrefix) exact.add(taken.first);
    else odd.push(taken);
  }
  for (let step = 1; step <= count; step++) {
    const block = { first: range.first + (step % count) * size, prefix: want.blockPrefix };
    if (!exact.has(block.first) && !odd.some((other) => cidrsOverlap(other, block))) {
      return { kind: "block", block: formatCidr(block) };
    }
  }
  return {
    kind: "problem",
    message: `Cannot lease a block: all ${count} blocks of ${want.range} are taken`,
    hint: "Remove hosts that are gone with: apollo host remove NAME",
  };
}

/** Null when the container range can be used on a host that has these ranges of its own (default routes do not count). */
export function checkRangeClash(range: string, hostRanges: readonly string[]): RangeClash | null {
  const wanted = parseCidr(range);
  const own = hostRanges.map(parseCidr).filter((cidr) => cidr.prefix > 0);
  const clashing = own.filter((cidr) => cidrsOverlap(cidr, wanted)).map(formatCidr);
  if (clashing.length === 0) return null;
  return { range, with: [...new Set(clashing)].toSorted(), suggestion: freeRange(wanted.prefix, own) };
}

function freeRange(prefix: number, own: readonly Cidr[]): string | null {
  for (const area of PRIVATE_RANGES.map(parseCidr)) {
    if (area.prefix > prefix) continue;
    const size = cidrSize({ first: 0, prefix });
    let first = area.first;
    while (first < area.first + cidrSize(area)) {
      const candidate = { first, prefix };
      const blocker = own.find((cidr) => cidrsOverlap(cidr, candidate));
      if (blocker === undefined) return formatCidr(candidate);
      // Past the whole of what is in the way, so that a /8 costs one step and not thousands.
      first = Math.max(first + size, blocker.first + cidrSize(blocker));
    }
  }
  return null;
}

/**
 * Where a host is asked for itself, whatever way leads there. It has taken an address of its own for that (`probeAddress`)
 * where the engine gives out all of its first block; elsewhere, and with agents that tell none, it is the first address of the
 * first block, which no container gets. @throws AppError `invalid` for a host without blocks.
 */
export function probeAddressOf({ blocks, probeAddress }: Pick<Peer, "blocks" | "probeAddress">): Ipv4 {
  if (probeAddress !== undefined) return probeAddress;
  const first = blocks[0];
  if (first === undefined) throw new AppError("invalid", "Cannot find the probe address of a host: it has no block");
  return cidrAddress(parseCidr(first), 0);
}

/** The gateway of a host: the `.1` of its first block. @throws AppError `invalid` for a host without blocks. */
export function gatewayOf(blocks: readonly string[]): Ipv4 {
  const first = blocks[0];
  if (first === undefined) throw new AppError("invalid", "Cannot find the gateway of a host: it has no block");
  return cidrAddress(parseCidr(first), 1);
}
