import type { ClusterSettings } from "../model/cluster.ts";
import type { HostAddress } from "../model/ip6.ts";
import type { VirtualService } from "../model/network-config.ts";
import { address6Of, virtual6Of } from "./address6.ts";

/** The services' own addresses, by name: each has a twin in a cluster with IPv6. */
export function virtualAddresses(
  virtuals: readonly Pick<VirtualService, "name" | "address">[],
  { range6 = null, virtualRange }: Pick<ClusterSettings, "range6" | "virtualRange">,
): ReadonlyMap<string, readonly HostAddress[]> {
  const twins = range6 === null ? null : virtual6Of(range6, virtualRange);
  return new Map(
    virtuals.flatMap(({ name, address }) => {
      if (address === undefined) return [];
      return [[name, twins === null ? [address] : [address, address6Of(twins, address)]] as const];
    }),
  );
}
