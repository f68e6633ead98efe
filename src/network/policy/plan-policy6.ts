/**
 * The same policy for IPv6. Rules are planned in IPv4 addresses, of which every container and host has one; here each is
 * followed to its IPv6 address. A selector of addresses (`cidr`) so means the containers that have one of them, and nobody
 * outside: those have no IPv4 address that we know.
 */
import type { Ipv4 } from "../../model/ip.ts";
import { ipv4ToNumber } from "../../model/ip.ts";
import type { Ipv6 } from "../../model/ip6.ts";
import type { OpenPorts, PolicyPlan } from "./plan-policy.ts";

/** Both addresses of a container or a host. */
export interface AddressPair {
  readonly address: Ipv4;
  readonly address6: Ipv6;
}

export interface PolicyGroup6 {
  /** That of the group with the same rules. */
  readonly id: string;
  readonly bridge: string;
  /** Sorted. */
  readonly addresses: readonly Ipv6[];
  /** Everyone else's rights; null for none. */
  readonly rest: OpenPorts | null;
  /** Sorted by address; none twice. */
  readonly sources: readonly { readonly address: Ipv6; readonly ports: OpenPorts }[];
}

const LAST = 0xff_ff_ff_ff;

/** Groups whose containers have IPv6, in the order of the plan. */
export function planPolicy6({ groups }: PolicyPlan, pairs: readonly AddressPair[]): readonly PolicyGroup6[] {
  const sorted = pairs
    .map(({ address, address6 }) => ({ value: ipv4ToNumber(address), address6 }))
    .toSorted((a, b) => a.value - b.value);
  const byAddress = new Map(pairs.map(({ address, address6 }) => [address, address6]));
  return groups.flatMap(({ id, bridge, addresses, sources }): PolicyGroup6[] => {
    const own = addresses.flatMap((address) => byAddress.get(address) ?? []);
    if (own.length === 0) return [];
    const everyone = sources.find(({ first, last }) => first === 0 && last === LAST);
    const named = sources.filter((source) => source !== everyone);
    const found = named.flatMap(({ first, last, ports }) =>
      within(sorted, first, last).map(({ address6: address }) => ({ address, ports })),
    );
    return [
      {
        id,
        bridge,
        addresses: own.toSorted(),
        rest: everyone?.ports ?? null,
        sources: [...new Map(found.map((source) => [source.address, source])).values()].toSorted((a, b) =>
          a.address < b.address ? -1 : 1,
        ),
      },
    ];
  });
}

/** Of a sorted list, those from `first` to `last`. */
function within<Kind extends { readonly value: number }>(
  sorted: readonly Kind[],
  first: number,
  last: number,
): readonly Kind[] {
  return sorted.slice(lowest(sorted, first), lowest(sorted, last + 1));
}

/** The first index whose value is not below. */
function lowest(sorted: readonly { readonly value: number }[], value: number): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle]?.value ?? LAST) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
