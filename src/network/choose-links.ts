/** The mode of the path to each peer as policy, keys, kernel and measurement have it now, and what it needs. */
import type { AnnouncedKeys, Peer } from "../model/host.ts";
import type { HostId } from "../model/ids.ts";
import type { HostAddress } from "../model/ip6.ts";
import { formatEndpoint } from "../model/ip6.ts";
import { gatewayOf, probeAddressOf } from "./blocks.ts";
import type { LinkFacts, LinkMode, LinkPolicy, OwnMode, Path } from "./choose-link-mode.ts";
import { NO_FACTS, chooseLinkMode, chooseLinkModes } from "./choose-link-mode.ts";
import type { DesiredPeer } from "./plan-network.ts";
import { encryptedRelay } from "./wireguard/encrypted-relay.ts";
import { WIREGUARD_PORT } from "./wireguard/plan-wireguard.ts";

export interface LinkWants {
  readonly range: string;
  /** The other hosts. */
  readonly peers: readonly Peer[];
  /** Without it links are as the kernel's routes alone have it. */
  readonly policy?: LinkPolicy;
  /** What probes found out, by peer; null while none are sent. */
  readonly facts?: ReadonlyMap<HostId, LinkFacts> | null;
  /** This host's WireGuard keys; null or missing when it has none. */
  readonly keys?: AnnouncedKeys | null;
}

export interface ChosenLink {
  readonly peer: Peer;
  readonly path: Path | null;
  readonly link: LinkMode;
  /** What policy and kernel would allow, best first. */
  readonly modes: readonly OwnMode[];
  readonly facts: LinkFacts;
  readonly encrypted: boolean;
  /** Set in relay mode: the peer that carries packets on. */
  readonly relay: Peer | null;
}

/** By name of the peer. Own links first: a relay is reached by one of them. */
export function chooseLinks(wants: LinkWants, paths: ReadonlyMap<HostAddress, Path | null>): readonly ChosenLink[] {
  const { range, policy } = wants;
  const chosen = wants.peers
    .filter((peer) => peer.blocks.length > 0)
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map((peer): ChosenLink => {
      const path = paths.get(peer.address) ?? null;
      const facts = wants.facts?.get(peer.id) ?? NO_FACTS;
      const choice = chooseLinkModes(peer.address, path, range, policy);
      const wanted = policy === undefined ? { facts } : { policy, facts };
      const link = withKeys(chooseLinkMode(peer.address, path, range, wanted), peer, wants.keys ?? null);
      const encrypted = link.mode === "wireguard" || (link.mode === "relay" && link.encrypted);
      const modes = choice.kind === "modes" ? choice.modes : [];
      return { peer, path, link, modes, facts, encrypted, relay: null };
    });
  const own = new Map(chosen.map((each) => [each.peer.id, each]));
  return chosen.map((each) => (each.link.mode === "relay" ? throughRelay(each, each.link, own) : each));
}

/** What must be encrypted goes through WireGuard, or not at all when one end has no key. */
function withKeys(link: LinkMode, peer: Peer, keys: AnnouncedKeys | null): LinkMode {
  if (link.mode !== "wireguard" && !(link.mode === "relay" && link.encrypted)) return link;
  const refuse = (what: string): LinkMode => ({ mode: "none", why: `it must be encrypted (${link.why}), and ${what}` });
  if (keys === null) return refuse("this host has no WireGuard key");
  if (peer.publicKey === undefined) return refuse("its agent has told no WireGuard key: update it");
  return link;
}

function throughRelay(
  each: ChosenLink,
  link: LinkMode & { mode: "relay" },
  own: ReadonlyMap<HostId, ChosenLink>,
): ChosenLink {
  const carrier = own.get(link.via);
  const way = carrier?.link;
  if (carrier === undefined || way === undefined || way.mode === "relay" || way.mode === "none") {
    return { ...each, link: { mode: "none", why: `${link.why}, and the host to go through is not reached itself` } };
  }
  const mtu = Math.min(way.mtu, link.mtu ?? way.mtu);
  // A host that is itself reached encrypted is in no trusted range, so the packets through it are encrypted to their end.
  const encrypted = each.encrypted || way.mode === "wireguard";
  return { ...each, path: way.path, link: { ...link, mtu }, encrypted, relay: carrier.peer };
}

/** What the links need of routes, tunnels and keys. */
export function desirePeers(links: readonly ChosenLink[]): readonly DesiredPeer[] {
  const own = new Map(links.flatMap((each) => desireOwn(each).map((peer) => [each.peer.id, peer] as const)));
  for (const { peer, link, path, encrypted, relay } of links) {
    if (link.mode !== "relay" || relay === null || path === null) continue;
    const carrier = own.get(relay.id);
    if (carrier === undefined) continue;
    if (encrypted) {
      const ends = encryptedRelay(peer, { ...carrier, mtu: link.mtu ?? carrier.mtu });
      own.set(peer.id, ends.far);
      own.set(relay.id, { ...ends.relay, mtu: carrier.mtu });
    } else if (carrier.mode === "direct" || carrier.mode === "vxlan") {
      const { mode, underlay, gateway } = carrier;
      own.set(peer.id, {
        ...basePeer(peer),
        mode: "relay",
        device: path.device,
        mtu: link.mtu ?? path.mtu,
        relay: { mode, underlay, gateway },
      });
    }
  }
  return links.flatMap(({ peer }) => own.get(peer.id) ?? []).map((peer) => ({ ...peer, ...candidateOf(peer, links) }));
}

function basePeer(peer: Peer): Pick<DesiredPeer, "gateway" | "underlay" | "blocks"> {
  return { gateway: gatewayOf(peer.blocks), underlay: peer.address, blocks: peer.blocks };
}

function desireOwn({ peer, link }: ChosenLink): readonly DesiredPeer[] {
  if (link.mode === "none" || link.mode === "relay") return [];
  const { mode, mtu, path } = link;
  const plain = { ...basePeer(peer), mode, device: path.device, source: path.source, mtu };
  if (mode !== "wireguard") return [plain];
  const keys = [peer.publicKey, peer.nextPublicKey].filter((key) => key !== undefined);
  return [{ ...plain, wireguard: { keys, endpoint: formatEndpoint(peer.address, WIREGUARD_PORT) } }];
}

/** The better mode that is tried beside the present one. */
function candidateOf({ gateway }: DesiredPeer, links: readonly ChosenLink[]): Pick<DesiredPeer, "candidate"> {
  const each = links.find(({ peer }) => gatewayOf(peer.blocks) === gateway);
  const tried = each?.facts.testing;
  if (each === undefined || each.path === null || (tried !== "direct" && tried !== "vxlan")) return {};
  return { candidate: { mode: tried, device: each.path.device, address: probeAddressOf(each.peer) } };
}
