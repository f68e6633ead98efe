/** How containers on a network of this host speak IPv6 there: what attachments, CNI and the engine's plugin set up. */
import type { Ipv4 } from "../model/ip.ts";
import type { Cidr6, Ipv6 } from "../model/ip6.ts";
import { formatCidr6 } from "../model/ip6.ts";
import type { WireEnd6 } from "../platform/ports/wiring.ts";
import { HOST6_PREFIX, address6Of, gateway6Of, host6Of, network6Of } from "./address6.ts";
import type { DeclaredNetwork } from "./declared-network.ts";
import { declaredGateway } from "./declared-network.ts";

export interface Wire6 {
  /** Containers' addresses are the IPv4 ones in this part of the range. */
  readonly part: Cidr6;
  /** Of an address on the wire; 128 where a container finds nobody but the gateway there by itself. */
  readonly prefix: number;
  /** Null where the host takes no part. */
  readonly gateway: Ipv6 | null;
  /** What the gateway leads to, whatever the way out is (CIDR text). */
  readonly reach: string | null;
}

/** Of the default network, on the host with this gateway. */
export function hostWire6(range6: string, gateway: Ipv4): Wire6 {
  const part = host6Of(range6, gateway);
  return { part, prefix: HOST6_PREFIX, gateway: gateway6Of(range6, gateway), reach: range6 };
}

/**
 * Of a declared network. Where it is routed, blocks of other hosts are not on the wire, and nobody answers neighbour discovery
 * for them: so nothing is, but the gateway.
 */
export function declaredWire6(range6: string, { vni, range, layer2 }: DeclaredNetwork): Wire6 {
  const part = network6Of(range6, vni);
  if (layer2) return { part, prefix: HOST6_PREFIX, gateway: null, reach: null };
  return { part, prefix: 128, gateway: address6Of(part, declaredGateway(range)), reach: formatCidr6(part) };
}

/** What whoever has the IPv4 address gets. */
export function wireEnd6({ part, prefix, gateway, reach }: Wire6, address: Ipv4): WireEnd6 {
  return { address: address6Of(part, address), prefix, gateway, reach };
}
