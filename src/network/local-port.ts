import type { Ipv4 } from "../model/ip.ts";
import type { Ipv6 } from "../model/ip6.ts";

/** The host's end of one container's interface on a bridge of ours. */
export interface LocalPort {
  /** Name of the network. */
  readonly network: string;
  /** Name of the host's end. */
  readonly device: string;
  /** Interface index of the host's end. */
  readonly index: number;
  /** Of the container's end, as its packets carry it. */
  readonly mac: string;
  /** What the container may send from. */
  readonly addresses: readonly Ipv4[];
  /** The same for IPv6; missing: none. */
  readonly addresses6?: readonly Ipv6[];
  readonly container: string;
  /** True: what is sent to its addresses ends in the container, since nobody there could have it forwarded; missing: not known. */
  readonly ends?: true;
}
