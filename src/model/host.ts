import type { HostId } from "./ids.ts";
import type { Ipv4 } from "./ip.ts";
import type { HostAddress } from "./ip6.ts";
import type { NetworkBlocks } from "./lease.ts";

export interface HostResources {
  readonly cpus: number;
  readonly memoryMiB: number;
  readonly diskMiB: number;
}

/** The stored record of a member. */
export interface Host {
  readonly id: HostId;
  /** Unique, a DNS label. */
  readonly name: string;
  /** Address other hosts reach this one by (the underlay). */
  readonly address: HostAddress;
  /** SHA-256 of the credential that the join gave out, hex. */
  readonly credentialHash: string;
  /** CIDR texts leased to this host; the first one's `.1` is the gateway. */
  readonly blocks: readonly string[];
  /** Of declared networks; missing when there are none. This record is the lease. */
  readonly networks?: NetworkBlocks;
  readonly resources: HostResources;
  readonly labels: Readonly<Record<string, string>>;
  readonly joinedAtMs: number;
  /** No new instances are placed here. */
  readonly cordoned: boolean;
  /** WireGuard keys, base64; missing while its agent has told none. See `AnnouncedKeys`. */
  readonly publicKey?: string;
  readonly nextPublicKey?: string;
  /** Where it is probed, of one of its blocks; missing: at the first address of the first one. */
  readonly probeAddress?: Ipv4 | undefined;
}

/**
 * The public halves of a host's WireGuard keys. The next one is told long before it is used: a host can change over at
 * any moment, and is understood even by hosts that no server reaches just then.
 */
export interface AnnouncedKeys {
  readonly publicKey: string;
  readonly nextPublicKey: string;
}

/** `joining`: known, not heard of since this server started. `up`, `down`: by heartbeat. */
export type HostPhase = "joining" | "up" | "down";

/** What another host needs to reach this one's containers. */
export interface Peer {
  readonly id: HostId;
  readonly name: string;
  readonly address: HostAddress;
  readonly blocks: readonly string[];
  /** Of declared networks. */
  readonly networks?: NetworkBlocks;
  readonly publicKey?: string;
  readonly nextPublicKey?: string;
  /** See `probeAddressOf`. */
  readonly probeAddress?: Ipv4 | undefined;
}
