import type { Peer } from "../../model/host.ts";
import type { HostId } from "../../model/ids.ts";
import type { Ipv4 } from "../../model/ip.ts";
import { cidrAddress, cidrSize, parseCidr } from "../../model/ip.ts";
import type { HostAddress } from "../../model/ip6.ts";
import { formatIpv6 } from "../../model/ip6.ts";
import { host6Of } from "../address6.ts";
import { gatewayOf } from "../blocks.ts";

/** Bytes by the first address of a block, or of a host's part of the IPv6 range. */
export interface LinkCounts {
  readonly sent: ReadonlyMap<HostAddress, number>;
  readonly received: ReadonlyMap<HostAddress, number>;
}

export interface LinkBytes {
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

/** What the kernel counted by block, as totals by peer that outlive the kernel's: they begin anew with each change of our rules. */
export class LinkTotals {
  readonly #totals = new Map<HostId, LinkBytes>();
  #last: LinkCounts = { sent: new Map(), received: new Map() };

  /** Takes what the kernel says now. What was counted between the last look and a change of the rules is lost. */
  observe(
    counts: LinkCounts,
    peers: Iterable<Peer>,
    around: { readonly range6: string | null; readonly blockPrefix: number },
  ): void {
    const all = [...peers];
    const owners = new Map(all.flatMap((peer) => keysOf(peer, around).map((key) => [key, peer.id] as const)));
    this.#add(owners, counts, "sent");
    this.#add(owners, counts, "received");
    this.#last = counts;
    const known = new Set(all.map(({ id }) => id));
    for (const id of this.#totals.keys()) if (!known.has(id)) this.#totals.delete(id);
  }

  #add(owners: ReadonlyMap<HostAddress, HostId>, counts: LinkCounts, way: keyof LinkCounts): void {
    for (const [key, bytes] of counts[way]) {
      const owner = owners.get(key);
      if (owner === undefined) continue;
      const last = this.#last[way].get(key) ?? 0;
      const more = bytes >= last ? bytes - last : bytes;
      const { sentBytes, receivedBytes } = this.of(owner);
      this.#totals.set(owner, {
        sentBytes: sentBytes + (way === "sent" ? more : 0),
        receivedBytes: receivedBytes + (way === "received" ? more : 0),
      });
    }
  }

  of(id: HostId): LinkBytes {
    return this.#totals.get(id) ?? { sentBytes: 0, receivedBytes: 0 };
  }

  all(): ReadonlyMap<HostId, LinkBytes> {
    return new Map(this.#totals);
  }
}

/** The elements that packets of a peer make. Fixed addresses, of one each, are in no block of their own there. */
function keysOf(
  { blocks }: Pick<Peer, "blocks">,
  { range6, blockPrefix }: { readonly range6: string | null; readonly blockPrefix: number },
): readonly HostAddress[] {
  if (blocks.length === 0) return [];
  const step = cidrSize({ first: 0, prefix: blockPrefix });
  const four = blocks
    .map(parseCidr)
    .flatMap((block): readonly Ipv4[] =>
      Array.from({ length: Math.floor(cidrSize(block) / step) }, (_, at) => cidrAddress(block, at * step)),
    );
  return range6 === null ? four : [...four, formatIpv6(host6Of(range6, gatewayOf(blocks)).first)];
}
