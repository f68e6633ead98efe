/**
 * What the kernel of a host needs so that its containers reach all others, and the changes that get it there.
 *
 * The bridge `apollo0` carries the host's containers and holds the gateway address with the prefix of the whole range:
 * containers believe that all of the range is on their wire. For what is not, the host answers their ARP (proxy_arp)
 * and routes: one route per block of a peer, straight to the peer or through the tunnel device `apollo-vx0`.
 * Only routes with our protocol number are ever deleted; devices are ours by name.
 */
import type { Ipv4 } from "../model/ip.ts";
import { cidrContains, cidrsOverlap, parseCidr } from "../model/ip.ts";
import type { HostAddress } from "../model/ip6.ts";
import { formatCidr6 } from "../model/ip6.ts";
import { NO_ADDRESS } from "../platform/ports/host-network.ts";
import type {
  NetworkAction,
  NetworkLink,
  NetworkRoute,
  NetworkState,
  TunnelPeer,
} from "../platform/ports/host-network.ts";
import { isSegmentDevice } from "../platform/ports/segment-network.ts";
import { block6Of, host6Of, network6Of } from "./address6.ts";
import type { DeclaredNetwork } from "./declared-network.ts";
import { bridgeMac, tunnelMac } from "./mac.ts";
import type { Ruleset } from "./render-ruleset.ts";
import type { DesiredWireguard } from "./wireguard/plan-wireguard.ts";
import { WIREGUARD, WIREGUARD_SYSCTLS, isWireguard, planWireguard } from "./wireguard/plan-wireguard.ts";

export const BRIDGE = "apollo0";
export const TUNNEL = "apollo-vx0";
export const TUNNEL_PORT = 6784;
export const TUNNEL_VNI = 201;

const FORWARD_KEY = "net/ipv4/ip_forward";
/** Packets between containers of one host pass our rules as well. Only there while the module br_netfilter is. */
export const BRIDGE_FILTER_KEY = "net/bridge/bridge-nf-call-iptables";
const BRIDGE_SYSCTLS: Readonly<Record<string, string>> = {
  [`net/ipv4/conf/${BRIDGE}/proxy_arp`]: "1",
  // Proxy answers wait up to 0.8 s by default: the first packet to another host would.
  [`net/ipv4/neigh/${BRIDGE}/proxy_delay`]: "0",
};
const TUNNEL_SYSCTLS: Readonly<Record<string, string>> = {
  // Loose: programs on a peer may send from its underlay address, and a relay may be used in one direction only; the way
  // back is not the tunnel then.
  [`net/ipv4/conf/${TUNNEL}/rp_filter`]: "2",
};
/** The sysctls that `planNetwork` wants to see observed. */
export const NETWORK_SYSCTLS: readonly string[] = [
  FORWARD_KEY,
  BRIDGE_FILTER_KEY,
  ...Object.keys(BRIDGE_SYSCTLS),
  ...Object.keys(TUNNEL_SYSCTLS),
  ...Object.keys(WIREGUARD_SYSCTLS),
];

export interface DesiredPeer {
  readonly gateway: Ipv4;
  readonly underlay: HostAddress;
  readonly blocks: readonly string[];
  readonly mode: "direct" | "vxlan" | "wireguard" | "relay";
  /** Device towards the peer. */
  readonly device: string;
  /** This host's address towards the peer. */
  readonly source?: HostAddress;
  readonly mtu: number;
  /** In wireguard mode: its keys, the one in use first, and where it listens. */
  readonly wireguard?: { readonly keys: readonly string[]; readonly endpoint: string | null };
  /** Probe addresses (CIDR texts) of other hosts that are reached through this one. */
  readonly carries?: readonly string[];
  /** In relay mode: the host that carries packets on, and how it is reached. */
  readonly relay?: { readonly mode: "direct" | "vxlan"; readonly underlay: HostAddress; readonly gateway: Ipv4 };
  /** A better mode that is tried beside the present one: the way to the peer's probe address alone. */
  readonly candidate?: { readonly mode: "direct" | "vxlan"; readonly device: string; readonly address: Ipv4 };
}

export interface DesiredNetwork {
  readonly range: string;
  /** Of IPv6 addresses; null or missing for none. What it needs is `planNetwork6`'s, but for the encrypted links. */
  readonly range6?: string | null;
  /** Declared networks whose blocks are among the peers'. */
  readonly routed?: readonly Pick<DeclaredNetwork, "range" | "vni">[];
  /** Of the services' virtual addresses; null or missing while there is none. */
  readonly virtualRange?: string | null;
  readonly gateway: Ipv4;
  /** MTU that a new bridge gets; afterwards it follows its ports. */
  readonly bridgeMtu: number;
  /** Own end of the tunnels; null when no peer needs one. */
  readonly tunnel: { readonly local: HostAddress; readonly mtu: number } | null;
  /** Own end of the encrypted links; null or missing when no peer needs one. */
  readonly wireguard?: { readonly publicKey: string; readonly mtu: number } | null;
  readonly peers: readonly DesiredPeer[];
  readonly ruleset: Ruleset;
  /** A second address of the bridge, for probes of link modes and for encrypted packets that other hosts carry; null for none. */
  readonly probeAddress?: Ipv4 | null;
  /** Whatever ruleset is there stays, since a part of ours is not known yet: its containers would be open meanwhile. */
  readonly keepRuleset?: boolean;
}

type RouteSpec = Omit<NetworkRoute, "marked">;

type LinkAddress = NetworkLink["addresses"][number];

/** What a step does, and which of the observed routes do not outlive it. */
interface Step {
  readonly actions: readonly NetworkAction[];
  readonly kills: (route: NetworkRoute) => boolean;
  /** The device was made anew: nothing observed of it holds. */
  readonly fresh: boolean;
}

/** The changes from observed to desired, in an order that the kernel accepts; [] when there are none. */
export function planNetwork(desired: DesiredNetwork, observed: NetworkState): readonly NetworkAction[] {
  const links = new Map(observed.links.map((link) => [link.name, link]));
  const current = links.get(BRIDGE);
  // Someone else's device has our name (`findNetworkConflicts` says so): without the bridge nothing else makes sense.
  if (current !== undefined && current.kind !== "bridge") return [];
  const bridge = planBridge(desired, current);
  const tunnel = planTunnel(desired, links.get(TUNNEL));
  const wireguard = planWireguard(desiredWireguard(desired), observed);
  const routes = observed.routes.filter(
    (route) => !bridge.kills(route) && !tunnel.kills(route) && !(wireguard.fresh && route.device === WIREGUARD),
  );
  const peers = tunnel.fresh ? [] : observed.tunnelPeers;

  const forward: NetworkAction[] =
    observed.sysctls[FORWARD_KEY] === "1" ? [] : [{ kind: "set-sysctl", key: FORWARD_KEY, value: "1" }];
  const ruleset: NetworkAction[] =
    observed.rulesetDigest === desired.ruleset.digest ||
    (desired.keepRuleset === true && observed.rulesetDigest !== null)
      ? []
      : [{ kind: "put-ruleset", text: desired.ruleset.text }];
  const allow: NetworkAction[] = observed.rangeAllowed ? [] : [{ kind: "allow-range", range: desired.range }];
  const wanted = desiredRoutes(desired).filter((route) => route.device !== WIREGUARD || wireguard.usable);
  const connected = current === undefined || bridge.actions.length > 0 ? [] : connectedRoute(desired, routes);

  return [
    ...forward,
    // Rules before traffic: what may not leave in the clear must not do so while routes change.
    ...ruleset,
    ...(observed.sysctls[BRIDGE_FILTER_KEY] === "0" ? planSysctls({ [BRIDGE_FILTER_KEY]: "1" }, observed, false) : []),
    ...bridge.actions,
    ...planSysctls(BRIDGE_SYSCTLS, observed, bridge.fresh),
    ...tunnel.actions,
    ...(desired.tunnel === null ? [] : planSysctls(TUNNEL_SYSCTLS, observed, tunnel.fresh)),
    ...wireguard.before,
    // Neighbours before the routes that lead to them; what is no longer wanted goes last.
    ...putTunnelPeers(desired, peers),
    ...connected,
    ...putRoutes(wanted, routes),
    ...allow,
    ...deleteRoutes([desired.range, ...wanted.map(({ destination }) => destination)], routes),
    ...wireguard.after,
    ...deleteTunnel(desired, links.get(TUNNEL), peers),
  ];
}

function planBridge(desired: DesiredNetwork, bridge: NetworkLink | undefined): Step {
  const probe = desired.probeAddress ?? null;
  const { prefix } = parseCidr(desired.range);
  const address = desired.gateway;
  const mac = bridgeMac(address);
  if (bridge === undefined) {
    const mtu = desired.bridgeMtu;
    const actions: NetworkAction[] = [{ kind: "add-bridge", name: BRIDGE, address, prefix, mac, mtu }];
    if (probe !== null) actions.push(addProbe(probe));
    return { actions, kills: () => false, fresh: true };
  }
  const range = parseCidr(desired.range);
  const isGateway = (entry: LinkAddress): boolean => entry.address === address && entry.prefix === prefix;
  const isProbe = (entry: LinkAddress): boolean => entry.address === probe && entry.prefix === 32;
  const at = bridge.addresses.findIndex(isGateway);
  // The engine takes the bridge's first address for the gateway, so the probe address has to come after it.
  const keepsProbe = at >= 0 && bridge.addresses.findIndex(isProbe) > at;
  // Addresses outside the range are somebody else's business.
  const isWrong = (entry: LinkAddress): boolean =>
    !isGateway(entry) && !(keepsProbe && isProbe(entry)) && cidrContains(range, entry.address);
  // Behind another of its subnet the gateway is secondary and would leave with it, so it is taken off as well.
  const secondary = bridge.addresses
    .slice(0, Math.max(at, 0))
    .some((entry) => isWrong(entry) && entry.prefix === prefix);
  // Exclusive, so delete before add; secondary ones, which the kernel lists later, before their primary.
  const gone = bridge.addresses.filter((entry) => isWrong(entry) || (secondary && isGateway(entry))).toReversed();
  const actions: NetworkAction[] = gone.map((entry) => ({ kind: "delete-address", device: BRIDGE, ...entry }));
  if (at < 0 || secondary) actions.push({ kind: "add-address", device: BRIDGE, address, prefix });
  if (probe !== null && (!keepsProbe || secondary)) {
    if (keepsProbe) actions.unshift({ kind: "delete-address", device: BRIDGE, address: probe, prefix: 32 });
    actions.push(addProbe(probe));
  }
  if (bridge.mac !== mac) actions.push({ kind: "set-link-mac", name: BRIDGE, mac });
  if (!bridge.up) actions.push({ kind: "set-link-up", name: BRIDGE });
  // Routes that name an address as their source leave with it.
  return { actions, kills: (route) => gone.some((entry) => entry.address === route.source), fresh: false };
}

function addProbe(address: Ipv4): NetworkAction {
  return { kind: "add-address", device: BRIDGE, address, prefix: 32 };
}

function planTunnel(desired: DesiredNetwork, link: NetworkLink | undefined): Step {
  const want = desired.tunnel;
  if (want === null) return { actions: [], kills: () => false, fresh: false };
  const mac = tunnelMac(desired.gateway);
  const add: NetworkAction = {
    kind: "add-vxlan",
    name: TUNNEL,
    vni: TUNNEL_VNI,
    port: TUNNEL_PORT,
    local: want.local,
    mac,
    mtu: want.mtu,
  };
  // On a device without any address the kernel filters strictly, whatever rp_filter says (fib_validate_source).
  const probe = desired.probeAddress ?? null;
  const give: NetworkAction[] =
    probe === null ? [] : [{ kind: "add-address", device: TUNNEL, address: probe, prefix: 32 }];
  if (link === undefined) return { actions: [add, ...give], kills: () => false, fresh: true };
  const same =
    link.vxlan !== null &&
    link.vxlan.vni === TUNNEL_VNI &&
    link.vxlan.port === TUNNEL_PORT &&
    link.vxlan.local === want.local &&
    link.mac === mac;
  if (!same) {
    // Two devices cannot share the name or the port, so this one is deleted before it is added.
    const actions: NetworkAction[] = [{ kind: "delete-link", name: TUNNEL }, add, ...give];
    return { actions, kills: (route) => route.device === TUNNEL, fresh: true };
  }
  const actions: NetworkAction[] = [];
  if (link.mtu !== want.mtu) actions.push({ kind: "set-link-mtu", name: TUNNEL, mtu: want.mtu });
  const range = parseCidr(desired.range);
  for (const entry of link.addresses) {
    // An address that is a container's now would be answered by this host.
    if (entry.address !== probe && cidrContains(range, entry.address))
      actions.push({ kind: "delete-address", device: TUNNEL, ...entry });
  }
  if (!link.addresses.some((entry) => entry.address === probe)) actions.push(...give);
  if (!link.up) actions.push({ kind: "set-link-up", name: TUNNEL });
  return { actions, kills: () => false, fresh: false };
}

function planSysctls(want: Readonly<Record<string, string>>, observed: NetworkState, fresh: boolean): NetworkAction[] {
  return Object.entries(want)
    .filter(([key, value]) => fresh || observed.sysctls[key] !== value)
    .map(([key, value]) => ({ kind: "set-sysctl", key, value }));
}

/** The kernel makes it with the address; someone may have deleted it since. */
function connectedRoute(desired: DesiredNetwork, routes: readonly NetworkRoute[]): NetworkAction[] {
  if (routes.some((route) => route.destination === desired.range && route.device === BRIDGE)) return [];
  const route = { destination: desired.range, via: null, device: BRIDGE, source: desired.gateway, mtu: null };
  return [{ kind: "put-route", route: { ...route, onlink: false } }];
}

function desiredRoutes(desired: DesiredNetwork): RouteSpec[] {
  const { gateway: source, probeAddress: probe = null } = desired;
  const routes = desired.peers.flatMap((peer): RouteSpec[] => {
    const { mtu, candidate } = peer;
    const hop = nextHop(peer.mode === "relay" && peer.relay !== undefined ? { ...peer, ...peer.relay } : peer);
    const blocks = peer.blocks.map((destination) => ({ destination, ...hop, source, mtu }));
    // Answers come the same way only to the address that the peer reaches through another host as well.
    const carried = (probe === null ? [] : (peer.carries ?? [])).map((destination) => ({
      destination,
      ...hop,
      source: probe,
      mtu,
    }));
    if (candidate === undefined) return [...blocks, ...carried];
    const tried = nextHop({ ...peer, mode: candidate.mode, device: candidate.device });
    return [...blocks, ...carried, { destination: `${candidate.address}/32`, ...tried, source, mtu: null }];
  });
  return [...virtualRoutes(desired), ...routes].toSorted((a, b) => compare(a.destination, b.destination));
}

/**
 * Virtual addresses are never on a wire: their destinations are changed on the way. The host's own programs need a route
 * all the same, since the kernel asks for one first, and takes the gateway's address from it: every host knows the way back.
 */
function virtualRoutes({ virtualRange = null, gateway: source }: DesiredNetwork): RouteSpec[] {
  if (virtualRange === null) return [];
  return [{ destination: virtualRange, via: null, device: BRIDGE, source, mtu: null, onlink: false }];
}

function nextHop(
  to: Pick<DesiredPeer, "mode" | "underlay" | "gateway" | "device">,
): Pick<RouteSpec, "via" | "device" | "onlink"> {
  if (to.mode === "direct") return { via: to.underlay, device: to.device, onlink: false };
  if (to.mode === "wireguard") return { via: null, device: WIREGUARD, onlink: false };
  // Nothing tells the kernel that the peer's gateway is behind the tunnel device.
  return { via: to.gateway, device: TUNNEL, onlink: true };
}

/** What of the IPv6 range is at a peer: its own part, and its blocks of declared networks in theirs. */
export function peerParts6(
  range6: string,
  { gateway, blocks }: Pick<DesiredPeer, "gateway" | "blocks">,
  routed: NonNullable<DesiredNetwork["routed"]>,
): readonly string[] {
  const declared = routed.flatMap(({ range, vni }) => {
    const part = network6Of(range6, vni);
    return blocks
      .filter((block) => cidrsOverlap(parseCidr(block), parseCidr(range)))
      .map((block) => block6Of(part, block));
  });
  return [host6Of(range6, gateway), ...declared].map(formatCidr6);
}

function desiredWireguard(desired: DesiredNetwork): DesiredWireguard | null {
  const own = desired.wireguard ?? null;
  if (own === null) return null;
  const { range6 = null } = desired;
  const peers = desired.peers.flatMap(({ mode, wireguard, gateway, blocks, carries = [] }) => {
    if (mode !== "wireguard" || wireguard === undefined) return [];
    const six = range6 === null ? [] : peerParts6(range6, { gateway, blocks }, desired.routed ?? []);
    return [{ ...wireguard, allowedIps: [...blocks, ...carries, ...six] }];
  });
  return { ...own, range: desired.range, peers };
}

function putRoutes(wanted: readonly RouteSpec[], routes: readonly NetworkRoute[]): NetworkAction[] {
  const marked = new Map(routes.filter((route) => route.marked).map((route) => [route.destination, route]));
  const foreign = new Set(routes.filter((route) => !route.marked).map((route) => route.destination));
  return wanted
    .filter((route) => !foreign.has(route.destination) && !sameRoute(route, marked.get(route.destination)))
    .map((route) => ({ kind: "put-route", route }));
}

function sameRoute(want: RouteSpec, have: NetworkRoute | undefined): boolean {
  return (
    have !== undefined &&
    have.via === want.via &&
    have.device === want.device &&
    have.source === want.source &&
    have.mtu === want.mtu &&
    // The kernel drops the flag when the next hop is on the link anyway, so it is not compared in direct mode.
    (have.onlink || !want.onlink)
  );
}

function deleteRoutes(destinations: readonly string[], routes: readonly NetworkRoute[]): NetworkAction[] {
  const wanted = new Set(destinations);
  return routes
    .filter((route) => route.marked && !wanted.has(route.destination))
    .toSorted((a, b) => compare(a.destination, b.destination) || compare(a.device, b.device))
    .map(({ destination, device }) => ({ kind: "delete-route", destination, device }));
}

function desiredTunnelPeers(desired: DesiredNetwork): TunnelPeer[] {
  return desired.peers
    .filter((peer) => peer.mode === "vxlan" || peer.candidate?.mode === "vxlan")
    .map(({ gateway, underlay }) => ({ gateway, mac: tunnelMac(gateway), underlay }))
    .toSorted((a, b) => compare(a.gateway, b.gateway));
}

function putTunnelPeers(desired: DesiredNetwork, peers: readonly TunnelPeer[]): NetworkAction[] {
  return desiredTunnelPeers(desired)
    .filter((want) => !peers.some((have) => samePeer(want, have)))
    .map((peer) => ({ kind: "put-tunnel-peer", device: TUNNEL, peer }));
}

function deleteTunnel(
  desired: DesiredNetwork,
  link: NetworkLink | undefined,
  peers: readonly TunnelPeer[],
): NetworkAction[] {
  // Its neighbours leave with the device.
  if (desired.tunnel === null) return link === undefined ? [] : [{ kind: "delete-link", name: TUNNEL }];
  const wanted = desiredTunnelPeers(desired);
  const gateways = new Set(wanted.map((peer) => peer.gateway));
  const macs = new Set(wanted.map((peer) => peer.mac));
  return peers
    .map((peer) => ({
      // Its two entries are judged apart: half of a peer may be all that is left of it, or belong to another one.
      gateway: gateways.has(peer.gateway) ? NO_ADDRESS : peer.gateway,
      mac: peer.mac,
      underlay: macs.has(peer.mac) ? NO_ADDRESS : peer.underlay,
    }))
    .filter((peer) => peer.gateway !== NO_ADDRESS || peer.underlay !== NO_ADDRESS)
    .toSorted((a, b) => compare(a.gateway, b.gateway) || compare(a.mac, b.mac))
    .map((peer) => ({ kind: "delete-tunnel-peer", device: TUNNEL, peer }));
}

function samePeer(a: TunnelPeer, b: TunnelPeer): boolean {
  return a.gateway === b.gateway && a.mac === b.mac && a.underlay === b.underlay;
}

/** The host's own ranges: what it routes without us. The range of the bridge is the container range itself. */
export function hostRanges(observed: Pick<NetworkState, "links" | "routes">): readonly string[] {
  return observed.routes
    .filter((route) => !route.marked && ![BRIDGE, TUNNEL, WIREGUARD].includes(route.device))
    .filter(({ device }) => !isSegmentDevice(device))
    .map((route) => route.destination);
}

/** True once containers can use the bridge: it is up and holds the gateway address. */
export function bridgeReady(desired: Pick<DesiredNetwork, "gateway">, observed: NetworkState): boolean {
  const bridge = observed.links.find((link) => link.name === BRIDGE);
  return bridge?.kind === "bridge" && bridge.up && bridge.addresses.some((entry) => entry.address === desired.gateway);
}

/** What keeps `planNetwork` from doing its work, for people: devices and routes of others where ours should be. */
export function findNetworkConflicts(desired: DesiredNetwork, observed: NetworkState): readonly string[] {
  const bridge = observed.links.find((link) => link.name === BRIDGE);
  const taken = bridge !== undefined && bridge.kind !== "bridge" ? [`device ${BRIDGE} is not a bridge`] : [];
  const other = observed.links.find((link) => link.name === WIREGUARD && !isWireguard(link.kind));
  if ((desired.wireguard ?? null) !== null && other !== undefined) taken.push(`device ${WIREGUARD} is not WireGuard's`);
  const wanted = new Set(desired.peers.flatMap((peer) => peer.blocks));
  const routes = observed.routes
    .filter((route) => !route.marked && wanted.has(route.destination))
    .map((route) => `route ${route.destination} dev ${route.device} is not ours`);
  return [...taken, ...routes].toSorted();
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
