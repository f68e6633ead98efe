import type { Ipv4 } from "../../model/ip.ts";
import type { HostAddress, Ipv6 } from "../../model/ip6.ts";

export interface NetworkLink {
  readonly name: string;
  readonly index: number;
  readonly kind: "bridge" | "vxlan" | "wireguard" | "tun" | "other";
  readonly up: boolean;
  readonly mtu: number;
  readonly mac: string;
  readonly addresses: readonly { readonly address: Ipv4; readonly prefix: number }[];
  /** For vxlan links. */
  readonly vxlan: { readonly vni: number; readonly local: HostAddress | null; readonly port: number } | null;
}

/** `marked` routes carry our protocol number; only those are ours to change. */
export interface NetworkRoute {
  readonly destination: string;
  /** Next hop; one of the other family is as good. */
  readonly via: HostAddress | null;
  readonly device: string;
  readonly source: Ipv4 | null;
  readonly mtu: number | null;
  readonly onlink: boolean;
  readonly marked: boolean;
}

/** A route of the other family. */
export interface NetworkRoute6 extends Omit<NetworkRoute, "via" | "source"> {
  readonly via: Ipv6 | null;
  readonly source: Ipv6 | null;
}

export interface NetworkAddress6 {
  readonly device: string;
  readonly address: Ipv6;
  readonly prefix: number;
}

export interface NetworkNeighbour6 {
  readonly device: string;
  readonly address: Ipv6;
  readonly mac: string;
}

/** The kernel's IPv6. */
export interface NetworkState6 {
  /** Of all devices, link-local ones too. */
  readonly addresses: readonly NetworkAddress6[];
  /** Those that routers have announced are not `marked`. */
  readonly routes: readonly NetworkRoute6[];
  /** Permanent ones. */
  readonly neighbours: readonly NetworkNeighbour6[];
  /** Devices with a default route that a router announced, and their sysctl `accept_ra`: a host that forwards needs 2 to keep it. */
  readonly announced: readonly { readonly device: string; readonly acceptRa: string }[];
}

/**
 * Bit in the connection mark (conntrack) of a connection whose destination our rules chose: a virtual address or a
 * published port. The engine's filter, which drops what it has not published itself, is told to let those through.
 */
export const CHOSEN_MARK = 0x08_00_00_00;

/** Stands in a `TunnelPeer` for the half that is not there, or not meant. */
export const NO_ADDRESS = "0.0.0.0" as Ipv4;

/** Neighbour and forwarding entry of one VXLAN peer: gateway address → MAC → underlay address. */
export interface TunnelPeer {
  readonly gateway: Ipv4;
  readonly mac: string;
  readonly underlay: HostAddress;
}

/** A WireGuard device as it is. Its private key is not among what we look at. */
export interface WireguardDevice {
  /** Null before it was given a key. */
  readonly publicKey: string | null;
  /** UDP port that it listens on. */
  readonly port: number;
  readonly peers: readonly WireguardPeer[];
}

export interface WireguardPeer {
  readonly publicKey: string;
  /** `ADDRESS:PORT` that packets go to; WireGuard itself follows where the peer's packets come from. */
  readonly endpoint: string | null;
  /** CIDR texts: what is sent to this peer, and the only source addresses that it may use. */
  readonly allowedIps: readonly string[];
  /** Age of the last handshake; null when there was none. */
  readonly handshakeAgeMs: number | null;
  readonly receivedBytes: number;
  readonly sentBytes: number;
  /** 0 for none. */
  readonly keepaliveSec: number;
}

/** What a peer is to be. An endpoint of null leaves what is there. */
export type WireguardPeerSpec = Pick<WireguardPeer, "publicKey" | "endpoint" | "allowedIps" | "keepaliveSec">;

/** One change to the kernel's network. Plain data: planned, printed, logged, applied. */
export type NetworkAction =
  | {
      readonly kind: "add-bridge";
      readonly name: string;
      readonly address: Ipv4;
      readonly prefix: number;
      readonly mac: string;
      readonly mtu: number;
    }
  | {
      readonly kind: "add-vxlan";
      readonly name: string;
      readonly vni: number;
      readonly port: number;
      readonly local: HostAddress;
      readonly mac: string;
      readonly mtu: number;
    }
  | { readonly kind: "delete-link"; readonly name: string }
  | { readonly kind: "set-link-up"; readonly name: string }
  | { readonly kind: "set-link-mac"; readonly name: string; readonly mac: string }
  | { readonly kind: "set-link-mtu"; readonly name: string; readonly mtu: number }
  | { readonly kind: "add-address"; readonly device: string; readonly address: Ipv4; readonly prefix: number }
  | { readonly kind: "delete-address"; readonly device: string; readonly address: Ipv4; readonly prefix: number }
  | { readonly kind: "put-route"; readonly route: Omit<NetworkRoute, "marked"> }
  | { readonly kind: "delete-route"; readonly destination: string; readonly device: string }
  | { readonly kind: "put-tunnel-peer"; readonly device: string; readonly peer: TunnelPeer }
  | { readonly kind: "delete-tunnel-peer"; readonly device: string; readonly peer: TunnelPeer }
  /** By the kernel's module where there is one, else by the program wireguard-go, which lives as long as the device. */
  | {
      readonly kind: "add-wireguard";
      readonly name: string;
      readonly port: number;
      readonly mtu: number;
      /** Whose private half the adapter knows: it never stands in an action. */
      readonly publicKey: string;
    }
  | { readonly kind: "set-wireguard-key"; readonly name: string; readonly port: number; readonly publicKey: string }
  /** All in one go; an address range that another peer had moves over without a moment in between. */
  | {
      readonly kind: "put-wireguard-peers";
      readonly device: string;
      readonly peers: readonly WireguardPeerSpec[];
    }
  | { readonly kind: "delete-wireguard-peers"; readonly device: string; readonly publicKeys: readonly string[] }
  /** Usable at once: without looking for others that have it (DAD). */
  | ({ readonly kind: "add-address6" } & NetworkAddress6)
  | ({ readonly kind: "delete-address6" } & NetworkAddress6)
  | { readonly kind: "put-route6"; readonly route: Omit<NetworkRoute6, "marked"> }
  | { readonly kind: "delete-route6"; readonly destination: string; readonly device: string }
  | ({ readonly kind: "put-neighbour6" } & NetworkNeighbour6)
  | ({ readonly kind: "delete-neighbour6" } & NetworkNeighbour6)
  | { readonly kind: "set-sysctl"; readonly key: string; readonly value: string }
  /** Replaces our whole nftables table in one transaction. */
  | { readonly kind: "put-ruleset"; readonly text: string }
  /** Not there is fine. */
  | { readonly kind: "delete-ruleset" }
  /** Makes the engine's own filter rules, of the range's family, let the range and marked connections through (DOCKER-USER). `unavailable` until the engine made its chain. */
  | { readonly kind: "allow-range"; readonly range: string }
  /** Not there is fine. */
  | { readonly kind: "remove-allow-range"; readonly range: string };

export interface NetworkState {
  readonly links: readonly NetworkLink[];
  readonly routes: readonly NetworkRoute[];
  /** Our VXLAN device's peers. */
  readonly tunnelPeers: readonly TunnelPeer[];
  /** Our WireGuard device; null when it is not there or nothing answers for it. */
  readonly wireguard: WireguardDevice | null;
  /** How this host can do WireGuard; null when it cannot. */
  readonly wireguardSupport: "kernel" | "program" | null;
  /** Values of the sysctls asked for, by key with slashes (`net/ipv4/ip_forward`: device names may hold dots); one that does not exist is left out. */
  readonly sysctls: Readonly<Record<string, string>>;
  /** Digest comment of our nftables table; null when the table is missing, "altered" when its rules are not all there. */
  readonly rulesetDigest: string | null;
  /** False while the engine's filter rules would drop packets inside the range, or of connections with `CHOSEN_MARK`. */
  readonly rangeAllowed: boolean;
  /** The same for the IPv6 range; missing when none was asked for. */
  readonly range6Allowed?: boolean;
  /** Null or missing when no IPv6 range was asked for, or the kernel has no IPv6. */
  readonly ip6?: NetworkState6 | null;
}

/** The kernel network of this host. */
export interface HostNetwork {
  observe(want: {
    readonly sysctls: readonly string[];
    readonly range: string;
    readonly range6?: string | null;
    readonly tunnelDevice: string;
    readonly wireguardDevice?: string;
  }): Promise<NetworkState>;
  /** Repeatable where the kernel allows it. @throws AppError `unavailable` with the command and what it said. */
  apply(action: NetworkAction): Promise<void>;
  /** How the kernel would reach `address`: the device and, when routed, the next hop. Null when it cannot. */
  pathTo(address: HostAddress): Promise<{
    readonly device: string;
    readonly via: HostAddress | null;
    readonly source: HostAddress;
    readonly mtu: number;
  } | null>;
  /** Calls when links, addresses, routes or forwarding changed or our tables were deleted; bursts may fold. */
  watch(onChange: () => void, signal: AbortSignal): Promise<void>;
}
