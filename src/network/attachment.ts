import { z } from "zod";
import { AppError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import { isIpv4, parseCidr } from "../model/ip.ts";
import type { HostAddress, Ipv6 } from "../model/ip6.ts";
import { isIpv6, parseCidr6 } from "../model/ip6.ts";
import type { WireEnd6 } from "../platform/ports/wiring.ts";

/** Whose network namespace an attachment goes to. */
export type AttachTarget =
  /** Of the engine, by name: it is found again after a restart, and when another of the name takes its place. */
  | { readonly kind: "container"; readonly name: string }
  /** `start` tells the process from a later one with its number. */
  | { readonly kind: "pid"; readonly pid: number; readonly start: string }
  | { readonly kind: "netns"; readonly path: string };

/** One declared wire into a namespace. */
export interface Attachment {
  /** Unique on this host: who holds the address in the address book, too. */
  readonly owner: string;
  readonly target: AttachTarget;
  readonly network: string;
  readonly address: Ipv4;
  /** Of the address on the wire. */
  readonly prefix: number;
  readonly gateway: Ipv4;
  /** Missing: attached where there was no IPv6. */
  readonly six?: WireEnd6 | undefined;
  /** Label under the container domain; null for none. */
  readonly name: string | null;
  /** Of the interface inside. */
  readonly interfaceName: string;
  readonly defaultRoute: "if-none" | "always" | "never";
  readonly multicast: boolean;
  readonly routes: readonly { readonly destination: string; readonly via: HostAddress | null }[];
  /** Whether the address came from this host's address book, and goes back there. */
  readonly ownAddress: boolean;
}

/** An address that the host itself has on the container network. */
export interface Exposure {
  readonly owner: string;
  readonly address: Ipv4;
  readonly name: string | null;
}

export interface DeclaredWiring {
  readonly attachments: readonly Attachment[];
  readonly exposures: readonly Exposure[];
}

export const NOTHING_DECLARED: DeclaredWiring = { attachments: [], exposures: [] };

const address = z.custom<Ipv4>((value) => typeof value === "string" && isIpv4(value), "must be an IPv4 address");
const address6 = z.custom<Ipv6>((value) => typeof value === "string" && isIpv6(value), "must be an IPv6 address");
/** A range of either family. */
export const destination = z.string().max(64).refine(isCidr, "must look like 10.9.0.0/16 or fd12:3456:789a::/48");
/** A next hop of either family. */
export const hop = z.union([address, address6]);
const owner = z.string().min(1).max(512);
/** A name below the container domain; further dots are fine. */
export const dnsName = z.string().regex(/^[a-z0-9_]([a-z0-9_.-]{0,198}[a-z0-9_])?$/i, "must be a DNS name");
const target = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("container"), name: z.string().min(1).max(255) }),
  z.strictObject({ kind: z.literal("pid"), pid: z.number().int().min(1), start: z.string() }),
  z.strictObject({ kind: z.literal("netns"), path: z.string().startsWith("/").max(1024) }),
]);
const declared = z.strictObject({
  attachments: z.array(
    z.strictObject({
      owner,
      target,
      network: z.string(),
      address,
      prefix: z.number().int().min(0).max(32),
      gateway: address,
      six: z
        .strictObject({
          address: address6,
          prefix: z.number().int().min(0).max(128),
          gateway: address6.nullable(),
          reach: z.string().refine(isCidr, "must be a range").nullable(),
        })
        .optional(),
      name: dnsName.nullable(),
      interfaceName: z.string().min(1).max(15),
      defaultRoute: z.enum(["if-none", "always", "never"]),
      multicast: z.boolean(),
      routes: z.array(z.strictObject({ destination, via: hop.nullable() })),
      ownAddress: z.boolean(),
    }),
  ),
  exposures: z.array(z.strictObject({ owner, address, name: dnsName.nullable() })),
});

/** Reads what this host keeps on disk; null is a host that declared nothing. @throws AppError `invalid`. */
export function parseDeclaredWiring(text: string | null, path: string): DeclaredWiring {
  if (text === null) return NOTHING_DECLARED;
  const result = declared.safeParse(parseJson(text, path));
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new AppError("invalid", `Cannot use "${path}": ${issue?.path.join(".")} ${issue?.message}`, {
    hint: "Move the file away; then declare attachments again with: apollo net attach",
  });
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new AppError("invalid", `Cannot use "${path}": it is not JSON`, { cause, hint: "Move the file away" });
  }
}

export type TargetText =
  | { readonly kind: "container"; readonly text: string }
  | { readonly kind: "pid"; readonly pid: number }
  | { readonly kind: "netns"; readonly path: string };

/** Reads `pid:1234`, `netns:/run/netns/x`, `netns:x`, or a container's name or id. @throws AppError `invalid`. */
export function parseTarget(text: string): TargetText {
  const [, scheme, rest = ""] = /^(pid|netns):(.*)$/.exec(text) ?? [];
  if (scheme === "pid" && /^[1-9][0-9]{0,9}$/.test(rest)) return { kind: "pid", pid: Number(rest) };
  if (scheme === "netns" && /^\/[^\0]{1,1023}$/.test(rest)) return { kind: "netns", path: rest };
  if (scheme === "netns" && /^[A-Za-z0-9][\w.-]{0,254}$/.test(rest)) {
    return { kind: "netns", path: `/run/netns/${rest}` };
  }
  if (scheme === undefined && /^[A-Za-z0-9][\w.-]{0,254}$/.test(text)) return { kind: "container", text };
  throw new AppError("invalid", `Cannot attach "${text}": it is no container, pid:NUMBER or netns:/PATH`, {
    hint: "apollo net attach web, apollo net attach pid:4711, or apollo net attach netns:/run/netns/blue",
  });
}

/** As people write it. */
export function formatTarget(target: AttachTarget): string {
  if (target.kind === "container") return target.name;
  return target.kind === "pid" ? `pid:${target.pid}` : `netns:${target.path}`;
}

/** FNV-1a, 32 bits, of two salts: enough to tell a host's few hundred wires apart in the 15 characters of a device. */
export function wireDevice(kind: "at" | "ep", owner: string): string {
  let hash = 0x81_1c_9d_c5;
  for (const byte of new TextEncoder().encode(owner)) hash = Math.imul(hash ^ byte, 0x01_00_01_93) >>> 0;
  // "veth": watchers of the host's network know that such devices are containers' and none of their business.
  return `veth${kind}${hash.toString(16).padStart(8, "0")}`;
}

/** As the container engine makes it of an address, so that neighbours' caches hold when the address comes back. */
export function containerMac(address: Ipv4): string {
  const bytes = address.split(".").map((part) => Number(part).toString(16).padStart(2, "0"));
  return `02:42:${bytes.join(":")}`;
}

function isCidr(text: string): boolean {
  try {
    if (text.includes(":")) parseCidr6(text);
    else parseCidr(text);
    return true;
  } catch (error) {
    if (error instanceof AppError) return false;
    throw error;
  }
}
