import type { Ipv4 } from "../../model/ip.ts";
import type { Ipv6 } from "../../model/ip6.ts";

/** Names that only devices of declared networks have: `apl` or `apv` and the network's number. */
export function isSegmentDevice(device: string): boolean {
  return /^ap[lv][0-9]{4,8}$/.test(device);
}

/** A bridge of a declared network. */
export interface SegmentBridge {
  readonly name: string;
  readonly up: boolean;
  readonly addresses: readonly { readonly address: Ipv4; readonly prefix: number }[];
  readonly addresses6: readonly { readonly address: Ipv6; readonly prefix: number }[];
}

/** The VXLAN port of a layer-2 network's bridge. */
export interface SegmentTunnel {
  readonly name: string;
  readonly vni: number;
  readonly local: Ipv4 | null;
  readonly bridge: string | null;
  readonly mtu: number;
  readonly up: boolean;
  /** Hosts that broadcasts, and whatever else has no known destination, are sent to. */
  readonly flood: readonly Ipv4[];
}

export interface SegmentState {
  /** Devices that declared networks have names for, whoever made them. */
  readonly bridges: readonly SegmentBridge[];
  readonly tunnels: readonly SegmentTunnel[];
  /** Destinations of the routes of this host that are not ours, with their devices. */
  readonly routes: readonly { readonly destination: string; readonly device: string }[];
  /** Of the device that the default route uses. */
  readonly uplinkMtu: number;
  /** The engine's filter lets our bridges through. */
  readonly allowed: boolean;
}

/** One change. Plain data: planned, logged, applied. */
export type SegmentAction =
  /** With an address the host answers for all of the range (proxy ARP); without one it takes no part itself. */
  | {
      readonly kind: "add-bridge";
      readonly name: string;
      readonly mac: string;
      readonly mtu: number;
      readonly address: { readonly address: Ipv4; readonly prefix: number } | null;
    }
  | { readonly kind: "put-address"; readonly name: string; readonly address: Ipv4; readonly prefix: number }
  /** Turns IPv6 on for the bridge as well. */
  | { readonly kind: "put-address6"; readonly name: string; readonly address: Ipv6; readonly prefix: number }
  | { readonly kind: "set-up"; readonly name: string }
  /** Learns which MAC is behind which host; the flood list is given apart. */
  | {
      readonly kind: "add-tunnel";
      readonly name: string;
      readonly vni: number;
      readonly port: number;
      readonly local: Ipv4;
      readonly bridge: string;
      readonly mtu: number;
    }
  | { readonly kind: "set-mtu"; readonly name: string; readonly mtu: number }
  | { readonly kind: "set-master"; readonly name: string; readonly bridge: string }
  | { readonly kind: "add-flood"; readonly name: string; readonly host: Ipv4 }
  | { readonly kind: "delete-flood"; readonly name: string; readonly host: Ipv4 }
  /** Not there is fine. */
  | { readonly kind: "delete-device"; readonly name: string }
  /** Lets bridges of declared networks through the engine's filter: our own rules have decided by then. */
  | { readonly kind: "allow-bridges" }
  | { readonly kind: "forbid-bridges" };

/** The bridges of declared networks on this host. @throws AppError `unavailable` with what the kernel said. */
export interface SegmentNetwork {
  observe(): Promise<SegmentState>;
  apply(action: SegmentAction): Promise<void>;
}
