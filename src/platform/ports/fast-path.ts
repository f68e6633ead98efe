import type { Ipv4 } from "../../model/ip.ts";
import type { DnsCounts } from "../../model/wire.ts";

/** What the fast path does at the ingress of a device. */
export type FastPathProgram = "from_container" | "from_uplink" | "from_tunnel" | "from_host";

/**
 * What happens to a packet from a container to an address of the range: `direct` goes to the next hop by `ifindex`, `tunnel` by
 * `ifindex` to the peer inside a VXLAN packet, `local` into another container of this host, `slow` and `virtual` take the kernel's own way; for a `virtual` one it is kept
 * in mind that answers have to, too.
 */
export type FastRouteKind = "direct" | "tunnel" | "slow" | "virtual" | "local";

/** One fact in the kernel's maps. `slow` sends all packets from or to the address the kernel's own way. */
export type FastPathEntry =
  | {
      readonly map: "sources";
      readonly ifindex: number;
      readonly address: Ipv4;
      readonly mac: string;
      readonly slow: boolean;
    }
  | {
      readonly map: "endpoints";
      readonly address: Ipv4;
      readonly ifindex: number;
      readonly mac: string;
      /** What the container takes for its router. */
      readonly gatewayMac: string;
      readonly slow: boolean;
      /** What comes to the address is not forwarded from there: a packet may stay marked as one in a tunnel after it was opened. */
      readonly ends: boolean;
    }
  | {
      readonly map: "routes";
      readonly destination: string;
      readonly kind: FastRouteKind;
      /** 0 and "0.0.0.0" where the kind needs none. */
      readonly ifindex: number;
      /** In a tunnel: the peer's gateway address. */
      readonly nextHop: Ipv4;
      readonly mtu: number;
      /** Address by which the peer's traffic is counted, and to which a tunnel leads. */
      readonly peer: Ipv4;
      /** This host's own address towards the peer; "0.0.0.0" unless it is a tunnel. */
      readonly local: Ipv4;
    }
  | { readonly map: "settings"; readonly virtualRanges: number };

export interface FastPathFilter {
  readonly device: string;
  readonly program: FastPathProgram;
}

export type FastPathAction =
  | { readonly kind: "put-entry"; readonly entry: FastPathEntry }
  /** Not there is fine. */
  | { readonly kind: "delete-entry"; readonly entry: FastPathEntry }
  /** Replaces what we had at the device before, without a gap. */
  | { readonly kind: "attach"; readonly filter: FastPathFilter }
  /** The device itself may be gone. */
  | { readonly kind: "detach"; readonly device: string };

export interface FastPathState {
  readonly entries: readonly FastPathEntry[];
  /** Ours that run the present program; one of an older release, or of nobody's, is not listed as such but in `stale`. */
  readonly filters: readonly FastPathFilter[];
  /** Devices with a filter of ours that is not the present program. */
  readonly stale: readonly string[];
  /** Indexes of this host's devices by name, with their layer-2 kind; loopback only where it can have a program. */
  readonly devices: ReadonlyMap<string, { readonly index: number; readonly ethernet: boolean }>;
}

/** Packets and bytes since the counter was made: of a port by interface index, of a peer by its underlay address. */
export interface FastPathCounters {
  readonly sentPackets: number;
  readonly sentBytes: number;
  readonly receivedPackets: number;
  readonly receivedBytes: number;
  /** Dropped, since the source was not the port's. */
  readonly refusedPackets: number;
}

/** The programs and maps in this host's kernel. They outlive the agent: a new one adopts them. */
export interface FastPath {
  /**
   * Puts programs and maps in place where they are not, and adopts them where they are; repeatable.
   * @throws AppError `unavailable` with the reason when this kernel cannot.
   */
  open(): Promise<void>;
  /** Only after `open`. */
  observe(): Promise<FastPathState>;
  /** Only after `open`. @throws AppError `unavailable`. */
  apply(action: FastPathAction): Promise<void>;
  counters(): Promise<{
    readonly ports: ReadonlyMap<number, FastPathCounters>;
    readonly peers: ReadonlyMap<Ipv4, FastPathCounters>;
    readonly dns: DnsCounts;
  }>;
  /** Takes filters, programs and maps away; nothing there is fine. All packets go the kernel's own way afterwards. */
  remove(): Promise<void>;
}
