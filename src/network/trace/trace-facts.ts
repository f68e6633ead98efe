/** What two hosts tell about one connection. Facts only: what they mean is `explainTrace`'s to say. */
import { z } from "zod";
import { isIpv4 } from "../../model/ip.ts";
import { type HostAddress, isIpv6 } from "../../model/ip6.ts";

const text = z.string().max(2000);
const address = z.custom<HostAddress>(
  (value) => typeof value === "string" && (isIpv4(value) || isIpv6(value)),
  "must be an IPv4 or IPv6 address",
);
const family = z.union([z.literal(4), z.literal(6)]);
const addresses = z.array(address).max(4096);
const port = z.number().int().min(1).max(65_535);
const protocol = z.enum(["tcp", "udp"]);

export const traceQuestionShape = z.object({
  /** Null: the host that is asked. */
  from: z.string().min(1).max(512).nullable().default(null),
  to: z.string().min(1).max(512),
  port: port.nullable().default(null),
  protocol: protocol.default("tcp"),
  /** Null: that of the address, where one is given, else IPv4. */
  family: family.nullable().default(null),
});
export type TraceQuestion = z.infer<typeof traceQuestionShape>;

/** The family that is traced. */
export function familyOf({ family: said, from, to }: Pick<TraceQuestion, "family" | "from" | "to">): 4 | 6 {
  return said ?? (isIpv6(to) || (from !== null && isIpv6(from)) ? 6 : 4);
}

const dropShape = z.object({
  chain: text,
  hook: text,
  handle: z.number().nullable(),
  comment: text.nullable(),
  certain: z.boolean(),
});
const routeShape = z.object({ device: text, via: address.nullable(), mtu: z.number().nullable() }).nullable();
/** Of a network's containers on one host. Agents of before say nothing of it: then it is the default one. */
const bridgeShape = z.object({
  name: text.default("apollo0"),
  /** Name of the network. */
  network: text.default("apollo"),
  /** A segment on which hosts have no address. */
  layer2: z.boolean().default(false),
  there: z.boolean(),
  up: z.boolean(),
  gateway: z.boolean(),
});
const conditionShape = z.object({ code: text, text, hint: text });
const ping = z.enum(["answered", "lost", "too-big", "failed"]);

/** Of FROM's host. */
export const nearShape = z.object({
  host: text,
  family: family.default(4),
  from: z.object({
    kind: z.enum(["host", "container"]),
    name: text,
    address: address.nullable(),
    /** How the engine has it, "running" or not; null for the host itself, and what no engine knows. */
    state: text.nullable(),
    /** It has a namespace that can be looked into. */
    entered: z.boolean(),
    /** Device on the bridge whose packets may carry its address; null when there is none. */
    wire: text.nullable(),
  }),
  name: z.object({
    /** Asked of this host's DNS; null when TO is an address or known by its address. */
    asked: text.nullable(),
    server: address.nullable(),
    code: z.enum(["NOERROR", "NXDOMAIN", "SILENT"]).nullable(),
    addresses,
    ms: z.number().nullable(),
    /** What this host's catalog would answer. */
    expected: addresses.nullable(),
    left: z.array(z.object({ endpoint: text, reason: text })).max(1000),
    /** A container of this engine with that name, which is not on the network. */
    aside: z.object({ container: text, state: text }).nullable(),
  }),
  /** TO as a service's own address. */
  virtual: z
    .object({ name: text, address, ports: z.array(port).max(1000), backends: z.array(text).max(1000) })
    .nullable(),
  /** Where the connection ends; null when there is nowhere. */
  endpoint: z
    .object({
      address,
      port: port.nullable(),
      /** By what this host believes; null for an address outside. */
      host: text.nullable(),
      container: text.nullable(),
      health: text.nullable(),
      /** Null for what is on none of ours. */
      network: text.nullable().default(null),
    })
    .nullable(),
  bridge: bridgeShape,
  inside: z.object({ addresses, route: routeShape }).nullable(),
  route: z.object({
    seen: routeShape,
    /** Device that it has to be; null where any is right. */
    expected: text.nullable(),
    block: text.nullable(),
  }),
  policy: z
    .object({
      allowed: z.boolean(),
      reason: text,
      by: text.nullable(),
      rules: z.array(text).max(1000),
      cure: text.nullable(),
    })
    .nullable(),
  link: z
    .object({
      mode: text,
      via: text.nullable(),
      why: text,
      up: z.boolean().nullable(),
      rttMs: z.number().nullable(),
      lossPercent: z.number(),
      mtu: z.number().nullable(),
      encryption: text,
      /** It is in the best mode that policy and kernel allow. */
      best: z.boolean(),
    })
    .nullable(),
  fastPath: z.object({ on: z.boolean(), why: text.nullable(), slow: z.boolean() }).nullable(),
  drops: z.array(dropShape).max(100),
  connect: z
    .object({
      outcome: z.enum(["open", "refused", "silent", "unreachable", "failed"]),
      ms: z.number(),
      cause: text.nullable(),
    })
    .nullable(),
  /** Packets of the route's size, and small ones; null when ping was not tried. */
  packets: z
    .object({
      small: ping,
      large: ping,
      bytes: z.number(),
      passes: z.number().nullable(),
      drops: z.array(dropShape).max(100),
    })
    .nullable(),
  conditions: z.array(conditionShape).max(100),
});
export type NearFacts = z.infer<typeof nearShape>;

export const farQuestionShape = z.object({
  address,
  port: port.nullable().default(null),
  protocol: protocol.default("tcp"),
  source: address.nullable().default(null),
  /** Of the address; null: the default one. */
  network: text.nullable().default(null),
  /** Bytes of the largest packet of the test, header included. */
  bytes: z.number().int().min(60).max(65_535).default(1500),
});
export type FarQuestion = z.infer<typeof farQuestionShape>;

/** Of the host that TO is on. */
export const farShape = z.object({
  host: text,
  blocks: z.array(text).max(4096),
  /** The address lies in what this host leased. */
  owns: z.boolean(),
  /** `host`: its own address. Null: nobody here has the address. */
  holder: z.enum(["host", "container"]).nullable(),
  container: z.object({ name: text, state: text, entered: z.boolean(), inside: z.boolean() }).nullable(),
  bridge: bridgeShape,
  route: routeShape,
  neighbour: z.object({ mac: text.nullable(), state: text }).nullable(),
  wire: z.object({ device: text, up: z.boolean() }).nullable(),
  /** Null when nobody could look. Addresses that something listens on at that port. */
  listeners: z.array(text).max(1000).nullable(),
  /** Other ports that something listens on, for people who took the wrong one. */
  otherPorts: z.array(port).max(20),
  health: z.object({ endpoint: text, health: text }).nullable(),
  guarded: z.boolean(),
  drops: z.array(dropShape).max(100),
  largeDrops: z.array(dropShape).max(100),
  conditions: z.array(conditionShape).max(100),
});
export type FarFacts = z.infer<typeof farShape>;

/** A host's answer, or why there is none. */
export type Told<Facts> =
  | { readonly ok: true; readonly facts: Facts; readonly ms: number }
  | { readonly ok: false; readonly why: string; readonly hint: string | null };

export const STEP_NAMES = [
  "from",
  "name",
  "endpoint",
  "wire",
  "route",
  "policy",
  "link",
  "agent",
  "block",
  "bridge",
  "container",
  "port",
  "health",
  "firewall",
  "connect",
  "packets",
] as const;
export type StepName = (typeof STEP_NAMES)[number];

export interface TraceStep {
  readonly name: StepName;
  /** Host that it is about; null for the way between. */
  readonly host: string | null;
  readonly state: "ok" | "broken" | "skipped";
  readonly seen: string;
  readonly ms: number | null;
  /** A command that mends it, or shows more. */
  readonly hint: string | null;
}

/** What `apollo net trace --json` prints: stable. */
export interface TraceReport {
  readonly from: string;
  readonly to: string;
  readonly protocol: "tcp" | "udp";
  readonly port: number | null;
  readonly ok: boolean;
  /** The step that explains the rest; null when all is well. */
  readonly broken: StepName | null;
  readonly steps: readonly TraceStep[];
}
