import type { Ipv4 } from "../model/ip.ts";
import { cidrAddress, cidrContains, cidrSize, parseCidr } from "../model/ip.ts";
import { isFixedBlock } from "../model/lease.ts";
import { splitBlocks } from "./split-block.ts";

/** Network, gateway and broadcast address of a host's first block are not handed out; further blocks have no gateway. */
const FIRST_INDEX = 2;
const FURTHER_INDEX = 1;
/** The engine gives its own containers addresses of its range of the first block only: this share of the block is left to them. */
const ENGINE_SHARE = 1 / 8;

export interface AddressWant {
  /** This host's blocks, the one with the gateway first. Those of one address are fixed ones, and not chosen from. */
  readonly blocks: readonly string[];
  /** What the engine hands out of the first block by itself; null for all of it. */
  readonly engineRange: string | null;
  /** Addresses in use now, of whatever container. */
  readonly used: ReadonlySet<Ipv4>;
  /** Addresses used before, oldest first. */
  readonly recent: readonly Ipv4[];
  /** Those that were let go a moment ago, and are taken only when nothing else is left. */
  readonly resting: ReadonlySet<Ipv4>;
  /** Keeps a share of the engine's range for the engine's own containers: as long as further blocks can be had. */
  readonly keepShare: boolean;
}

/**
 * The address for a new container: of the first block that has room (the engine's share of a first block, then the other) the lowest that was never used, else the one whose last
 * use is longest ago. Clients and ARP caches remember addresses, so one that was just freed would get another container's
 * traffic.
 *
 * @returns null when nothing is left
 */
export function chooseAddress(want: AddressWant): Ipv4 | null {
  const { used, resting } = want;
  const blocks = want.blocks.filter((block) => !isFixedBlock(block));
  const { engine: first, own: further } = splitBlocks(blocks, want.engineRange);
  if (first === null) return null;
  const busy = resting.size === 0 ? used : new Set([...used, ...resting]);
  const spare = Math.ceil(cidrSize(parseCidr(blocks[0] ?? first)) * ENGINE_SHARE);
  const isRoomy = countFree(first, FIRST_INDEX, used) > spare;
  const inOrder = (taken: ReadonlySet<Ipv4>, withFirst: boolean): Ipv4 | null => {
    const own = withFirst ? chooseIn(first, FIRST_INDEX, taken, want.recent) : null;
    if (own !== null) return own;
    for (const block of further) {
      const address = chooseIn(block, FURTHER_INDEX, taken, want.recent);
      if (address !== null) return address;
    }
    return null;
  };
  return inOrder(busy, isRoomy) ?? inOrder(used, isRoomy || !want.keepShare);
}

/** Addresses that can be handed out of the blocks, fixed ones not counted, and how many of them are free. */
export function countAddresses(
  blocks: readonly string[],
  used: ReadonlySet<Ipv4>,
): { readonly total: number; readonly free: number } {
  let [total, free] = [0, 0];
  for (const [at, block] of blocks.filter((each) => !isFixedBlock(each)).entries()) {
    const from = at === 0 ? FIRST_INDEX : FURTHER_INDEX;
    total += Math.max(0, cidrSize(parseCidr(block)) - from - 1);
    free += countFree(block, from, used);
  }
  return { total, free };
}

export function isInBlocks(address: Ipv4, blocks: readonly string[]): boolean {
  return blocks.some((block) => cidrContains(parseCidr(block), address));
}

function countFree(block: string, from: number, used: ReadonlySet<Ipv4>): number {
  const cidr = parseCidr(block);
  const inside = [...used].filter((address) => cidrContains(cidr, address));
  const ends = new Set([0, cidrSize(cidr) - 1, ...(from > 1 ? [1] : [])].map((index) => cidrAddress(cidr, index)));
  return Math.max(0, cidrSize(cidr) - from - 1) - inside.filter((address) => !ends.has(address)).length;
}

function chooseIn(block: string, from: number, used: ReadonlySet<Ipv4>, recent: readonly Ipv4[]): Ipv4 | null {
  const cidr = parseCidr(block);
  const lastUse = new Map(recent.map((address, index) => [address, index]));
  let best: { readonly address: Ipv4; readonly lastUse: number } | null = null;
  for (let index = from; index < cidrSize(cidr) - 1; index++) {
    const address = cidrAddress(cidr, index);
    if (used.has(address)) continue;
    const use = lastUse.get(address);
    if (use === undefined) return address;
    if (best === null || use < best.lastUse) best = { address, lastUse: use };
  }
  return best?.address ?? null;
}
