import { AppError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import { parseCidr } from "../model/ip.ts";
import { DEFAULT_NETWORK } from "../model/network-config.ts";
import { BRIDGE } from "../network/plan-network.ts";
import type { AgentState } from "./agent-state.ts";

/** Where the containers of a network are on this host. */
export interface LocalNetwork {
  readonly bridge: string;
  readonly range: string;
  readonly gateway: Ipv4;
}

/** Null while the network is not ready on this host. @throws AppError `not-found` for a network that nobody declared. */
export type BridgeFor = (network: string) => LocalNetwork | null;

/** The default network alone; declared ones have an interface of the same shape. */
export function defaultBridge(state: AgentState, gateway: () => Ipv4 | null): BridgeFor {
  return (network) => {
    if (network !== DEFAULT_NETWORK) {
      throw new AppError("not-found", `Cannot use network "${network}": this host has no such network`, {
        hint: `Leave the network out for the default one, "${DEFAULT_NETWORK}"`,
      });
    }
    const address = gateway();
    const { identity } = state;
    if (address === null || identity === null) return null;
    return { bridge: BRIDGE, range: identity.settings.range, gateway: address };
  };
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
