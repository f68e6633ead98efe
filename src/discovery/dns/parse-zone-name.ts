/**
 * What a name under our domain asks for. The forms are Consul's:
 *
 *   [tag.]service.service[.dc]        host.node[.dc]        <hex address>.addr[.dc]
 *   _service._tcp[.service][.dc]      ns                    (and the domain itself)
 *   service.virtual[.dc]
 *
 * Labels are read from the right to the first keyword, so that a service or a tag may be called "node".
 */
import { type Ipv4, formatIpv4 } from "../../model/ip.ts";
import { type Ipv6, formatIpv6 } from "../../model/ip6.ts";

export interface ServiceCandidate {
  readonly service: string;
  readonly tag: string | null;
  readonly protocol: "tcp" | "udp" | null;
}

export type ZoneName =
  | { readonly kind: "apex" }
  | { readonly kind: "nameserver" }
  /** Nothing of its own, but names below it: must not be NXDOMAIN, which would deny those (RFC 8020). */
  | { readonly kind: "empty" }
  /** In order of preference: a service's name may hold dots, so "a.b.service" can be service a.b or tag a of service b. */
  | { readonly kind: "service"; readonly candidates: readonly ServiceCandidate[] }
  | { readonly kind: "node"; readonly host: string }
  | { readonly kind: "address"; readonly address: Ipv4 }
  /** The address that a service has for life. */
  | { readonly kind: "virtual"; readonly name: string }
  | { readonly kind: "unknown" };

const KEYWORDS: ReadonlySet<string> = new Set(["service", "node", "addr", "virtual"]);
const UNKNOWN: ZoneName = { kind: "unknown" };
const EMPTY: ZoneName = { kind: "empty" };
/** More dots than any service or tag has: a long name of single letters must not cost a lookup for each. */
const CANDIDATES_MAX = 16;

/** `labels`: those left of the domain, lower case, first label first. */
export function parseZoneName(labels: readonly string[], datacenter: string): ZoneName {
  if (labels.length === 0) return { kind: "apex" };
  if (labels.length === 1 && labels[0] === "ns") return { kind: "nameserver" };
  const rest = withoutDatacenter(labels, datacenter);
  if (rest.length === 0) return EMPTY;
  const at = rest.findLastIndex((label) => KEYWORDS.has(label));
  // "_web._tcp" and "_web._tcp.<domain>" may leave the keyword out.
  if (at === -1) return parseUnderscored(rest);
  // Right of the keyword there may be the datacenter alone, which is gone already.
  if (at !== rest.length - 1) return UNKNOWN;
  const left = rest.slice(0, at);
  if (left.length === 0) return EMPTY;
  switch (rest[at]) {
    case "node":
      return { kind: "node", host: left.join(".") };
    case "addr":
      return parseHexAddress(left);
    case "virtual":
      return { kind: "virtual", name: left.join(".") };
    default:
      return parseService(left);
  }
}

function withoutDatacenter(labels: readonly string[], datacenter: string): readonly string[] {
  const wanted = datacenter.toLowerCase();
  if (labels.at(-1) === wanted) return labels.slice(0, -1);
  // Consul's long form, "<dc>.dc".
  if (labels.at(-1) === "dc" && labels.at(-2) === wanted) return labels.slice(0, -2);
  return labels.length === 1 && labels[0] === "dc" ? [] : labels;
}

function parseService(left: readonly string[]): ZoneName {
  const last = left.at(-1) ?? "";
  if (left.length === 1 && last.startsWith("_")) {
    // A resolver that reveals names label by label asks "_tcp.service" before "_web._tcp.service".
    return last === "_tcp" || last === "_udp" ? EMPTY : plainService(left);
  }
  if (left.length >= 2 && last.startsWith("_")) {
    const underscored = parseUnderscored(left);
    if (underscored.kind === "service") return underscored;
  }
  return plainService(left);
}

function plainService(left: readonly string[]): ZoneName {
  const candidates: ServiceCandidate[] = [];
  for (let split = 0; split < left.length && split < CANDIDATES_MAX; split++) {
    const tag = split === 0 ? null : left.slice(0, split).join(".");
    candidates.push({ service: left.slice(split).join("."), tag, protocol: null });
  }
  return { kind: "service", candidates };
}

function parseUnderscored(labels: readonly string[]): ZoneName {
  const second = labels.at(-1) ?? "";
  if (labels.length === 1 && (second === "_tcp" || second === "_udp")) return EMPTY;
  const service = labels.slice(0, -1).join(".");
  if (!second.startsWith("_") || !service.startsWith("_") || service.length < 2) return UNKNOWN;
  const filter = second.slice(1);
  const protocol = filter === "tcp" || filter === "udp" ? filter : null;
  return {
    kind: "service",
    candidates: [{ service: service.slice(1), tag: protocol === null ? filter : null, protocol }],
  };
}

function parseHexAddress(left: readonly string[]): ZoneName {
  const hex = left.length === 1 ? (left[0] ?? "") : "";
  return /^[0-9a-f]{8}$/.test(hex) ? { kind: "address", address: formatIpv4(Number.parseInt(hex, 16)) } : UNKNOWN;
}

/** The address that a name under in-addr.arpa asks about; null for another or an incomplete name. */
export function parseReverseName(labels: readonly string[]): Ipv4 | null {
  if (labels.length !== 6 || labels[4] !== "in-addr" || labels[5] !== "arpa") return null;
  const parts = labels.slice(0, 4).toReversed();
  const valid = parts.every((part) => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) <= 255);
  return valid ? (parts.join(".") as Ipv4) : null;
}

/** The same under ip6.arpa: 32 digits, the last one first (RFC 3596 §2.5). */
export function parseReverseName6(labels: readonly string[]): Ipv6 | null {
  if (labels.length !== 34 || labels[32] !== "ip6" || labels[33] !== "arpa") return null;
  const digits = labels.slice(0, 32).toReversed();
  return digits.every((digit) => /^[0-9a-f]$/.test(digit)) ? formatIpv6(BigInt(`0x${digits.join("")}`)) : null;
}
