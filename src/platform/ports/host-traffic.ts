import type { Ipv4 } from "../../model/ip.ts";
import type { HostAddress } from "../../model/ip6.ts";

/** UDP flows of the kernel's memory (conntrack) that are alike: where clients send to, and from where they are answered. */
export interface UdpFlow {
  readonly destination: HostAddress;
  readonly port: number;
  readonly answerFrom: HostAddress;
  readonly answerPort: number;
}

export interface UdpFlows {
  readonly flows: readonly UdpFlow[];
  readonly addresses: ReadonlySet<HostAddress>;
}

export interface TrafficState {
  /** Ports that programs of this host can be reached on from outside, as "53/udp". */
  readonly busyPorts: ReadonlySet<string>;
  /** Frames between ports of a bridge pass netfilter (br_netfilter is loaded and on). */
  readonly bridgeSeen: boolean;
  /** The same for IPv6. */
  readonly bridgeSeen6: boolean;
}

/** What goes on in this host's kernel, where services are answered for outside clients. */
export interface HostTraffic {
  /** Reads a few small files: cheap. */
  observe(): Promise<TrafficState>;
  /** All kinds of UDP flows there are in these families, each once, and this host's own addresses. Costs what there are of them. */
  listUdpFlows(families: readonly (4 | 6)[]): Promise<UdpFlows>;
  /** The kernel forgets all of these; none is fine. @throws AppError `unavailable`. */
  endUdpFlows(flow: UdpFlow): Promise<void>;
  /**
   * Those of `ports` (names of bridge ports), and of the ports that `addresses` were last heard on, that do not send a frame
   * back where it came from. Unknown ones are left out, and addresses that this host has not spoken to lately.
   */
  portsWithoutReturn(of: {
    readonly ports: readonly string[];
    readonly addresses: readonly Ipv4[];
  }): Promise<readonly string[]>;
  /** Lets a bridge port send frames back where they came from (hairpin). @throws AppError `unavailable`. */
  allowReturn(port: string): Promise<void>;
}
