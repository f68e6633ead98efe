import { z } from "zod";
import { isIpv6 } from "./ip6.ts";

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
/** What an agent may send: one for each kind of `AgentMessage`. */
export const agentMessageShape = z.discriminatedUnion("type", [
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
