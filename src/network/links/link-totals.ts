import type { Peer } from "../../model/host.ts";
import type { HostId } from "../../model/ids.ts";
import { ipv4ToNumber, isIpv4, parseCidr } from "../../model/ip.ts";
import type { HostAddress } from "../../model/ip6.ts";
import { formatIpv6, ipv6ToNumber } from "../../model/ip6.ts";
import { host6Of } from "../address6.ts";
import { gatewayOf } from "../blocks.ts";

/** Bytes by an address in a block (the block's first, a fixed one), or by the first of a host's part of the IPv6 range. */
export interface LinkCounts {
  readonly sent: ReadonlyMap<HostAddress, number>;
  readonly received: ReadonlyMap<HostAddress, number>;
}

export interface LinkBytes {
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

/** What tells whose an element is, beside the blocks that peers hold. */
export interface OwnersAround {
  readonly range6: string | null;
  /** Names of declared networks whose ranges no other network has: those that are not layer 2. */
  readonly routed: ReadonlySet<string>;
}

type FindOwner = (key: HostAddress) => HostId | undefined;

/** Where IPv6 addresses have the IPv4 one. */
const LAST_32_BITS = 0xffff_ffffn;

/** What the kernel counted by block, as totals by peer that outlive the kernel's: they begin anew with each change of our rules. */
export class LinkTotals {
  readonly #totals = new Map<HostId, LinkBytes>();
  #last: LinkCounts = { sent: new Map(), received: new Map() };

  /** Takes what the kernel says now. What was counted between the last look and a change of the rules is lost. */
  observe(counts: LinkCounts, peers: Iterable<Peer>, around: OwnersAround): void {
    const all = [...peers];
    const ownerOf = findOwners(all, around);
    this.#add(ownerOf, counts, "sent");
    this.#add(ownerOf, counts, "received");
    this.#last = counts;
    const known = new Set(all.map(({ id }) => id));
    for (const id of this.#totals.keys()) if (!known.has(id)) this.#totals.delete(id);
  }

  #add(ownerOf: FindOwner, counts: LinkCounts, way: keyof LinkCounts): void {
    for (const [key, bytes] of counts[way]) {
      const owner = ownerOf(key);
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

/** Which peer it is whose packets made this element. */
function findOwners(peers: readonly Peer[], { range6, routed }: OwnersAround): FindOwner {
  const byBlock = new Map<string, HostId>();
  const byPart = new Map<HostAddress, HostId>();
  const prefixes = new Set<number>();
  for (const { id, blocks, networks = {} } of peers) {
    const declared = Object.entries(networks).flatMap(([name, held]) => (routed.has(name) ? held : []));
    for (const { first, prefix } of [...blocks, ...declared].map(parseCidr)) {
      byBlock.set(`${first}/${prefix}`, id);
      prefixes.add(prefix);
    }
    if (range6 !== null && blocks.length > 0) byPart.set(formatIpv6(host6Of(range6, gatewayOf(blocks)).first), id);
  }
  const longestFirst = [...prefixes].toSorted((a, b) => b - a);
  const byNumber = (address: number): HostId | undefined => {
    for (const prefix of longestFirst) {
      const size = 2 ** (32 - prefix);
      const owner = byBlock.get(`${address - (address % size)}/${prefix}`);
      if (owner !== undefined) return owner;
    }
    return undefined;
  };
  return (key) =>
    isIpv4(key) ? byNumber(ipv4ToNumber(key)) : (byPart.get(key) ?? byNumber(Number(ipv6ToNumber(key) & LAST_32_BITS)));
}
