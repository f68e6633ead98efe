/** What a trace has to know of the networks that its two ends are on, and of their addresses in either family. */
import type { Holder } from "../model/holder.ts";
import type { Ipv4 } from "../model/ip.ts";
import { cidrContains, isIpv4, parseCidr } from "../model/ip.ts";
import type { HostAddress } from "../model/ip6.ts";
import { cidr6Contains, formatCidr6 } from "../model/ip6.ts";
import { DEFAULT_NETWORK } from "../model/network-config.ts";
import { gateway6Of, host6Of } from "../network/address6.ts";
import { gatewayOf } from "../network/blocks.ts";
import { bridgeOf, carriedNetworks, declaredGateway } from "../network/declared-network.ts";
import { BRIDGE } from "../network/plan-network.ts";
import type { AgentState } from "./agent-state.ts";

export interface TraceNetwork {
  readonly name: string;
  readonly bridge: string;
  readonly layer2: boolean;
  /** CIDR texts of what this host holds of it. */
  readonly blocks: readonly string[];
  /** On this host's bridge; null where there is none. */
  readonly gateway: Ipv4 | null;
}

/** The network of that name as this host has it; the default one for a name that nobody knows any more. */
export function traceNetwork(state: AgentState, name: string | null): TraceNetwork {
  const { identity, networkConfig } = state;
  const declared = carriedNetworks(networkConfig.networks).find((each) => each.name === name);
  if (declared !== undefined) {
    const { layer2, range, vni } = declared;
    const blocks = identity?.networks?.[declared.name] ?? [];
    return {
      name: declared.name,
      bridge: bridgeOf(vni),
      layer2,
      blocks,
      gateway: layer2 ? null : declaredGateway(range),
    };
  }
  const blocks = identity?.blocks ?? [];
  const gateway = blocks.length === 0 ? null : gatewayOf(blocks);
  return { name: DEFAULT_NETWORK, bridge: BRIDGE, layer2: false, blocks, gateway };
}

/** Of several with the same address, which segments may have, the one on a network of `near`. */
export function holderOf(
  holders: readonly Holder[],
  address: HostAddress,
  near: readonly string[] = [],
): Holder | null {
  const found = holders.filter((each) => each.address === address || each.address6 === address);
  return found.find(({ network }) => near.includes(network)) ?? found[0] ?? null;
}

/** The part of the IPv6 range of the host with these blocks; null where there is none. */
export function part6Of(state: AgentState, blocks: readonly string[]): ReturnType<typeof host6Of> | null {
  const range6 = state.identity?.settings.range6 ?? null;
  return range6 === null || blocks.length === 0 ? null : host6Of(range6, gatewayOf(blocks));
}

/** This host's own one on the bridge of the default network. */
export function ownGateway6(state: AgentState): HostAddress | null {
  const range6 = state.identity?.settings.range6 ?? null;
  const blocks = state.identity?.blocks ?? [];
  return range6 === null || blocks.length === 0 ? null : gateway6Of(range6, gatewayOf(blocks));
}

/** Whether the address is one of a host with these blocks of the default network, whatever the family. */
export function isOfHost(state: AgentState, address: HostAddress, blocks: readonly string[]): boolean {
  if (isIpv4(address)) return blocks.some((block) => cidrContains(parseCidr(block), address));
  const part = part6Of(state, blocks);
  return part !== null && cidr6Contains(part, address);
}

/** What this host holds of the network, in the address's family, for people. */
export function heldOf(state: AgentState, address: HostAddress, network: TraceNetwork): readonly string[] {
  if (isIpv4(address)) return network.blocks;
  const part = network.name === DEFAULT_NETWORK ? part6Of(state, network.blocks) : null;
  return part === null ? [] : [formatCidr6(part)];
}
