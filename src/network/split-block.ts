/**
 * The first block of a host serves two: the container engine, which gives containers that come without an address one of
 * its own choice, and the agent, which gives addresses to all that the engine does not know. Each has its half.
 */
import { cidrAddress, cidrContains, cidrSize, formatCidr, parseCidr } from "../model/ip.ts";
import type { Ipv4 } from "../model/ip.ts";

/** Half of a smaller block would leave the engine with a handful: it has the whole of those. */
const SPLIT_PREFIX_MAX = 27;

/** What the engine hands out by itself of a host's first block: the lower half, the gateway's. */
export function engineShare(block: string): string {
  const { first, prefix } = parseCidr(block);
  return prefix > SPLIT_PREFIX_MAX ? block : formatCidr({ first, prefix: prefix + 1 });
}

export interface SplitBlocks {
  /** The engine hands out addresses of it whenever it likes; null when the host has no block. */
  readonly engine: string | null;
  /** Nobody but the agent does. */
  readonly own: readonly string[];
}

/**
 * Parts blocks by what the engine was told to hand out. Networks of former versions have the whole first block, and so has
 * an engine that did not say yet.
 *
 * @param blocks the one with the gateway first
 */
export function splitBlocks(blocks: readonly string[], engineRange: string | null): SplitBlocks {
  const [first, ...further] = blocks;
  if (first === undefined) return { engine: null, own: [] };
  const share = engineShare(first);
  if (share === first || engineRange !== share) return { engine: first, own: further };
  const { first: start, prefix } = parseCidr(share);
  const upper = { first: start + cidrSize(parseCidr(share)), prefix };
  return { engine: share, own: [formatCidr(upper), ...further] };
}

/** Whether the engine may give it to anybody at any moment. */
export function isEngines(address: Ipv4, { engine }: SplitBlocks): boolean {
  return engine !== null && cidrContains(parseCidr(engine), address);
}

/** The first and the last address of a range are nobody's. */
export function isRangeEnd(address: Ipv4, range: string): boolean {
  const cidr = parseCidr(range);
  return address === cidrAddress(cidr, 0) || address === cidrAddress(cidr, cidrSize(cidr) - 1);
}
