/**
 * What a name under our domain asks for. The forms are Consul's:
 *
 *   [tag.]service.service        host.node        <hex address>.addr        service.virtual
 *   _service._tcp[.service]      query.query      _query._tcp.query         ns    (and the domain itself)
 *
 * each followed by nothing or by where it is: `<dc>`, `<dc>.dc`, `default.ns`, `default.ap`, in any order. Labels are read
 * from the right to the first keyword, so that a service or a tag may be called "node".
 */
import { formatAddress, parseHexAddress } from "./address-bytes.ts";

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
  /** IPv4 or IPv6. */
  | { readonly kind: "address"; readonly address: string }
  /** The address that a service has for life. */
  | { readonly kind: "virtual"; readonly name: string }
  /** A prepared query, by name or id. */
  | { readonly kind: "query"; readonly name: string }
  | { readonly kind: "unknown" };

/** Consul's mesh has no counterpart here: its two keywords are known so that they are never read as tags. */
const MESH_KEYWORDS: ReadonlySet<string> = new Set(["connect", "ingress"]);
const KEYWORDS: ReadonlySet<string> = new Set(["service", "node", "addr", "virtual", "query", ...MESH_KEYWORDS]);
const PLACES: ReadonlySet<string> = new Set(["dc", "ns", "ap"]);
const UNKNOWN: ZoneName = { kind: "unknown" };
const EMPTY: ZoneName = { kind: "empty" };
/** More dots than any service or tag has: a long name of single letters must not cost a lookup for each. */
const CANDIDATES_MAX = 16;

/** `labels`: those left of the domain, lower case, first label first. */
export function parseZoneName(labels: readonly string[], datacenter: string): ZoneName {
  if (labels.length === 0) return { kind: "apex" };
  if (labels.length === 1 && labels[0] === "ns") return { kind: "nameserver" };
  const rest = withoutPlace(labels, datacenter.toLowerCase());
  if (rest.length === 0) return EMPTY;
  const at = rest.findLastIndex((label) => KEYWORDS.has(label));
  // "_web._tcp" and "_web._tcp.<domain>" may leave the keyword out.
  if (at === -1) return parseUnderscored(rest);
  // Right of the keyword there may only be where it is, which is gone already.
  const keyword = rest[at] ?? "";
  if (at !== rest.length - 1 || MESH_KEYWORDS.has(keyword)) return UNKNOWN;
  const left = rest.slice(0, at);
  if (left.length === 0) return EMPTY;
  switch (keyword) {
    case "node":
      return { kind: "node", host: left.join(".") };
    case "addr":
      return parseAddressName(left);
    case "virtual":
      return { kind: "virtual", name: left.join(".") };
    case "query":
      return parseQueryName(left);
    default:
      return parseService(left);
  }
}

/** Takes off what says where, as far as it means here: what means elsewhere stays, and then no keyword is last. */
function withoutPlace(labels: readonly string[], datacenter: string): readonly string[] {
  let rest = labels;
  const seen = new Set<string>();
  for (;;) {
    const last = rest.at(-1) ?? "";
    const [kind, length] = last === datacenter ? ["dc", 1] : [last, 2];
    if (!PLACES.has(kind) || seen.has(kind)) return rest;
    // A resolver that reveals names label by label asks for "dc" before "dc1.dc".
    if (length === 2 && rest.length === 1) return [];
    if (length === 2 && rest.at(-2) !== (kind === "dc" ? datacenter : "default")) return rest;
    seen.add(kind);
    rest = rest.slice(0, -length);
  }
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

function parseQueryName(left: readonly string[]): ZoneName {
  const last = left.at(-1) ?? "";
  if (last !== "_tcp" && last !== "_udp") return { kind: "query", name: left.join(".") };
  const name = left.slice(0, -1).join(".");
  if (name === "") return EMPTY;
  return name.startsWith("_") ? { kind: "query", name: name.slice(1) } : UNKNOWN;
}

function parseAddressName(left: readonly string[]): ZoneName {
  const bytes = left.length === 1 ? parseHexAddress(left[0] ?? "") : null;
  return bytes === null ? UNKNOWN : { kind: "address", address: formatAddress(bytes) };
}
