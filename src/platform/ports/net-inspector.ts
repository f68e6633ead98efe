import type { HostAddress } from "../../model/ip6.ts";

/** Path of a network namespace (`/proc/PID/ns/net`); null is the host's own. */
export type NamespacePath = string | null;

export interface SeenRoute {
  readonly device: string;
  readonly via: HostAddress | null;
  /** Bytes that the route or its device carries whole. */
  readonly mtu: number | null;
}

export interface SeenNamespace {
  readonly addresses: readonly HostAddress[];
  /** Null: the kernel has no way there. */
  readonly route: SeenRoute | null;
}

export interface SeenLink {
  readonly name: string;
  readonly up: boolean;
  readonly addresses: readonly HostAddress[];
}

/** A socket that waits for connections or datagrams. "0.0.0.0" is every address, as "::" is. */
export interface SeenListener {
  readonly address: string;
  readonly port: number;
}

/**
 * `open`: accepted; for UDP: nobody refused. `refused`: the machine answers that nobody listens. `silent`: no answer in
 * time. `unreachable`: something on the way says that there is no way.
 */
export interface ConnectResult {
  readonly outcome: "open" | "refused" | "silent" | "unreachable" | "failed";
  readonly ms: number;
  /** For people. */
  readonly cause: string | null;
}

/** `too-big`: the kernel or a router said so, and senders know what to do then. */
export type PingResult = "answered" | "lost" | "too-big" | "failed";

export type NameAnswer =
  | { readonly code: "NOERROR" | "NXDOMAIN"; readonly addresses: readonly HostAddress[] }
  | { readonly code: "SILENT"; readonly addresses: readonly HostAddress[] };

/** Looks at this host's network, and tries it, without changing anything. @throws AppError `unavailable` as its programs say. */
export interface NetInspector {
  /** Addresses of a namespace and its way to `to`. @throws AppError `not-found` when the namespace is gone. */
  look(namespace: NamespacePath, to: HostAddress): Promise<SeenNamespace>;
  /** The host's devices. */
  links(): Promise<readonly SeenLink[]>;
  /** MAC that the host knows for an address; null when it has none or asks in vain. */
  neighbour(address: HostAddress): Promise<{ readonly mac: string | null; readonly state: string } | null>;
  listeners(namespace: NamespacePath, protocol: "tcp" | "udp"): Promise<readonly SeenListener[]>;
  connect(
    namespace: NamespacePath,
    to: {
      readonly address: HostAddress;
      readonly port: number;
      readonly protocol: "tcp" | "udp";
      readonly timeoutMs: number;
    },
  ): Promise<ConnectResult>;
  /** One packet of `bytes` (IP header included) that nobody may split, and its echo. */
  ping(
    namespace: NamespacePath,
    to: { readonly address: HostAddress; readonly bytes: number; readonly timeoutMs: number },
  ): Promise<PingResult>;
  /** Asks a DNS server for addresses of one family, as this host. */
  resolve(name: string, server: HostAddress, family: 4 | 6): Promise<NameAnswer>;
  /** All nftables rules, as `nft -j` prints them, without the elements of sets; null when there is no nft. */
  ruleset(): Promise<string | null>;
}
