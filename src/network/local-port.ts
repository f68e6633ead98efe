import type { Ipv4 } from "../model/ip.ts";

/** One attachment of a container to a network of ours on this host: what stands at the host's end of the wire. */
export interface LocalPort {
  /** Name of the network, as the engine has it. */
  readonly network: string;
  /** Host end of the wire: name and index in the host's own namespace. */
  readonly device: string;
  readonly index: number;
  /** Of the container's end, lower case. */
  readonly mac: string;
  /** What the container may send from on this wire. */
  readonly addresses: readonly Ipv4[];
  /** Engine id of the container, or what another owner calls it. */
  readonly container: string;
}
