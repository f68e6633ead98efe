/**
 * What the kernel needs for IPv6 between containers, beside what `planNetwork` does, and the changes that get it there.
 *
 * The bridge holds the host's gateway with the host's own /96 on its wire (`host6Of`): whatever is not there goes to the
 * gateway, so nobody has to answer for others (IPv6 has no proxy for ranges). One route a peer, to its /96, whatever
 * blocks it has, and one for each block of a declared network; it takes the way that the peer's IPv4 blocks take, with the same MTU. On a wire that is shared the next hop is
 * the link-local address that follows from the peer's own one (`linkLocalOf`).
 *
 * The twins of the virtual addresses are routed as those are: only for the host's own programs, since destinations are changed on
 * the way.
 */
import type { Ipv4 } from "../model/ip.ts";
import { isIpv4 } from "../model/ip.ts";
import type { Cidr6, Ipv6 } from "../model/ip6.ts";
import { cidr6Contains, cidrs6Overlap, formatCidr6, parseCidr6 } from "../model/ip6.ts";
import type { Condition } from "../model/wire.ts";
import type {
  NetworkAction,
  NetworkAddress6,
  NetworkNeighbour6,
  NetworkRoute6,
  NetworkState,
  NetworkState6,
} from "../platform/ports/host-network.ts";
import { gateway6Of, host6Of, isOurLinkLocal, linkLocalOf, virtual6Of } from "./address6.ts";
import { tunnelMac } from "./mac.ts";
import type { DesiredNetwork, DesiredPeer } from "./plan-network.ts";
import { BRIDGE, TUNNEL, peerParts6 } from "./plan-network.ts";
import { isSegmentDevice } from "../platform/ports/segment-network.ts";
import { WIREGUARD } from "./wireguard/plan-wireguard.ts";

const FORWARD_KEY = "net/ipv6/conf/all/forwarding";
/** As `BRIDGE_FILTER_KEY`, for packets of this family. */
export const BRIDGE_FILTER6_KEY = "net/bridge/bridge-nf-call-ip6tables";
const BRIDGE_SYSCTLS: Readonly<Record<string, string>> = {
  [`net/ipv6/conf/${BRIDGE}/disable_ipv6`]: "0",
  // No container tells this host where to send its packets.
  [`net/ipv6/conf/${BRIDGE}/accept_ra`]: "0",
  // A bridge without containers has no carrier, and would be looking for others with its address until it has one.
  [`net/ipv6/conf/${BRIDGE}/accept_dad`]: "0",
};
/** The sysctls that `planNetwork6` wants to see observed. */
export const NETWORK6_SYSCTLS: readonly string[] = [FORWARD_KEY, BRIDGE_FILTER6_KEY, ...Object.keys(BRIDGE_SYSCTLS)];
/** IPv6 asks every link to carry packets of this size (RFC 8200 §5). */
export const MTU6_MIN = 1280;

export interface DesiredNetwork6 {
  readonly range: string;
  readonly gateway: Ipv6;
  /** The host's own part, on the bridge's wire. */
  readonly host6: Cidr6;
  /** How this host is reached by those on the same wire. */
  readonly linkLocals: readonly NetworkAddress6[];
  readonly routes: readonly Omit<NetworkRoute6, "marked">[];
  readonly neighbours: readonly NetworkNeighbour6[];
}

/** What the peers of `desired` need in IPv6. */
export function desireNetwork6(range6: string, desired: DesiredNetwork, observed: NetworkState): DesiredNetwork6 {
  const gateway = gateway6Of(range6, desired.gateway);
  const reached = desired.peers.filter(({ mtu }) => mtu >= MTU6_MIN);
  const routes = reached.flatMap((peer) => {
    const hop = nextHop(peer.mode === "relay" && peer.relay !== undefined ? { ...peer, ...peer.relay } : peer);
    const parts = peerParts6(range6, peer, desired.routed ?? []);
    return parts.map((destination) => ({ destination, ...hop, source: gateway, mtu: peer.mtu }));
  });
  const tunnelled = desired.peers.filter(({ mode, candidate }) => mode === "vxlan" || candidate?.mode === "vxlan");
  const neighbours = tunnelled.map((peer) => ({
    device: TUNNEL,
    address: linkLocalOf(peer.gateway),
    mac: tunnelMac(peer.gateway),
  }));
  const ways = new Set(desired.peers.filter(({ mode }) => mode !== "wireguard").map(({ device }) => device));
  const linkLocals = observed.links
    .filter(({ name }) => ways.has(name))
    .flatMap(({ name, addresses }) =>
      addresses.map(({ address }) => ({ device: name, address: linkLocalOf(address), prefix: 64 })),
    );
  const own = [...routes, ...virtualRoutes(range6, desired.virtualRange ?? null, gateway)];
  return { range: range6, gateway, host6: host6Of(range6, desired.gateway), linkLocals, routes: own, neighbours };
}

function virtualRoutes(
  range6: string,
  virtualRange: string | null,
  source: Ipv6,
): readonly Omit<NetworkRoute6, "marked">[] {
  if (virtualRange === null) return [];
  const destination = formatCidr6(virtual6Of(range6, virtualRange));
  return [{ destination, via: null, device: BRIDGE, source, mtu: null, onlink: false }];
}

/**
 * Link-local next hops belong to their device, whatever other routes say. The kernel would not change a route into the tunnel
 * with the peer's gateway as its next hop: that address is what the present route leads to another way.
 */
function nextHop(
  to: Pick<DesiredPeer, "mode" | "underlay" | "device"> & { readonly gateway: Ipv4 },
): Pick<NetworkRoute6, "via" | "device" | "onlink"> {
  if (to.mode === "wireguard") return { via: null, device: WIREGUARD, onlink: false };
  if (to.mode === "direct") {
    return { via: isIpv4(to.underlay) ? linkLocalOf(to.underlay) : to.underlay, device: to.device, onlink: false };
  }
  return { via: linkLocalOf(to.gateway), device: TUNNEL, onlink: false };
}

/**
 * The changes from observed to desired; null desires nothing of ours.
 * @param first what `planNetwork` does before them: devices that it deletes take all of theirs along
 */
export function planNetwork6(
  desired: DesiredNetwork6 | null,
  observed: NetworkState,
  first: readonly NetworkAction[] = [],
): readonly NetworkAction[] {
  if ((observed.ip6 ?? null) === null) return [];
  const gone = new Set(first.flatMap((action) => (action.kind === "delete-link" ? [action.name] : [])));
  const ip6 = withoutDevices(observed.ip6 ?? NOTHING, gone);
  if (desired === null) return [...deleteRoutes([], ip6), ...deleteLinkLocals([], ip6)];
  const bridge = observed.links.find(({ name }) => name === BRIDGE && !gone.has(name));
  if (bridge !== undefined && bridge.kind !== "bridge") return [];
  const devices = new Set(observed.links.map(({ name }) => name).filter((name) => !gone.has(name)));
  for (const action of first) if (ADDS.has(action.kind) && "name" in action) devices.add(action.name);
  const routes = desired.routes.filter(({ device }) => devices.has(device));
  const neighbours = desired.neighbours.filter(({ device }) => devices.has(device));
  const allow: NetworkAction[] =
    observed.range6Allowed === false ? [{ kind: "allow-range", range: desired.range }] : [];
  return [
    ...planForwarding(ip6, observed),
    ...Object.entries(BRIDGE_SYSCTLS)
      .filter(([key, value]) => bridge === undefined || observed.sysctls[key] !== value)
      .map(([key, value]): NetworkAction => ({ kind: "set-sysctl", key, value })),
    ...planAddresses(desired, ip6),
    ...neighbours.filter((want) => !ip6.neighbours.some((have) => sameNeighbour(want, have))).map(putNeighbour),
    ...connectedRoute(desired, ip6),
    ...routes.filter((want) => !ip6.routes.some((have) => sameRoute(want, have))).map(putRoute),
    ...allow,
    ...deleteRoutes(
      desired.routes.map(({ destination }) => destination),
      ip6,
    ),
    ...deleteLinkLocals(desired.linkLocals, ip6),
    ...deleteNeighbours(desired.neighbours, ip6),
  ];
}

const NOTHING: NetworkState6 = { addresses: [], routes: [], neighbours: [], announced: [] };
const ADDS: ReadonlySet<NetworkAction["kind"]> = new Set(["add-bridge", "add-vxlan", "add-wireguard"]);

function withoutDevices(ip6: NetworkState6, gone: ReadonlySet<string>): NetworkState6 {
  const stays = ({ device }: { readonly device: string }): boolean => !gone.has(device);
  return {
    addresses: ip6.addresses.filter(stays),
    routes: ip6.routes.filter(stays),
    neighbours: ip6.neighbours.filter(stays),
    announced: ip6.announced,
  };
}

/** A host that forwards listens to routers only where it is told so, and forgets what they said: that comes first. */
function planForwarding({ announced }: NetworkState6, { sysctls }: NetworkState): readonly NetworkAction[] {
  const listen = announced
    .filter(({ acceptRa }) => acceptRa === "1")
    .map(({ device }): NetworkAction => ({ kind: "set-sysctl", key: `net/ipv6/conf/${device}/accept_ra`, value: "2" }));
  const filter: NetworkAction[] =
    sysctls[BRIDGE_FILTER6_KEY] === "0" ? [{ kind: "set-sysctl", key: BRIDGE_FILTER6_KEY, value: "1" }] : [];
  const forward: NetworkAction[] =
    sysctls[FORWARD_KEY] === "1" ? [] : [{ kind: "set-sysctl", key: FORWARD_KEY, value: "1" }];
  return [...listen, ...forward, ...filter];
}

function planAddresses(desired: DesiredNetwork6, { addresses }: NetworkState6): readonly NetworkAction[] {
  const { gateway, host6 } = desired;
  const range = parseCidr6(desired.range);
  const off = offDevices(desired, addresses);
  const linkLocals = desired.linkLocals.filter(({ device }) => !off.includes(device));
  const wanted = [{ device: BRIDGE, address: gateway, prefix: host6.prefix }, ...linkLocals];
  // Addresses outside the range are somebody else's business.
  const wrong = addresses.filter(
    (entry) => entry.device === BRIDGE && cidr6Contains(range, entry.address) && !wanted.some(equals(entry)),
  );
  const missing = wanted.filter((entry) => !addresses.some(equals(entry)));
  return [
    ...wrong.map((entry): NetworkAction => ({ kind: "delete-address6", ...entry })),
    ...missing.map((entry): NetworkAction => ({ kind: "add-address6", ...entry })),
  ];
}

/** The kernel makes it with the address; someone may have deleted it since. */
function connectedRoute({ gateway, host6 }: DesiredNetwork6, ip6: NetworkState6): readonly NetworkAction[] {
  const destination = formatCidr6(host6);
  const there = ip6.addresses.some(({ device, address }) => device === BRIDGE && address === gateway);
  if (!there || ip6.routes.some((route) => route.destination === destination && route.device === BRIDGE)) return [];
  return [putRoute({ destination, via: null, device: BRIDGE, source: gateway, mtu: null, onlink: false })];
}

/** The bridge's own wire stays: it goes with the address. */
function deleteRoutes(wanted: readonly string[], { addresses, routes }: NetworkState6): readonly NetworkAction[] {
  const wires = addresses.filter(({ device }) => device === BRIDGE).map(({ address }) => address);
  const isWire = ({ device, destination }: NetworkRoute6): boolean =>
    device === BRIDGE && wires.some((address) => cidr6Contains(parseCidr6(destination), address));
  return routes
    .filter((route) => route.marked && !isWire(route) && !wanted.includes(route.destination))
    .map(({ destination, device }) => ({ kind: "delete-route6", destination, device }));
}

function deleteLinkLocals(wanted: readonly NetworkAddress6[], { addresses }: NetworkState6): readonly NetworkAction[] {
  return addresses
    .filter((entry) => isOurLinkLocal(entry.address) && !wanted.some(equals(entry)))
    .map((entry) => ({ kind: "delete-address6", ...entry }));
}

function deleteNeighbours(
  wanted: readonly NetworkNeighbour6[],
  { neighbours }: NetworkState6,
): readonly NetworkAction[] {
  return neighbours
    .filter(({ device, address }) => device === TUNNEL && !wanted.some((want) => want.address === address))
    .map((entry) => ({ kind: "delete-neighbour6", ...entry }));
}

function putRoute({ destination, via, device, source, mtu, onlink }: Omit<NetworkRoute6, "marked">): NetworkAction {
  return { kind: "put-route6", route: { destination, via, device, source, mtu, onlink } };
}

function putNeighbour(neighbour: NetworkNeighbour6): NetworkAction {
  return { kind: "put-neighbour6", ...neighbour };
}

function sameRoute(want: Omit<NetworkRoute6, "marked">, have: NetworkRoute6): boolean {
  return (
    have.marked &&
    have.destination === want.destination &&
    have.via === want.via &&
    have.device === want.device &&
    have.source === want.source &&
    have.mtu === want.mtu
  );
}

function sameNeighbour(a: NetworkNeighbour6, b: NetworkNeighbour6): boolean {
  return a.device === b.device && a.address === b.address && a.mac === b.mac;
}

function equals(a: NetworkAddress6): (b: NetworkAddress6) => boolean {
  return (b) => a.device === b.device && a.address === b.address && a.prefix === b.prefix;
}

/** The bridge can be used with IPv6: containers may be given addresses. */
export function bridge6Ready(desired: DesiredNetwork6, { ip6 = null }: NetworkState): boolean {
  return ip6?.addresses.some(({ device, address }) => device === BRIDGE && address === desired.gateway) === true;
}

/** Where exposed addresses are: in IPv6 each is a route among all others. */
const EXPOSED_DEVICE = "lo";

/** What this host routes itself of the range: then none of it is used here. */
export function findClash6(range6: string, { ip6 = null }: NetworkState): readonly string[] {
  const range = parseCidr6(range6);
  return (ip6?.routes ?? [])
    .filter(({ marked, device }) => !marked && ![BRIDGE, TUNNEL, WIREGUARD, EXPOSED_DEVICE].includes(device))
    .filter(({ device }) => !isSegmentDevice(device))
    .map(({ destination }) => destination)
    .filter((destination) => {
      const cidr = parseCidr6(destination);
      return cidr.prefix > 0 && cidrs6Overlap(cidr, range);
    });
}

/** What keeps containers here, or those of some peers, from being reached by IPv6. */
export function conditions6(
  range6: string,
  desired: DesiredNetwork6 | null,
  { peers, observed }: { readonly peers: readonly DesiredPeer[]; readonly observed: NetworkState },
): readonly Condition[] {
  const { ip6 = null } = observed;
  if (ip6 === null) {
    const text = `Containers of this host have no IPv6 addresses of ${range6}: its kernel has IPv6 turned off`;
    const hint = "Take ipv6.disable=1 out of the kernel's command line, or set up the cluster with --range6 off";
    return [{ code: "ipv6-missing", severity: "warning", text, hint }];
  }
  const clash = findClash6(range6, observed);
  if (clash.length > 0) {
    const text = `Cannot use IPv6 range ${range6}: this host routes ${clash.join(", ")} itself`;
    const hint = "Remove the host's route, or set up the cluster with another --range6";
    return [{ code: "range6-clash", severity: "error", text, hint }];
  }
  const narrow = peers.filter(({ mtu }) => mtu < MTU6_MIN).map(({ underlay, mtu }) => `${underlay} (${mtu} bytes)`);
  const off = offDevices(desired, ip6.addresses);
  return [
    ...(narrow.length === 0
      ? []
      : [
          {
            code: "ipv6-narrow",
            severity: "warning" as const,
            text: `Containers of ${narrow.join(", ")} are not reached by IPv6: it needs ${MTU6_MIN} bytes`,
            hint: "See what the path carries: apollo net links",
          },
        ]),
    ...off.map((device) => ({
      code: "ipv6-uplink-off",
      severity: "warning" as const,
      text: `Containers of this host are not reached by IPv6 through ${device}: IPv6 is turned off there`,
      hint: `Turn it on: sysctl -w net.ipv6.conf.${device}.disable_ipv6=0`,
    })),
  ];
}

/** The kernel gives every device a link-local address unless IPv6 is off there; without it ours cannot be added. */
function offDevices(desired: DesiredNetwork6 | null, addresses: readonly NetworkAddress6[]): readonly string[] {
  const wanted = [...new Set((desired?.linkLocals ?? []).map(({ device }) => device))];
  return wanted.filter((device) => !addresses.some((entry) => entry.device === device));
}
