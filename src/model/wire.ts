/**
 * Messages between agent and server, one JSON object per WebSocket frame.
 *
 * Both sides accept unknown fields and ignore unknown message types, so that neighbouring versions work together; what
 * changes the meaning of a field raises `WIRE_VERSION`. `hello` and `welcome` settle the version: the highest that both
 * speak. A server refuses an agent with which it shares none, naming both ranges.
 */
import { z } from "zod";
import type { ConsulFacts } from "./consul.ts";
import type { Endpoint, CatalogHost } from "./endpoint.ts";
import type { Holder } from "./holder.ts";
import type { HostCheck, HostCheckResult } from "./host-check.ts";
import type { Peer } from "./host.ts";
import type { HostId, InstanceId } from "./ids.ts";
import type { Assignment, InstanceReport } from "./instance.ts";
import type { ClusterSettings } from "./cluster.ts";
import type { NetworkConfig } from "./network-config.ts";
import { AppError, type ErrorCode } from "./error.ts";
import type { Ipv4 } from "./ip.ts";
import { isIpv6 } from "./ip6.ts";
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

// The shapes are checked to the depth that protects the reader: types of fields it computes with, sizes of lists.
const address = z.string().max(64);
const text = z.string().max(4096);
const count = z
  .number()
  .int()
  .min(0)
  .max(2 ** 32);
const blocks = z.array(z.string().max(18)).max(4096);
const addressUse = z.object({ blocks, total: count, free: count, waiting: count, offered: blocks });
const checkResult = z.object({
  alive: z.boolean(),
  consecutiveFailures: z.number(),
  firstSuccessMs: z.number().nullable(),
  lastSuccessMs: z.number().nullable(),
  lastFailureMs: z.number().nullable(),
  lastFailureCause: text.nullable(),
});
const status = z.discriminatedUnion("phase", [
  z.object({ phase: z.literal("staging"), step: z.enum(["waiting", "pulling", "creating"]), sinceMs: z.number() }),
  z.object({
    phase: z.literal("running"),
    containerId: text,
    address,
    startedAtMs: z.number(),
    health: z.enum(["none", "unknown", "healthy", "unhealthy"]),
    checks: z.array(checkResult).max(64),
    condemned: z.boolean(),
  }),
  z.object({ phase: z.literal("stopping"), sinceMs: z.number() }),
  z.object({ phase: z.literal("failed"), reason: text, exitCode: z.number().nullable(), atMs: z.number() }),
  z.object({ phase: z.literal("gone") }),
]);
const weight = z.number().int().min(0).max(65_535);
const endpoint = z.object({
  id: text,
  service: text,
  address,
  address6: z.string().refine(isIpv6, "it must be an IPv6 address").optional(),
  port: z.number().int().min(0).max(65535),
  protocol: z.enum(["tcp", "udp"]),
  tags: z.array(text).max(64),
  meta: z.record(z.string(), text),
  host: text,
  container: text,
  instanceId: text.nullable(),
  appId: text.nullable(),
  health: z.enum(["passing", "warning", "critical"]),
  weights: z.object({ passing: weight, warning: weight }).optional(),
  checks: z
    .array(
      z.object({
        kind: z.enum(["app", "container", "engine"]),
        type: text,
        name: text,
        status: z.enum(["passing", "warning", "critical"]),
        output: text,
        interval: text,
        timeout: text,
      }),
    )
    .max(66)
    .optional(),
});
/** 32 bytes in base64: the last digit carries four bits only. */
const wireguardKey = z.string().regex(/^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/);
const figure = z.number().min(0).nullable();
const link = z.object({
  peerId: text,
  peer: text,
  mode: z.enum(["direct", "vxlan", "wireguard", "relay", "none"]),
  via: text.nullable(),
  why: text,
  up: z.boolean().nullable(),
  rttMs: figure,
  lossPercent: z.number().min(0).max(100),
  mtu: figure,
  txBytes: figure,
  rxBytes: figure,
  encryption: z.enum(["none", "wireguard"]),
  sinceMs: z.number(),
});
const holder = z.object({
  id: text,
  address: z.ipv4(),
  address6: z.string().refine(isIpv6, "it must be an IPv6 address").optional(),
  network: text,
  host: text,
  container: text,
  instance: text.nullable(),
  app: text.nullable(),
  services: z.array(text).max(64),
  labels: z.record(z.string(), z.string().max(255)),
});
const agentMessage = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("hello"),
    wireMin: z.number().int(),
    wireMax: z.number().int(),
    agentVersion: text,
    address,
    resources: z.object({ cpus: z.number().min(0), memoryMiB: z.number().min(0), diskMiB: z.number().min(0) }),
    labels: z.record(z.string(), text),
    publicKey: wireguardKey.optional(),
    nextPublicKey: wireguardKey.optional(),
    runId: text.optional(),
  }),
  z.object({ type: z.literal("keys"), publicKey: wireguardKey, nextPublicKey: wireguardKey }),
  z.object({
    type: z.literal("heartbeat"),
    appliedRevision: z.number().int(),
    epoch: text,
    conditions: z
      .array(z.object({ code: text, severity: z.enum(["info", "warning", "error"]), text, hint: text }))
      .max(256),
    addresses: addressUse.optional(),
    networks: z.record(z.string().max(63), addressUse).optional(),
    probeAddress: z.ipv4().optional(),
    dns: z.object({ answered: z.number().min(0), passed: z.number().min(0) }).optional(),
  }),
  z.object({
    type: z.literal("instances"),
    reset: z.boolean(),
    upsert: z.array(z.object({ id: text, status })).max(20_000),
    remove: z.array(text).max(20_000),
  }),
  z.object({
    type: z.literal("endpoints"),
    reset: z.boolean(),
    upsert: z.array(endpoint).max(20_000),
    remove: z.array(text).max(20_000),
  }),
  z.object({ type: z.literal("links"), links: z.array(link).max(20_000) }),
  z.object({
    type: z.literal("link-changes"),
    upsert: z.array(link).max(20_000),
    remove: z.array(text).max(20_000),
  }),
  z.object({
    type: z.literal("holders"),
    reset: z.boolean(),
    upsert: z.array(holder).max(20_000),
    remove: z.array(text).max(20_000),
  }),
  z.object({
    type: z.literal("check-results"),
    results: z
      .array(z.object({ id: text, status: z.enum(["passing", "warning", "critical"]), output: text }))
      .max(20_000),
  }),
  z.object({
    type: z.literal("data"),
    channel: z.number().int(),
    stream: z.enum(["stdout", "stderr"]),
    bytes: z.string(),
  }),
  z.object({
    type: z.literal("close"),
    channel: z.number().int(),
    exitCode: z.number().int().nullable(),
    error: text.nullable(),
  }),
]);
const AGENT_TYPES: ReadonlySet<string> = new Set([
  "hello",
  "keys",
  "heartbeat",
  "instances",
  "endpoints",
  "links",
  "link-changes",
  "holders",
  "check-results",
  "data",
  "close",
]);
const SERVER_TYPES: ReadonlySet<string> = new Set([
  "welcome",
  "assignments",
  "catalog",
  "peers",
  "peer-changes",
  "network-config",
  "blocks",
  "refused",
  "holders",
  "checks",
  "consul",
  "check-report",
  "open",
  "data",
  "resize",
  "close",
]);

/** Reads one frame from an agent; null for a type of a newer version. Throws AppError `invalid` for anything malformed. */
export function parseAgentMessage(frame: string): AgentMessage | null {
  const value = parseFrame(frame);
  if (!AGENT_TYPES.has(value.type)) return null;
  const result = agentMessage.safeParse(value);
  if (!result.success) {
    const issue = result.error.issues[0];
    throw new AppError("invalid", `Cannot read "${value.type}" message: ${issue?.path.join(".")}: ${issue?.message}`);
  }
  return result.data as AgentMessage;
}

/**
 * Reads one frame from the server; null for a type of a newer version. The server is authenticated and trusted with
 * root on this host by design, so its fields are not checked one by one, only the frame and the type.
 */
export function parseServerMessage(frame: string): ServerMessage | null {
  const value = parseFrame(frame);
  return SERVER_TYPES.has(value.type) ? (value as ServerMessage) : null;
}

function parseFrame(frame: string): { readonly type: string } {
  if (frame.length > FRAME_BYTES_MAX) {
    throw new AppError("invalid", `Cannot read message: ${frame.length} characters, at most ${FRAME_BYTES_MAX}`);
  }
  let value: unknown;
  try {
    value = JSON.parse(frame);
  } catch (cause) {
    throw new AppError("invalid", "Cannot read message: it is not JSON", { cause });
  }
  if (typeof value !== "object" || value === null || !("type" in value) || typeof value.type !== "string") {
    throw new AppError("invalid", "Cannot read message: it has no type");
  }
  return value as { readonly type: string };
}

/** The highest version in both ranges, or null. */
export function chooseWireVersion(min: number, max: number): number | null {
  const version = Math.min(max, WIRE_VERSION);
  return version >= Math.max(min, WIRE_VERSION_MIN) ? version : null;
}
