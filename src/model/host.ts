import type { HostId } from "./ids.ts";
import type { Ipv4 } from "./ip.ts";

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
  readonly address: Ipv4;
  /** SHA-256 of the credential that the join gave out, hex. */
  readonly credentialHash: string;
  /** CIDR texts leased to this host; the first one's `.1` is the gateway. */
  readonly blocks: readonly string[];
  readonly resources: HostResources;
  readonly labels: Readonly<Record<string, string>>;
  readonly joinedAtMs: number;
  /** No new instances are placed here. */
  readonly cordoned: boolean;
}

/** `joining`: known, not heard of since this server started. `up`, `down`: by heartbeat. */
export type HostPhase = "joining" | "up" | "down";

/** What another host needs to reach this one's containers. */
export interface Peer {
  readonly id: HostId;
  readonly name: string;
  readonly address: Ipv4;
  readonly blocks: readonly string[];
}
