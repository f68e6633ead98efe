import type { Peer } from "../model/host.ts";
import type { HostId } from "../model/ids.ts";
import type { Ipv4 } from "../model/ip.ts";
import type { Condition } from "../model/wire.ts";
import type { EngineNetwork, EngineNetworkSpec } from "../platform/ports/engine.ts";
import type { NetworkAction, NetworkState } from "../platform/ports/host-network.ts";
import { checkRangeClash, gatewayOf, probeAddressOf } from "./blocks.ts";
import type { LinkFacts, LinkMode, LinkPolicy, OwnMode, Path } from "./choose-link-mode.ts";
import { NO_FACTS, VXLAN_OVERHEAD_BYTES, chooseLinkMode, chooseLinkModes } from "./choose-link-mode.ts";
import type { EngineNetworkPlan } from "./plan-engine-network.ts";
import { ENGINE_NETWORK, engineNetworkSpec, planEngineNetwork } from "./plan-engine-network.ts";
import type { DesiredNetwork, DesiredPeer } from "./plan-network.ts";
import { BRIDGE, bridgeReady, findNetworkConflicts, hostRanges, planNetwork } from "./plan-network.ts";
import { renderRuleset } from "./render-ruleset.ts";

const MTU_DEFAULT = 1500;

/** What the agent knows about the network it is part of. */
export interface KnownNetwork {
  readonly range: string;
  /** This host's. */
  readonly blocks: readonly string[];
  /** The other hosts. */
  readonly peers: readonly Peer[];
  /** Without it links are as the kernel's routes alone have it. */
  readonly policy?: LinkPolicy;
  /** What probes found out, by peer; null while none are sent. */
  readonly facts?: ReadonlyMap<HostId, LinkFacts> | null;
}

/** What one pass sees of this host. */
export interface ObservedHost {
  readonly kernel: NetworkState;
  /** Null when the engine cannot be reached. */
  readonly engine: { readonly apiVersion: string; readonly networks: readonly EngineNetwork[] } | null;
  /** How the kernel reaches each peer's own address. */
  readonly paths: ReadonlyMap<Ipv4, Path | null>;
}

export type HostAction =
  | NetworkAction
  | { readonly kind: "create-engine-network"; readonly spec: EngineNetworkSpec }
  | { readonly kind: "remove-engine-network"; readonly name: string }
  /** The engine is down: asks again, so that the pass counts as failed and is repeated soon. */
  | { readonly kind: "reach-engine" };

export interface LinkRow {
  readonly peer: string;
  readonly peerId: HostId;
  readonly mode: LinkMode["mode"];
  readonly why: string;
  readonly mtu: number | null;
  /** In relay mode: the name of the host that carries packets on. */
  readonly via: string | null;
  readonly encryption: "none" | "wireguard";
  /** What policy and kernel would allow, best first. */
  readonly modes: readonly OwnMode[];
  /** Of the device towards the peer. */
  readonly deviceMtu: number | null;
}

export interface HostPlan {
  readonly actions: readonly HostAction[];
  readonly conditions: readonly Condition[];
  /** Set once containers and programs can use it. */
  readonly gateway: Ipv4 | null;
  readonly engineNetwork: { readonly name: string; readonly fixedAddresses: boolean } | null;
  readonly links: readonly LinkRow[];
}

/** Kernel first, then the engine's network on top of it: a Docker network on a bridge that exists adopts it. */
export function planHost(known: KnownNetwork, observed: ObservedHost): HostPlan {
  const { kernel } = observed;
  const gateway = gatewayOf(known.blocks);
  const modes = chooseModes(known, observed);
  const desired = desireNetwork(known, modes, kernel);
  const ready = bridgeReady(desired, kernel);
  const clash = checkRangeClash(known.range, hostRanges(kernel));
  const links = modes.map(describeLink);
  // A network that runs is kept running: a VPN that comes up later must not cut containers off.
  if (clash !== null && !ready) {
    return { actions: [], conditions: [clashCondition(clash)], gateway: null, engineNetwork: null, links };
  }
  const engine = planEngine(known, observed, desired);
  const conditions = [
    ...(clash === null ? [] : [clashCondition(clash)]),
    ...findNetworkConflicts(desired, kernel).map(conflictCondition),
    ...engineConditions(engine),
    ...modes.flatMap(linkConditions),
  ];
  return {
    actions: [...planNetwork(desired, kernel), ...engineActions(engine)],
    conditions,
    gateway: ready ? gateway : null,
    engineNetwork:
      ready && engine?.kind === "ready" ? { name: engine.name, fixedAddresses: engine.fixedAddresses } : null,
    links,
  };
}

interface ChosenLink {
  readonly peer: Peer;
  readonly path: Path | null;
  readonly link: LinkMode;
  readonly modes: readonly OwnMode[];
  readonly facts: LinkFacts;
  /** Set in relay mode. */
  readonly relay: { readonly name: string; readonly hop: NonNullable<DesiredPeer["relay"]> } | null;
}

/** Own links first: a relay is reached by one of them. */
function chooseModes(known: KnownNetwork, observed: ObservedHost): readonly ChosenLink[] {
  const { range, policy } = known;
  const chosen = known.peers
    .filter((peer) => peer.blocks.length > 0)
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map((peer): ChosenLink => {
      const path = observed.paths.get(peer.address) ?? null;
      const facts = known.facts?.get(peer.id) ?? NO_FACTS;
      const choice = chooseLinkModes(peer.address, path, range, policy);
      const wanted = policy === undefined ? { facts } : { policy, facts };
      const link = notYetMade(chooseLinkMode(peer.address, path, range, wanted));
      return { peer, path, link, modes: choice.kind === "modes" ? choice.modes : [], facts, relay: null };
    });
  const own = new Map(chosen.map((each) => [each.peer.id, each]));
  return chosen.map((each) => (each.link.mode === "relay" ? throughRelay(each, each.link, own) : each));
}

/**
 * The one place to change when there are encrypted devices: until then nothing is sent where it would have to be encrypted.
 */
function notYetMade(link: LinkMode): LinkMode {
  const encrypted = link.mode === "wireguard" || (link.mode === "relay" && link.encrypted);
  return encrypted ? { mode: "none", why: `it must be encrypted, which this version cannot do (${link.why})` } : link;
}

function throughRelay(
  each: ChosenLink,
  link: LinkMode & { mode: "relay" },
  own: ReadonlyMap<HostId, ChosenLink>,
): ChosenLink {
  const carrier = own.get(link.via);
  const way = carrier?.link;
  if (carrier === undefined || (way?.mode !== "direct" && way?.mode !== "vxlan")) {
    return { ...each, link: { mode: "none", why: `${link.why}, and the host to go through is not reached itself` } };
  }
  const { name, address: underlay, blocks } = carrier.peer;
  const mtu = Math.min(way.mtu, link.mtu ?? way.mtu);
  return {
    ...each,
    path: way.path,
    link: { ...link, mtu },
    relay: { name, hop: { mode: way.mode, underlay, gateway: gatewayOf(blocks) } },
  };
}

function desireNetwork(known: KnownNetwork, modes: readonly ChosenLink[], kernel: NetworkState): DesiredNetwork {
  const peers = modes.flatMap((each) => desirePeer(each));
  const tunnelled = modes.flatMap(({ link, facts, path }) => {
    const used = (link.mode === "vxlan" || facts.testing === "vxlan") && path !== null;
    return used
      ? [{ source: path.source, mtu: link.mode === "vxlan" ? link.mtu : path.mtu - VXLAN_OVERHEAD_BYTES }]
      : [];
  });
  const local = tunnelled[0]?.source;
  return {
    range: known.range,
    gateway: gatewayOf(known.blocks),
    bridgeMtu: uplinkMtu(kernel),
    // One device for all tunnels: as wide as the widest path, each route narrows it for its own peer.
    tunnel: local === undefined ? null : { local, mtu: Math.max(...tunnelled.map((link) => link.mtu)) },
    peers,
    ruleset: renderRuleset({ range: known.range, bridge: BRIDGE }),
    probeAddress: known.facts === null || known.facts === undefined ? null : probeAddressOf(known.blocks),
  };
}

function desirePeer({ peer, path, link, facts, relay }: ChosenLink): readonly DesiredPeer[] {
  if (link.mode === "none" || link.mode === "wireguard" || path === null) return [];
  const { mode } = link;
  const mtu = link.mtu ?? path.mtu;
  const { device } = path;
  const base = { gateway: gatewayOf(peer.blocks), underlay: peer.address, blocks: peer.blocks, mode, device, mtu };
  const tried = facts.testing === "direct" || facts.testing === "vxlan" ? facts.testing : null;
  return [
    {
      ...base,
      ...(relay === null ? {} : { relay: relay.hop }),
      ...(tried === null ? {} : { candidate: { mode: tried, device, address: probeAddressOf(peer.blocks) } }),
    },
  ];
}

/** Containers send what the way out carries; paths that carry less have it on their route. */
function uplinkMtu(kernel: NetworkState): number {
  const uplink = kernel.routes.find((route) => route.destination === "0.0.0.0/0")?.device;
  return kernel.links.find((link) => link.name === uplink)?.mtu ?? MTU_DEFAULT;
}

function planEngine(known: KnownNetwork, observed: ObservedHost, desired: DesiredNetwork): EngineNetworkPlan | null {
  const [block] = known.blocks;
  if (observed.engine === null || block === undefined) return null;
  const { apiVersion, networks } = observed.engine;
  const { range, gateway, bridgeMtu: mtu } = desired;
  return planEngineNetwork(engineNetworkSpec({ range, block, gateway, mtu, apiVersion }), networks);
}

function engineActions(plan: EngineNetworkPlan | null): readonly HostAction[] {
  if (plan === null) return [{ kind: "reach-engine" }];
  if (plan.kind === "create") return [{ kind: "create-engine-network", spec: plan.spec }];
  if (plan.kind !== "recreate") return [];
  // The name is exclusive, so it is removed before it is created.
  return [
    { kind: "remove-engine-network", name: ENGINE_NETWORK },
    { kind: "create-engine-network", spec: plan.spec },
  ];
}

function describeLink({ peer, path, link, modes, relay }: ChosenLink): LinkRow {
  return {
    peer: peer.name,
    peerId: peer.id,
    mode: link.mode,
    why: link.why,
    mtu: link.mode === "none" ? null : link.mtu,
    via: relay?.name ?? null,
    encryption: link.mode === "wireguard" ? "wireguard" : "none",
    modes,
    deviceMtu: path?.mtu ?? null,
  };
}

function engineConditions(plan: EngineNetworkPlan | null): readonly Condition[] {
  if (plan === null) {
    const text = "The container engine does not answer: no container can be started or watched";
    return [{ code: "engine-down", severity: "error", text, hint: "See why: systemctl status docker" }];
  }
  if (plan.kind === "blocked") {
    const text = `Cannot prepare the container network: ${plan.why}`;
    return [{ code: "engine-network-wrong", severity: "error", text, hint: plan.hint }];
  }
  if (plan.kind !== "ready" || plan.fault === null) return [];
  const text = `The container network is not as it should be: ${plan.fault}; other hosts may not reach containers here`;
  const hint = `Stop the containers once, then the network is made anew: docker ps --filter network=${ENGINE_NETWORK}`;
  return [{ code: "engine-network-wrong", severity: "warning", text, hint }];
}

function clashCondition(clash: NonNullable<ReturnType<typeof checkRangeClash>>): Condition {
  return {
    code: "range-clash",
    severity: "error",
    text: `Cannot use container range ${clash.range}: this host routes ${clash.with.join(", ")} itself`,
    hint:
      clash.suggestion === null
        ? "Remove the host's route, or set up the cluster with a range that no host uses"
        : `Remove the host's route, or set up the cluster with a free range such as ${clash.suggestion}`,
  };
}

function conflictCondition(what: string): Condition {
  const text = `Cannot complete the container network: ${what}`;
  return { code: "network-conflict", severity: "error", text, hint: "Remove it or give it another name or range" };
}

function linkConditions({ peer, link, modes, facts, relay }: ChosenLink): readonly Condition[] {
  const { name } = peer;
  if (link.mode === "none") {
    const text = `Cannot reach containers on host "${name}": ${link.why}`;
    return [{ code: "peer-unreachable", severity: "warning", text, hint: "See the links: apollo net links" }];
  }
  const best = modes[0];
  if (best === link.mode || facts.cause === null) return [];
  const mode = relay === null ? link.mode : `host "${relay.name}" as relay`;
  const text = `Host "${name}" is reached through ${mode}${best === undefined ? "" : ` and not ${best}`}: ${facts.cause}`;
  return [{ code: "link-degraded", severity: "warning", text, hint: degradedCure(link, peer.address) }];
}

/** What usually stands in the way, by the mode that was left for it. */
function degradedCure(link: LinkMode, address: Ipv4): string {
  if (link.mode === "relay") {
    return `Let this host and ${address} reach each other (firewall, cable, switch): UDP 6783 and 6784; it is taken up by itself`;
  }
  return `Turn off source address checks (anti-spoofing, port security) for both hosts in the switch or cloud; it is tried again by itself`;
}
