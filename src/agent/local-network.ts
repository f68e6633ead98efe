import { AppError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import { parseCidr } from "../model/ip.ts";
import type { Ipv6 } from "../model/ip6.ts";
import { DEFAULT_NETWORK, declaredNetworks } from "../model/network-config.ts";
import { bridgeOf, declaredGateway } from "../network/declared-network.ts";
import { BRIDGE } from "../network/plan-network.ts";
import type { Wire6 } from "../network/wire6.ts";
import { declaredWire6, hostWire6 } from "../network/wire6.ts";
import type { AgentState } from "./agent-state.ts";

/** Where the containers of a network are on this host. */
export interface LocalNetwork {
  readonly bridge: string;
  readonly range: string;
  /** Of a layer-2 network nobody has it: containers get no route by it. */
  readonly gateway: Ipv4;
  /** The host takes no part in it. */
  readonly layer2: boolean;
  /** Null without IPv6. */
  readonly six: Wire6 | null;
}

/** Null while the network is not ready on this host. @throws AppError `not-found` for a network that nobody declared. */
export type BridgeFor = (network: string) => LocalNetwork | null;

/** The default network and the declared ones. @param gateway6 null while containers of this host have no IPv6 */
export function localNetworks(
  state: AgentState,
  gateway: () => Ipv4 | null,
  gateway6: () => Ipv6 | null = () => null,
): BridgeFor {
  return (network) => {
    if (network !== DEFAULT_NETWORK) return findDeclared(state, network);
    const address = gateway();
    const { identity } = state;
    if (address === null || identity === null) return null;
    const { range, range6 = null } = identity.settings;
    const six = range6 === null || gateway6() === null ? null : hostWire6(range6, address);
    return { bridge: BRIDGE, range, gateway: address, layer2: false, six };
  };
}

function findDeclared(state: AgentState, network: string): LocalNetwork | null {
  const wanted = declaredNetworks(state.networkConfig);
  if (!wanted.some(({ name }) => name === network)) {
    const names = [DEFAULT_NETWORK, ...wanted.map(({ name }) => name)];
    throw new AppError("not-found", `Cannot use network "${network}": this host has no such network`, {
      hint: `Networks are ${names.join(", ")}; declare one with: apollo network create ${network} --range RANGE`,
    });
  }
  const found = state.declared.find(({ name }) => name === network);
  if (found === undefined) return null;
  const { vni, range, layer2 } = found;
  const range6 = state.identity?.settings.range6 ?? null;
  const six = range6 === null || found.ip6 !== true ? null : declaredWire6(range6, found);
  return { bridge: bridgeOf(vni), range, gateway: declaredGateway(range), layer2, six };
}

/** The network's part of an attachment. @throws AppError `unavailable` while it is not ready. */
export function requireNetwork(bridgeFor: BridgeFor, network: string): LocalNetwork & { readonly prefix: number } {
  const local = bridgeFor(network);
  if (local === null) {
    throw new AppError("unavailable", `Cannot use network "${network}" yet: its bridge is not there`, {
      hint: "See why in the conditions of this host: apollo host list",
    });
  }
  return { ...local, prefix: parseCidr(local.range).prefix };
}
