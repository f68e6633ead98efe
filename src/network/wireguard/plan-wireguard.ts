/**
 * What the WireGuard device needs so that each peer's blocks are reached through it, and the changes that get it there.
 *
 * WireGuard knows peers by their public keys and gives each the address ranges that it may send from ("allowed IPs"). A host
 * tells two keys, the one in use and its next one; both are entered, but only one has the host's ranges: the next one as
 * soon as the host has shaken hands with it, for that is how a host shows that it has changed over. Nobody has to be told
 * at that moment, and the ranges move in one step.
 */
import { cidrContains, parseCidr, parseIpv4 } from "../../model/ip.ts";
import type {
  NetworkAction,
  NetworkState,
  WireguardPeer,
  WireguardPeerSpec,
} from "../../platform/ports/host-network.ts";

export const WIREGUARD = "apollo-wg0";
export const WIREGUARD_PORT = 6785;
/** What WireGuard adds over IPv4: its header and tag 32, UDP 8, IPv4 20. */
export const WIREGUARD_OVERHEAD_BYTES = 60;
/** Routers forget UDP mappings after 30 s or more; what WireGuard's documentation advises. */
export const KEEPALIVE_SEC = 25;
/** A session that nobody renewed for so long is dead (WireGuard's Reject-After-Time). */
export const HANDSHAKE_FRESH_MS = 180_000;
export const WIREGUARD_SYSCTLS: Readonly<Record<string, string>> = {
  // Off: its key says already whether a source address is right, and while only one end has changed its link over, the
  // way back is another. "Loose" would not do: on a device without an address the kernel takes it for "strict".
  [`net/ipv4/conf/${WIREGUARD}/rp_filter`]: "0",
};

export interface DesiredWireguardPeer {
  /** The one in use first, then the next one when the host has told any. */
  readonly keys: readonly string[];
  /** `ADDRESS:PORT`; null for a host behind NAT, which has to speak first. */
  readonly endpoint: string | null;
  readonly allowedIps: readonly string[];
}

export interface DesiredWireguard {
  /** Container range: endpoints inside it are reached through another host. */
  readonly range: string;
  readonly publicKey: string;
  readonly mtu: number;
  readonly peers: readonly DesiredWireguardPeer[];
}

export interface WireguardPlan {
  /** What routes need. */
  readonly before: readonly NetworkAction[];
  /** What goes when no route needs it any more. */
  readonly after: readonly NetworkAction[];
  /** Routes over the device lead somewhere once `before` is done. */
  readonly usable: boolean;
  /** The device is made anew: nothing observed of it holds. */
  readonly fresh: boolean;
}

/** Null desires no device: one of ours is deleted. */
export function planWireguard(desired: DesiredWireguard | null, observed: NetworkState): WireguardPlan {
  const link = observed.links.find(({ name }) => name === WIREGUARD);
  const ours = link === undefined || isWireguard(link.kind);
  if (desired === null) {
    const gone: NetworkAction[] = link !== undefined && ours ? [{ kind: "delete-link", name: WIREGUARD }] : [];
    return { before: [], after: gone, usable: false, fresh: false };
  }
  // Someone else's device has our name, or there is no WireGuard here: the conditions say so.
  if (!ours || observed.wireguardSupport === null) return { before: [], after: [], usable: false, fresh: false };
  const { publicKey, mtu } = desired;
  const fresh = link === undefined || observed.wireguard === null;
  const rekeyed = !fresh && observed.wireguard?.publicKey !== publicKey;
  const device: NetworkAction[] = [];
  // A device that nobody answers for is of no use, and its name must be free first.
  if (fresh && link !== undefined) device.push({ kind: "delete-link", name: WIREGUARD });
  if (fresh) device.push({ kind: "add-wireguard", name: WIREGUARD, port: WIREGUARD_PORT, mtu, publicKey });
  else {
    if (rekeyed || observed.wireguard?.port !== WIREGUARD_PORT)
      device.push({ kind: "set-wireguard-key", name: WIREGUARD, port: WIREGUARD_PORT, publicKey });
    if (link?.mtu !== mtu) device.push({ kind: "set-link-mtu", name: WIREGUARD, mtu });
    if (link?.up !== true) device.push({ kind: "set-link-up", name: WIREGUARD });
  }
  const sysctls = Object.entries(WIREGUARD_SYSCTLS)
    .filter(([key, value]) => fresh || observed.sysctls[key] !== value)
    .map(([key, value]): NetworkAction => ({ kind: "set-sysctl", key, value }));
  const seen = new Map((fresh ? [] : (observed.wireguard?.peers ?? [])).map((peer) => [peer.publicKey, peer]));
  const wanted = wantedPeers(desired, seen);
  const changed = [...wanted.values()].filter((want) => differs(want, seen.get(want.publicKey)));
  const gone = [...seen.keys()].filter((key) => !wanted.has(key)).toSorted();
  return {
    before: [
      ...device,
      ...sysctls,
      ...(changed.length === 0 ? [] : [putPeers(changed)]),
      ...(rekeyed ? greet([...wanted.values()]) : []),
    ],
    after: gone.length === 0 ? [] : [{ kind: "delete-wireguard-peers", device: WIREGUARD, publicKeys: gone }],
    usable: true,
    fresh,
  };
}

function putPeers(peers: readonly WireguardPeerSpec[]): NetworkAction {
  return { kind: "put-wireguard-peers", device: WIREGUARD, peers };
}

/**
 * A keepalive that is turned on is sent at once, and with it a handshake under the new key: the others need not wait for a
 * packet that has something to say, and a router between learns of no other address.
 */
function greet(peers: readonly WireguardPeerSpec[]): readonly NetworkAction[] {
  const known = peers.filter(({ keepaliveSec }) => keepaliveSec > 0).map((peer) => ({ ...peer, endpoint: null }));
  if (known.length === 0) return [];
  return [putPeers(known.map((peer) => ({ ...peer, keepaliveSec: 0 }))), putPeers(known)];
}

/** A device of our name that may be ours: the program's devices look like any other tunnel's. */
export function isWireguard(kind: string): boolean {
  return kind === "wireguard" || kind === "tun";
}

function wantedPeers(
  desired: DesiredWireguard,
  seen: ReadonlyMap<string, WireguardPeer>,
): ReadonlyMap<string, WireguardPeerSpec> {
  const wanted = new Map<string, WireguardPeerSpec>();
  for (const peer of desired.peers.toSorted((a, b) => ((a.keys[0] ?? "") < (b.keys[0] ?? "") ? -1 : 1))) {
    const active = activeKey(peer, seen);
    for (const publicKey of peer.keys) {
      // WireGuard drops a peer that has the device's own key without a word: it would be put again for ever.
      if (publicKey === desired.publicKey) continue;
      const endpoint = chooseEndpoint(peer.endpoint, seen.get(publicKey), desired.range);
      wanted.set(
        publicKey,
        publicKey === active
          ? { publicKey, endpoint, allowedIps: peer.allowedIps.toSorted(), keepaliveSec: KEEPALIVE_SEC }
          : { publicKey, endpoint: null, allowedIps: [], keepaliveSec: 0 },
      );
    }
  }
  return wanted;
}

/** The next key once it has been heard of: its private half is used for nothing before the change. */
function activeKey({ keys }: DesiredWireguardPeer, seen: ReadonlyMap<string, WireguardPeer>): string | undefined {
  const [current, next] = keys;
  const nextAge = next === undefined ? null : (seen.get(next)?.handshakeAgeMs ?? null);
  const currentAge = current === undefined ? null : (seen.get(current)?.handshakeAgeMs ?? null);
  return nextAge !== null && (currentAge === null || nextAge <= currentAge) ? next : current;
}

/**
 * The endpoint to set, null for none. One that WireGuard learnt from the peer's own packets is better than what we were
 * told, as long as the peer is heard there: a router may have given it that address.
 */
function chooseEndpoint(want: string | null, seen: WireguardPeer | undefined, range: string): string | null {
  const have = seen?.endpoint ?? null;
  if (want === null || want === have) return null;
  // The way itself has changed, from its own address to that through another host or back: nobody learns that.
  if (have === null || isInside(want, range) !== isInside(have, range)) return want;
  return isFresh(seen) ? null : want;
}

function isFresh(peer: WireguardPeer | undefined): boolean {
  return peer !== undefined && peer.handshakeAgeMs !== null && peer.handshakeAgeMs <= HANDSHAKE_FRESH_MS;
}

function isInside(endpoint: string, range: string): boolean {
  const address = /^([0-9.]+):\d+$/.exec(endpoint)?.[1];
  return address !== undefined && cidrContains(parseCidr(range), parseIpv4(address));
}

function differs(want: WireguardPeerSpec, have: WireguardPeer | undefined): boolean {
  return (
    have === undefined ||
    (want.endpoint !== null && want.endpoint !== have.endpoint) ||
    want.keepaliveSec !== have.keepaliveSec ||
    want.allowedIps.join() !== have.allowedIps.toSorted().join()
  );
}
