/**
 * What the kernel's fast path has to know, and the changes that get it there. The order matters: what sends packets the slow
 * way comes first, since that is always right; then what the programs need, then the programs; a port's source goes last,
 * after its program, which would drop what it does not know.
 */
import type { Ipv4 } from "../model/ip.ts";
import { cidrContains, cidrsOverlap, formatCidr, ipv4ToNumber, isIpv4, parseCidr } from "../model/ip.ts";
import type {
  FastPathAction,
  FastPathEntry,
  FastPathFilter,
  FastPathProgram,
  FastPathState,
} from "../platform/ports/fast-path.ts";
import { NO_ADDRESS } from "../platform/ports/host-network.ts";
import type { LocalPort } from "./local-port.ts";
import type { DesiredPeer } from "./plan-network.ts";
import { TUNNEL } from "./plan-network.ts";

/** The host's questions to itself pass it. */
const LOOPBACK_DEVICE = "lo";

export interface DesiredFastPath {
  /** Of this host; containers on it reach each other without the bridge. */
  readonly blocks: readonly string[];
  /** The bridge's: what containers take for their router. */
  readonly gatewayMac: string;
  readonly ports: readonly LocalPort[];
  readonly peers: readonly DesiredPeer[];
  /** Ranges or addresses to and from which nothing is fast: policy looks at their packets. */
  readonly slow: readonly string[];
  /** Ranges of virtual addresses. */
  readonly virtual: readonly string[];
}

/** The whole content of the maps; sorted, one entry a key. */
export function desireEntries(desired: DesiredFastPath, devices: FastPathState["devices"]): readonly FastPathEntry[] {
  const slow = desired.slow.map(parseCidr);
  const isSlow = (address: Ipv4): boolean => slow.some((cidr) => cidrContains(cidr, address));
  const { gatewayMac } = desired;
  const ports = desired.ports.flatMap(({ index: ifindex, mac, addresses, ends = false }) =>
    addresses.flatMap((address): FastPathEntry[] => [
      { map: "sources", ifindex, address, mac, slow: isSlow(address) },
      { map: "endpoints", address, ifindex, mac, gatewayMac, slow: isSlow(address), ends },
    ]),
  );
  const none = { ifindex: 0, nextHop: NO_ADDRESS, mtu: 0, peer: NO_ADDRESS, local: NO_ADDRESS };
  const to =
    (kind: "slow" | "virtual" | "local") =>
    (destination: string): FastPathEntry => ({
      map: "routes",
      destination: formatCidr(parseCidr(destination)),
      kind,
      ...none,
    });
  const peers = desired.peers.flatMap((peer) => desirePeer(peer, devices));
  return byKey([
    { map: "settings", virtualRanges: desired.virtual.length },
    ...ports,
    ...desired.blocks.map(to("local")),
    ...peers,
    // A range that holds a block would lose to it, being shorter: the block is what goes slow then.
    ...widen(desired.slow, [...desired.blocks, ...desired.peers.flatMap(({ blocks }) => blocks)]).map(to("slow")),
    ...desired.virtual.map(to("virtual")),
  ]);
}

function desirePeer(peer: DesiredPeer, devices: FastPathState["devices"]): readonly FastPathEntry[] {
  const way = wayTo(peer);
  const device = way === null ? undefined : devices.get(way.device);
  if (way === null || device === undefined || !device.ethernet) return [];
  const { kind, nextHop, local, underlay } = way;
  return peer.blocks.map((destination) => ({
    map: "routes",
    destination,
    kind,
    ifindex: device.index,
    nextHop,
    mtu: peer.mtu,
    peer: underlay,
    local,
  }));
}

interface Way {
  readonly kind: "direct" | "tunnel";
  /** By which packets leave. */
  readonly device: string;
  readonly nextHop: Ipv4;
  /** Own end of the tunnel. */
  readonly local: Ipv4;
  readonly underlay: Ipv4;
  /** What waits for the peer's packets, and where. */
  readonly filters: readonly FastPathFilter[];
}

/** Null for every mode but the two plain ones: what is to be encrypted must not have a way around that. */
function wayTo({ mode, device, underlay, gateway, source }: DesiredPeer): Way | null {
  // Its programs speak IPv4 alone.
  if (!isIpv4(underlay)) return null;
  const uplink = { device, program: "from_uplink" } as const;
  switch (mode) {
    case "direct":
      return { kind: "direct", device, nextHop: underlay, local: NO_ADDRESS, underlay, filters: [uplink] };
    case "vxlan": {
      if (source === undefined || !isIpv4(source)) return null;
      const filters = [uplink, { device: TUNNEL, program: "from_tunnel" }] as const;
      return { kind: "tunnel", device, nextHop: gateway, local: source, underlay, filters };
    }
    default:
      return null;
  }
}

function widen(ranges: readonly string[], blocks: readonly string[]): readonly string[] {
  return ranges.flatMap((range) => {
    const cidr = parseCidr(range);
    const inside = blocks.filter((block) => {
      const other = parseCidr(block);
      return other.prefix >= cidr.prefix && cidrsOverlap(cidr, other);
    });
    return [range, ...inside];
  });
}

/** The last of a key wins: slow and virtual ones come last. */
function byKey(entries: readonly FastPathEntry[]): readonly FastPathEntry[] {
  const found = new Map(entries.map((entry) => [entryKey(entry), entry]));
  return [...found.keys()].toSorted().flatMap((key) => found.get(key) ?? []);
}

/** Equal for entries that take each other's place. */
export function entryKey(entry: FastPathEntry): string {
  switch (entry.map) {
    case "sources":
      return `sources ${entry.ifindex} ${entry.address}`;
    case "endpoints":
      return `endpoints ${entry.address}`;
    case "routes":
      return `routes ${entry.destination}`;
    case "settings":
      return "settings";
  }
}

/** The programs by device. Devices that are not there get none, nor do those that are not Ethernet, but for loopback. */
export function desireFilters(desired: DesiredFastPath, devices: FastPathState["devices"]): readonly FastPathFilter[] {
  const want = new Map<string, FastPathProgram>();
  for (const { device, program } of desired.peers.flatMap((peer) => wayTo(peer)?.filters ?? []))
    want.set(device, program);
  for (const { device, index } of desired.ports) {
    // The index tells a new device of the same name apart.
    if (devices.get(device)?.index === index) want.set(device, "from_container");
  }
  const filters = [...want].flatMap(([device, program]): FastPathFilter[] =>
    devices.get(device)?.ethernet === true ? [{ device, program }] : [],
  );
  if (devices.has(LOOPBACK_DEVICE)) filters.push({ device: LOOPBACK_DEVICE, program: "from_host" });
  return filters.toSorted((a, b) => (a.device < b.device ? -1 : 1));
}

/** The changes from observed to desired; [] when there are none. */
export function planFastPath(desired: DesiredFastPath, observed: FastPathState): readonly FastPathAction[] {
  const want = new Map(desireEntries(desired, observed.devices).map((entry) => [entryKey(entry), entry]));
  const have = new Map(observed.entries.map((entry) => [entryKey(entry), entry]));
  const put = [...want].flatMap(([key, entry]) => (same(entry, have.get(key)) ? [] : [entry]));
  const gone = [...have].flatMap(([key, entry]) => (want.has(key) ? [] : [entry])).toSorted(byEntry);
  const filters = desireFilters(desired, observed.devices);
  const attach = filters.filter((filter) => !observed.filters.some((found) => same(filter, found)));
  const wanted = new Set(filters.map(({ device }) => device));
  const detach = [...new Set([...observed.filters.map(({ device }) => device), ...observed.stale])]
    .filter((device) => !wanted.has(device))
    .toSorted();
  const putEntry = (entry: FastPathEntry): FastPathAction => ({ kind: "put-entry", entry });
  const deleteEntry = (entry: FastPathEntry): FastPathAction => ({ kind: "delete-entry", entry });
  return [
    ...put.filter(sendsSlow).map(putEntry),
    // A slow range that ends uncovers the block below it, so it goes with the deletions of the end.
    ...gone.filter((entry) => !sendsSlow(entry) && entry.map !== "sources").map(deleteEntry),
    ...put.filter((entry) => !sendsSlow(entry)).map(putEntry),
    ...attach.map((filter): FastPathAction => ({ kind: "attach", filter })),
    ...detach.map((device): FastPathAction => ({ kind: "detach", device })),
    ...gone.filter((entry) => sendsSlow(entry) || entry.map === "sources").map(deleteEntry),
  ];
}

function sendsSlow(entry: FastPathEntry): boolean {
  switch (entry.map) {
    case "routes":
      return entry.kind === "slow" || entry.kind === "virtual";
    case "settings":
      return true;
    default:
      return entry.slow;
  }
}

function byEntry(a: FastPathEntry, b: FastPathEntry): number {
  return entryKey(a) < entryKey(b) ? -1 : 1;
}

function same(a: object, b: object | undefined): boolean {
  if (b === undefined) return false;
  const other = new Map(Object.entries(b));
  return Object.entries(a).every(([key, value]) => other.get(key) === value);
}

/** Longest prefix first, as the kernel's trie answers: what a packet to `address` meets. For tests and explanations. */
export function lookUpRoute(
  entries: readonly FastPathEntry[],
  address: Ipv4,
): Extract<FastPathEntry, { map: "routes" }> | null {
  const value = ipv4ToNumber(address);
  let best: Extract<FastPathEntry, { map: "routes" }> | null = null;
  for (const entry of entries) {
    if (entry.map !== "routes") continue;
    const cidr = parseCidr(entry.destination);
    const inside = Math.floor(value / 2 ** (32 - cidr.prefix)) * 2 ** (32 - cidr.prefix) === cidr.first;
    if (inside && (best === null || cidr.prefix > parseCidr(best.destination).prefix)) best = entry;
  }
  return best;
}
