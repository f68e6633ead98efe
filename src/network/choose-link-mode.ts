import type { Ipv4 } from "../model/ip.ts";
import { cidrContains, parseCidr } from "../model/ip.ts";
import { WIREGUARD_OVERHEAD_BYTES } from "./wireguard/plan-wireguard.ts";

/** What VXLAN adds: inner Ethernet 14, VXLAN 8, UDP 8, outer IPv4 20. */
export const VXLAN_OVERHEAD_BYTES = 50;
/** IPv4 must carry packets of this size (RFC 791); a path below it is broken, not narrow. */
const MTU_MIN = 576;

/** How the kernel reaches a peer's own address; the answer of `HostNetwork.pathTo`. */
export interface Path {
  readonly device: string;
  readonly via: Ipv4 | null;
  readonly source: Ipv4;
  readonly mtu: number;
}

/** The mode of the path to one peer, with its reason for people. `mtu` is what containers can send whole. */
export type LinkMode =
  | { readonly mode: "direct"; readonly why: string; readonly mtu: number; readonly path: Path }
  | { readonly mode: "vxlan"; readonly why: string; readonly mtu: number; readonly path: Path }
  | { readonly mode: "wireguard"; readonly why: string; readonly mtu: number; readonly path: Path }
  | { readonly mode: "none"; readonly why: string };

/**
 * Direct when the kernel reaches the peer without a router: then the peer's address can be the next hop for its
 * blocks. A router in between knows nothing of container addresses, so there packets travel inside VXLAN.
 */
export function chooseLinkMode(address: Ipv4, path: Path | null, range: string): LinkMode {
  if (cidrContains(parseCidr(range), address)) {
    return { mode: "none", why: `its address ${address} lies inside the container range ${range}` };
  }
  if (path === null) return { mode: "none", why: `this host has no route to ${address}` };
  if (path.device === "lo") return { mode: "none", why: `${address} is an address of this host` };
  if (path.mtu - VXLAN_OVERHEAD_BYTES < MTU_MIN) {
    return { mode: "none", why: `the path to ${address} carries ${path.mtu} bytes only` };
  }
  if (path.via === null) {
    return { mode: "direct", why: `${address} is on the same network, at ${path.device}`, mtu: path.mtu, path };
  }
  return {
    mode: "vxlan",
    why: `${address} is behind the router ${path.via}`,
    mtu: path.mtu - VXLAN_OVERHEAD_BYTES,
    path,
  };
}

/** The same link where everything has to be encrypted: through WireGuard, or not at all when one end has no key. */
export function encryptLink(
  link: LinkMode,
  keys: { readonly own: string | undefined; readonly peer: string | undefined },
): LinkMode {
  if (link.mode === "none") return link;
  const { path } = link;
  const why = (what: string): LinkMode => ({ mode: "none", why: `encryption is required, and ${what}` });
  if (keys.own === undefined) return why("this host has no WireGuard key");
  if (keys.peer === undefined) return why("its agent has told no WireGuard key: update it");
  return { mode: "wireguard", why: "encryption is required", mtu: path.mtu - WIREGUARD_OVERHEAD_BYTES, path };
}
