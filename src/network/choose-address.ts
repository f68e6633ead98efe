import type { Ipv4 } from "../model/ip.ts";
import { cidrAddress, cidrSize, parseCidr } from "../model/ip.ts";

/**
 * The address for a new container: the lowest that was never used, else the one whose last use is longest ago. Clients
 * and ARP caches remember addresses, so one that was just freed would get another container's traffic.
 * Network (.0), gateway (.1) and broadcast (.255) addresses of the block are never handed out.
 * @param used addresses in use now, of whatever container
 * @param recent addresses used before, oldest first
 * @returns null when the block is full
 */
export function chooseAddress(want: {
  readonly block: string;
  readonly used: ReadonlySet<Ipv4>;
  readonly recent: readonly Ipv4[];
}): Ipv4 | null {
  const block = parseCidr(want.block);
  const lastUse = new Map(want.recent.map((address, index) => [address, index]));
  let best: { readonly address: Ipv4; readonly lastUse: number } | null = null;
  for (let index = 2; index < cidrSize(block) - 1; index++) {
    const address = cidrAddress(block, index);
    if (want.used.has(address)) continue;
    const use = lastUse.get(address);
    if (use === undefined) return address;
    if (best === null || use < best.lastUse) best = { address, lastUse: use };
  }
  return best?.address ?? null;
}
