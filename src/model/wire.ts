/**
 * Messages between agent and server, one JSON object per WebSocket frame.
 *
 * Both sides accept unknown fields and ignore unknown message types, so that neighbouring versions work together; what
 * changes the meaning of a field raises `WIRE_VERSION`. `hello` and `welcome` settle the version: the highest that both
 * speak. A server refuses an agent with which it shares none, naming both ranges.
 */
import type { ConsulFacts } from "./consul.ts";
import type { Endpoint, CatalogHost } from "./endpoint.ts";
import type { Holder } from "./holder.ts";
import type { HostCheck, HostCheckResult } from "./host-check.ts";
import type { Peer } from "./host.ts";
import type { HostId, InstanceId } from "./ids.ts";
import type { Assignment, InstanceReport } from "./instance.ts";
import type { ClusterSettings } from "./cluster.ts";
import type { NetworkConfig } from "./network-config.ts";
import type { ErrorCode } from "./error.ts";
import type { Ipv4 } from "./ip.ts";
import type { LinkChanges, LinkReport } from "./link.ts";
import type { AddressUse, LeaseProblem, NetworkBlocks } from "./lease.ts";

/** 2: peers, the catalog's hosts and links come as changes. */
export const WIRE_VERSION = 2;
export const WIRE_VERSION_MIN = 1;
/** Who speaks an older one takes these only whole. */
export const WIRE_OF_CHANGES = 2;

/** Largest frame either side accepts. */
export const FRAME_BYTES_MAX = 16 * 1024 * 1024;
export const HEARTBEAT_INTERVAL_MS = 1000;

/** Server → agent. `reset: true` replaces all; else it is a change on top of what was sent before. */
export type ServerMessage =
  | {
      readonly type: "welcome";
      readonly wire: number;
      readonly hostId: HostId;
      readonly hostName: string;
      readonly settings: ClusterSettings;
      /** Blocks leased to this host. */
      readonly blocks: readonly string[];
      /** Why there is no further block; null: one comes when it is needed. Missing: this server leases one block a host. */
      readonly leaseProblem?: LeaseProblem | null;
      /** Of declared networks; a server of before has none. */
      readonly networks?: NetworkBlocks;
      /** Why there is no block of a declared network, by network. */
      readonly networkProblems?: Readonly<Record<string, LeaseProblem>>;
      /** Changes with every start of the server: catalog revisions of different epochs do not compare. */
      readonly epoch: string;
      /** With which hosts of this cluster sign their probes, 32 bytes as base64url; older servers have none. */
      readonly probeKey?: string;
    }
  | {
      readonly type: "assignments";
      readonly reset: boolean;
      readonly upsert: readonly Assignment[];
      readonly remove: readonly InstanceId[];
    }
  | {
      readonly type: "catalog";
      readonly reset: boolean;
      readonly revision: number;
      readonly upsert: readonly Endpoint[];
      readonly remove: readonly string[];
      /** All of them, null when they are as before. */
      readonly hosts: readonly CatalogHost[] | null;
      /** From wire 2 on, instead of all of them. */
      readonly hostChanges?: { readonly upsert: readonly CatalogHost[]; readonly remove: readonly string[] };
    }
  /** All of them: at the start, and to agents of wire 1 after each change. */
  | { readonly type: "peers"; readonly peers: readonly Peer[] }
  | { readonly type: "peer-changes"; readonly upsert: readonly Peer[]; readonly remove: readonly HostId[] }
  /** All that is declared about the network, whole, at the start and after each change. */
  | { readonly type: "network-config"; readonly config: NetworkConfig }
  /** The host's blocks from now on. One that is missing is another's, or soon will be. */
  | {
      readonly type: "blocks";
      readonly blocks: readonly string[];
      readonly leaseProblem: LeaseProblem | null;
      readonly networks?: NetworkBlocks;
      readonly networkProblems?: Readonly<Record<string, LeaseProblem>>;
    }
  /** What is known of Consul's API, whole, at the start and after each change. */
  | { readonly type: "consul"; readonly consul: ConsulFacts }
  /** The last word before the server closes. */
  | { readonly type: "refused"; readonly refusal: Refusal }
  /** Who holds addresses on another host, as that host's agent told it. */
  | {
      readonly type: "holders";
      readonly host: string;
      readonly reset: boolean;
      readonly upsert: readonly Holder[];
      readonly remove: readonly string[];
    }
  /** Checks that clients registered on this host, for it to run. */
  | {
      readonly type: "checks";
      readonly reset: boolean;
      readonly upsert: readonly HostCheck[];
      readonly remove: readonly string[];
    }
  /** What a client says of a check with a time to live that a container of this host declares. */
  | { readonly type: "check-report"; readonly result: HostCheckResult }
  /** Opens a byte stream to a container: logs or exec. */
  | { readonly type: "open"; readonly channel: number; readonly request: ChannelRequest }
  | { readonly type: "data"; readonly channel: number; readonly bytes: string }
  | { readonly type: "resize"; readonly channel: number; readonly columns: number; readonly rows: number }
  | { readonly type: "close"; readonly channel: number };

/** `host-removed`: not a member any more. `host-doubled`: another agent with this identity is connected and alive. */
export interface Refusal {
  readonly code: "host-removed" | "host-doubled";
  readonly text: string;
  readonly hint: string;
}

export type ChannelRequest =
  | {
      readonly kind: "logs";
      readonly instanceId: InstanceId;
      readonly follow: boolean;
      /** Lines from the end, null for all. */
      readonly tail: number | null;
      readonly sinceMs: number | null;
    }
  | {
      readonly kind: "exec";
      readonly instanceId: InstanceId;
      readonly argv: readonly string[];
      readonly tty: boolean;
      readonly stdin: boolean;
    }
  /** Answered on stdout with one JSON value, see `AgentAnswer`. */
  | { readonly kind: "query"; readonly question: unknown };

/** What an agent says to a query. */
export type AgentAnswer =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly code: ErrorCode; readonly message: string; readonly hint?: string };

/** Agent → server. */
export type AgentMessage =
  | {
      readonly type: "hello";
      readonly wireMin: number;
      readonly wireMax: number;
      readonly agentVersion: string;
      readonly address: string;
      readonly resources: { readonly cpus: number; readonly memoryMiB: number; readonly diskMiB: number };
      readonly labels: Readonly<Record<string, string>>;
      /** WireGuard keys of this host; agents of older versions have none. */
      readonly publicKey?: string;
      readonly nextPublicKey?: string;
      /** Another one with each start of the agent: of two that live, one is a copy. */
      readonly runId?: string;
    }
  /** The host's keys have changed. */
  | { readonly type: "keys"; readonly publicKey: string; readonly nextPublicKey: string }
  | {
      readonly type: "heartbeat";
      /** Catalog revision that DNS and HAProxy on this host serve, with its epoch. */
      readonly appliedRevision: number;
      readonly epoch: string;
      readonly conditions: readonly Condition[];
      /** Missing until this host's containers are known. */
      readonly addresses?: AddressUse;
      /** Of declared networks that somebody here uses or waits for. */
      readonly networks?: Readonly<Record<string, AddressUse>>;
      /** Where this host is probed, see `probeAddressOf`; missing: at the first address of its first block. */
      readonly probeAddress?: Ipv4;
      /** Missing on a host without a fast path. */
      readonly dns?: DnsCounts;
    }
  | {
      readonly type: "instances";
      readonly reset: boolean;
      readonly upsert: readonly InstanceReport[];
      readonly remove: readonly InstanceId[];
    }
  | {
      readonly type: "endpoints";
      readonly reset: boolean;
      readonly upsert: readonly Endpoint[];
      readonly remove: readonly string[];
    }
  /** All links of this host; replaces what was said before. */
  | { readonly type: "links"; readonly links: readonly LinkReport[] }
  /** From wire 2 on: what differs from what was said before. */
  | ({ readonly type: "link-changes" } & LinkChanges)
  | {
      readonly type: "holders";
      readonly reset: boolean;
      readonly upsert: readonly Holder[];
      readonly remove: readonly string[];
    }
  /** What checks of this host say; each once it says something else, all of them on a new connection. */
  | { readonly type: "check-results"; readonly results: readonly HostCheckResult[] }
  | { readonly type: "data"; readonly channel: number; readonly stream: "stdout" | "stderr"; readonly bytes: string }
  | {
      readonly type: "close";
      readonly channel: number;
      readonly exitCode: number | null;
      readonly error: string | null;
    };

/** DNS questions of containers and of the host itself since the fast path's programs were made: those that the kernel answered, and those it left to the agent. */
export interface DnsCounts {
  readonly answered: number;
  readonly passed: number;
}

/** Something an operator sees for as long as it holds. */
export interface Condition {
  readonly code: string;
  readonly severity: "info" | "warning" | "error";
  readonly text: string;
  /** The command or change that mends it. */
  readonly hint: string;
}
