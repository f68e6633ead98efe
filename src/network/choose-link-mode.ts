import type { Encryption } from "../model/cluster.ts";
import type { HostId } from "../model/ids.ts";
import { cidrContains, isIpv4, parseCidr } from "../model/ip.ts";
import type { HostAddress } from "../model/ip6.ts";
import { cidr6Contains, parseCidr6 } from "../model/ip6.ts";
import { WIREGUARD_OVERHEAD_BYTES } from "./wireguard/plan-wireguard.ts";

/** What VXLAN adds over IPv4: inner Ethernet 14, VXLAN 8, UDP 8, outer IPv4 20. */
export const VXLAN_OVERHEAD_BYTES = 50;
/** An IPv6 header is longer than an IPv4 one by so much. */
const IPV6_EXTRA_BYTES = 20;
/** IPv4 must carry packets of this size (RFC 791); a path below it is broken, not narrow. */
const MTU_MIN = 576;

/** How the kernel reaches a peer's own address; the answer of `HostNetwork.pathTo`. */
export interface Path {
  readonly device: string;
  readonly via: HostAddress | null;
  readonly source: HostAddress;
  readonly mtu: number;
}

/** A mode in which this host itself sends to the peer. */
export type OwnMode = "direct" | "vxlan" | "wireguard";

/** The mode of the path to one peer, with its reason for people. `mtu` is what containers can send whole. */
export type LinkMode =
  | { readonly mode: OwnMode; readonly why: string; readonly mtu: number; readonly path: Path }
  /** Through a third host; `mtu` is what that one carries to the peer, null when it did not say. */
  | {
      readonly mode: "relay";
      readonly why: string;
      readonly via: HostId;
      readonly mtu: number | null;
      readonly encrypted: boolean;
    }
  | { readonly mode: "none"; readonly why: string };

/** What the cluster wants of its links. */
export interface LinkPolicy {
  readonly encryption: Encryption;
  readonly trustedRanges: readonly string[];
}

/** What probes found out about the path to one peer. */
export interface LinkFacts {
  /** Bytes of the largest packet that the underlay carries whole; null until it was measured. */
  readonly pathMtu: number | null;
  /** How many of the policy's modes, from the best on, were found not to carry packets of containers. */
  readonly skip: number;
  /** The mode that is being tried again beside the present one. */
  readonly testing: OwnMode | null;
  /** Set while packets must go through another host. */
  readonly relay: { readonly via: HostId; readonly mtu: number | null } | null;
  /** Why it is not the policy's best mode; null when it is. */
  readonly cause: string | null;
}

export const NO_FACTS: LinkFacts = { pathMtu: null, skip: 0, testing: null, relay: null, cause: null };
/** Without a policy nothing is encrypted. */
const NO_POLICY: LinkPolicy = { encryption: "off", trustedRanges: [] };

/** What a link could be: policy and kernel alone, before anything was measured. */
export type LinkChoice =
  | {
      readonly kind: "modes";
      /** Best first, never empty. */
      readonly modes: readonly [OwnMode, ...OwnMode[]];
      readonly why: Readonly<Record<OwnMode, string>>;
      readonly path: Path;
      readonly encrypted: boolean;
    }
  | { readonly kind: "none"; readonly why: string };

/**
 * Direct when the kernel reaches the peer without a router: then the peer's address can be the next hop for its
 * blocks. A router in between knows nothing of container addresses, so there packets travel inside VXLAN. Where they
 * must be encrypted there is only WireGuard, whatever it costs.
 */
export function chooseLinkModes(
  address: HostAddress,
  path: Path | null,
  range: string,
  policy: LinkPolicy = NO_POLICY,
): LinkChoice {
  const none = (why: string): LinkChoice => ({ kind: "none", why });
  if (isIpv4(address) && cidrContains(parseCidr(range), address)) {
    return none(`its address ${address} lies inside the container range ${range}`);
  }
  if (path === null) return none(`this host has no route to ${address}`);
  if (path.device === "lo") return none(`${address} is an address of this host`);
  const trusted = [path.source, address].every((each) => isTrusted(each, policy.trustedRanges));
  const encrypted = policy.encryption === "required" || (policy.encryption === "auto" && !trusted);
  const near = `${address} is on the same network, at ${path.device}`;
  const why: Readonly<Record<OwnMode, string>> = {
    direct: near,
    vxlan: path.via === null ? near : `${address} is behind the router ${path.via}`,
    wireguard: trusted ? "encryption is required" : `${address} or ${path.source} is in no trusted range`,
  };
  if (encrypted) return { kind: "modes", modes: ["wireguard"], why, path, encrypted };
  return { kind: "modes", modes: path.via === null ? ["direct", "vxlan"] : ["vxlan"], why, path, encrypted };
}

/** The mode as policy and measurement have it now. */
export function chooseLinkMode(
  address: HostAddress,
  path: Path | null,
  range: string,
  { policy, facts = NO_FACTS }: { readonly policy?: LinkPolicy; readonly facts?: LinkFacts } = {},
): LinkMode {
  const choice = chooseLinkModes(address, path, range, policy);
  if (choice.kind === "none") {
    // A kernel without a route leaves what a third host can do.
    if (facts.relay === null || path !== null) return { mode: "none", why: choice.why };
    const encrypted = policy !== undefined && policy.encryption !== "off";
    return { mode: "relay", why: facts.cause ?? choice.why, ...facts.relay, encrypted };
  }
  const { modes, why, encrypted } = choice;
  if (facts.relay !== null) {
    return { mode: "relay", why: facts.cause ?? "its underlay does not answer", ...facts.relay, encrypted };
  }
  const mode = modes[Math.min(facts.skip, modes.length - 1)] ?? modes[0];
  const carried = Math.min(facts.pathMtu ?? choice.path.mtu, choice.path.mtu);
  const mtu = carried - overheadOf(mode, address);
  if (mtu < MTU_MIN) return { mode: "none", why: `the path to ${address} carries ${carried} bytes only` };
  const narrow = carried < choice.path.mtu ? `; the path carries ${carried} bytes of ${choice.path.mtu}` : "";
  const reason = facts.cause !== null && mode !== modes[0] ? facts.cause : why[mode];
  return { mode, why: reason + narrow, mtu, path: choice.path };
}

/** Bytes that a mode adds to each packet on its way to a peer of this address. */
export function overheadOf(mode: OwnMode, address: HostAddress): number {
  if (mode === "direct") return 0;
  const outer = isIpv4(address) ? 0 : IPV6_EXTRA_BYTES;
  return outer + (mode === "vxlan" ? VXLAN_OVERHEAD_BYTES : WIREGUARD_OVERHEAD_BYTES);
}

/** Ranges of the other family say nothing about an address. */
function isTrusted(address: HostAddress, ranges: readonly string[]): boolean {
  return ranges.some((range) => {
    if (isIpv4(address)) return !range.includes(":") && cidrContains(parseCidr(range), address);
    return range.includes(":") && cidr6Contains(parseCidr6(range), address);
  });
}
