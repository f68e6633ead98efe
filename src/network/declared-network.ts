/** Devices and addresses that follow from what is declared of a network. */
import type { Ipv4 } from "../model/ip.ts";
import { cidrAddress, parseCidr } from "../model/ip.ts";
import type { ContainerNetwork } from "../model/network-config.ts";

/** A declared network as hosts carry it out: the server has given it its number. */
export interface DeclaredNetwork {
  readonly name: string;
  readonly layer2: boolean;
  readonly range: string;
  readonly policy: ContainerNetwork["policy"];
  readonly internal: boolean;
  readonly vni: number;
  /** Its containers on this host have IPv6 addresses, too. Missing: no, or not known yet. */
  readonly ip6?: boolean;
}

export function bridgeOf(vni: number): string {
  return `apl${vni}`;
}

/** Of layer-2 networks: the bridge's port to the other hosts. */
export function tunnelOf(vni: number): string {
  return `apv${vni}`;
}

/** The same on every host: containers may have it in their configuration. Of a layer-2 network nobody has it. */
export function declaredGateway(range: string): Ipv4 {
  return cidrAddress(parseCidr(range), 1);
}

/** Networks without a number are of a server that is older than this agent. */
export function carriedNetworks(networks: readonly ContainerNetwork[]): readonly DeclaredNetwork[] {
  return networks.flatMap(({ name, mode, range, policy, internal, vni }) =>
    vni === undefined ? [] : [{ name, layer2: mode === "layer2", range, policy, internal, vni }],
  );
}
