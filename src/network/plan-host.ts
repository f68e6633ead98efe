import type { Peer } from "../model/host.ts";
import type { HostId } from "../model/ids.ts";
import type { Ipv4 } from "../model/ip.ts";
import { cidrAddress, isIpv4, parseCidr } from "../model/ip.ts";
import type { HostAddress, Ipv6 } from "../model/ip6.ts";
import { formatCidr6 } from "../model/ip6.ts";
import { isFixedBlock } from "../model/lease.ts";
import type { Condition } from "../model/wire.ts";
import type { EngineNetwork, EngineNetworkSpec } from "../platform/ports/engine.ts";
import type { NetworkAction, NetworkState } from "../platform/ports/host-network.ts";
import { checkRangeClash, gatewayOf, probeAddressOf } from "./blocks.ts";
import type { LinkMode, OwnMode, Path } from "./choose-link-mode.ts";
import { overheadOf } from "./choose-link-mode.ts";
import type { ChosenLink, LinkWants } from "./choose-links.ts";
import { chooseLinks, desirePeers } from "./choose-links.ts";
import type { DeclaredNetwork } from "./declared-network.ts";
import { bridgeOf } from "./declared-network.ts";
import type { LinkCountersWish } from "./links/render-link-counters.ts";
import { renderLinkCounters } from "./links/render-link-counters.ts";
import type { EngineNetworkPlan } from "./plan-engine-network.ts";
import {
  ENGINE_NETWORK,
  engineNetworkSpec,
  findDefaultBridge,
  mayGiveAway,
  planEngineNetwork,
} from "./plan-engine-network.ts";
import type { DesiredNetwork, DesiredPeer } from "./plan-network.ts";
import { BRIDGE, TUNNEL_PORT, bridgeReady, findNetworkConflicts, hostRanges, planNetwork } from "./plan-network.ts";
import type { DesiredNetwork6 } from "./plan-network6.ts";
import { bridge6Ready, conditions6, desireNetwork6, findClash6, planNetwork6 } from "./plan-network6.ts";
import { OUTSIDE6_PART, OUTSIDE_PART } from "./render-fronts.ts";
import type { RulesetPart } from "./render-ruleset.ts";
import { renderRuleset } from "./render-ruleset.ts";
import {
  bridgeFilterConditions,
  clashCondition,
  conflictCondition,
  engineConditions,
  linkConditions,
  mixedConditions,
  wireguardConditions,
} from "./host-conditions.ts";
import { renderEncryption } from "./wireguard/render-encryption.ts";

const MTU_DEFAULT = 1500;

/** What the agent knows about the network it is part of. */
export interface KnownNetwork extends LinkWants {
  /** This host's. */
  readonly blocks: readonly string[];
  /** The one that this host has taken to be probed at; null or missing where it is the first of the first block. */
  readonly probeAddress?: Ipv4 | null;
  /**
   * The address at which the host's resolver asks our DNS, as far as it can be led there; null: not yet; missing: nothing to wait for.
   */
  readonly resolverAt?: Ipv4 | null;
  /** What other parts want in our nftables table. */
  readonly rules: readonly RulesetPart[];
  /** False while some of them are still to come: a ruleset that is there stays until then. Missing is true. */
  readonly rulesComplete?: boolean;
  /** Of the services' virtual addresses; null while there is none. */
  readonly virtualRange?: string | null;
  /** Networks beside the default one. */
  readonly declared?: readonly DeclaredNetwork[];
  /** Of containers' IPv6 addresses; null or missing for none. */
  readonly range6?: string | null;
}

/** What one pass sees of this host. */
export interface ObservedHost {
  readonly kernel: NetworkState;
  /** Null when the engine cannot be reached. */
  readonly engine: { readonly apiVersion: string; readonly networks: readonly EngineNetwork[] } | null;
  /** How the kernel reaches each peer's own address. */
  readonly paths: ReadonlyMap<HostAddress, Path | null>;
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

export interface ReadyEngineNetwork {
  readonly name: string;
  readonly fixedAddresses: boolean;
  /** What it hands out by itself; null for all of it. */
  readonly ipRange: string | null;
  /** Containers on it have IPv6 addresses, of this part of the range (CIDR text); missing: none. */
  readonly host6?: string;
}

export interface HostPlan {
  readonly actions: readonly HostAction[];
  readonly conditions: readonly Condition[];
  /** Set once containers and programs can use it. */
  readonly gateway: Ipv4 | null;
  readonly engineNetwork: ReadyEngineNetwork | null;
  /** Set once containers and programs can use it by IPv6. */
  readonly gateway6: Ipv6 | null;
  readonly links: readonly LinkRow[];
  /** How the blocks of the other hosts are reached. */
  readonly peers: readonly DesiredPeer[];
  /** The parts that the planned table is made of. */
  readonly rules: readonly RulesetPart[];
}

/** Kernel first, then the engine's network on top of it: a Docker network on a bridge that exists adopts it. */
export function planHost(known: KnownNetwork, observed: ObservedHost): HostPlan {
  const { kernel } = observed;
  const gateway = gatewayOf(known.blocks);
  const modes = chooseLinks(known, observed.paths);
  const virtual = planVirtualRange(known, kernel);
  const range6 = known.range6 ?? null;
  const usable6 = range6 !== null && (kernel.ip6 ?? null) !== null && findClash6(range6, kernel).length === 0;
  // A kernel that has none takes no rules of that family, and with them none of the table.
  const rules = usable6 ? virtual.rules : virtual.rules.filter(({ name }) => name !== OUTSIDE6_PART);
  const desired = desireNetwork({ ...known, ...virtual, rules, range6: usable6 ? range6 : null }, modes, observed);
  const desired6 = usable6 ? desireNetwork6(range6, desired, kernel) : null;
  const ready = bridgeReady(desired, kernel);
  const clash = checkRangeClash(known.range, hostRanges(kernel));
  const links = modes.map(describeLink);
  // A network that runs is kept running: a VPN that comes up later must not cut containers off.
  if (clash !== null && !ready) {
    const conditions = [clashCondition(clash)];
    return { ...NOTHING_READY, conditions, links };
  }
  const engine = planEngine(known, observed, { desired, desired6 });
  const conditions = [
    ...(clash === null ? [] : [clashCondition(clash)]),
    ...virtual.conditions,
    ...findNetworkConflicts(desired, kernel).map(conflictCondition),
    ...wireguardConditions(desired, kernel),
    ...engineConditions(engine),
    ...bridgeFilterConditions(known.rules, kernel),
    ...modes.flatMap(linkConditions),
    ...mixedConditions(modes, desired.peers),
    ...(range6 === null ? [] : conditions6(range6, desired6, { peers: desired.peers, observed: kernel })),
  ];
  const first = planNetwork(desired, kernel);
  return {
    actions: [
      ...first,
      ...planNetwork6(desired6, kernel, first),
      ...engineActions(engine, isResolverLed(known, gateway)),
    ],
    conditions,
    gateway: ready ? gateway : null,
    gateway6: desired6 !== null && ready && bridge6Ready(desired6, kernel) ? desired6.gateway : null,
    engineNetwork: ready && engine?.kind === "ready" ? readyNetwork(engine, desired6) : null,
    links,
    peers: desired.peers,
    rules,
  };
}

const NOTHING_READY: Omit<HostPlan, "conditions" | "links"> = {
  actions: [],
  gateway: null,
  gateway6: null,
  engineNetwork: null,
  peers: [],
  rules: [],
};

function readyNetwork(
  { name, fixedAddresses, ipRange, ip6 }: EngineNetworkPlan & { readonly kind: "ready" },
  desired6: DesiredNetwork6 | null,
): ReadyEngineNetwork {
  const six = ip6 && desired6 !== null ? { host6: formatCidr6(desired6.host6) } : {};
  return { name, fixedAddresses, ipRange, ...six };
}

/** A host that uses the range of the virtual addresses itself keeps it: everything of ours on it is left out. */
function planVirtualRange(
  known: KnownNetwork,
  kernel: NetworkState,
): {
  readonly virtualRange: string | null;
  readonly rules: readonly RulesetPart[];
  readonly conditions: readonly Condition[];
} {
  const { virtualRange = null, rules } = known;
  const clash = virtualRange === null ? null : checkRangeClash(virtualRange, [known.range, ...hostRanges(kernel)]);
  if (clash === null) return { virtualRange, rules, conditions: [] };
  const text = `Cannot serve virtual addresses and publications: ${clash.with.join(", ")} of this host overlaps their range ${clash.range}`;
  const hint =
    clash.suggestion === null
      ? "Remove the host's route, or set up the cluster with a virtual range that no host uses"
      : `Remove the host's route, or set up the cluster with a free virtual range such as ${clash.suggestion}`;
  return {
    virtualRange: null,
    rules: rules.filter(({ name }) => name !== OUTSIDE_PART && name !== OUTSIDE6_PART),
    conditions: [{ code: "virtual-range-clash", severity: "error", text, hint }],
  };
}

function desireNetwork(known: KnownNetwork, links: readonly ChosenLink[], observed: ObservedHost): DesiredNetwork {
  const { kernel } = observed;
  const tunnelled = links.flatMap(({ link, facts, path }) => {
    const used = (link.mode === "vxlan" || facts.testing === "vxlan") && path !== null;
    return used
      ? [{ source: path.source, mtu: link.mode === "vxlan" ? link.mtu : path.mtu - overheadOf("vxlan", path.source) }]
      : [];
  });
  const local = tunnelled[0]?.source;
  const peers = desirePeers(links).filter((peer) => local === undefined || fitsTunnel(peer, local));
  const encrypted = peers.filter(({ mode }) => mode === "wireguard");
  const own = known.keys?.publicKey;
  const inside = [BRIDGE, ...(known.declared ?? []).map(({ vni }) => bridgeOf(vni))];
  const encryption = renderEncryption({
    range: known.range,
    others: (known.declared ?? []).filter(({ layer2 }) => !layer2).map(({ range }) => range),
    range6: known.range6 ?? null,
    inside,
    sealed: known.policy?.encryption === "required",
    used: encrypted.length > 0,
    probes: [asProbed(known), ...known.peers].flatMap(probesOf),
    tunnelPort: TUNNEL_PORT,
  });
  const probed = encrypted.length > 0 || (known.facts ?? null) !== null;
  return {
    range: known.range,
    range6: known.range6 ?? null,
    routed: (known.declared ?? []).filter(({ layer2 }) => !layer2),
    virtualRange: known.virtualRange ?? null,
    gateway: gatewayOf(known.blocks),
    bridgeMtu: uplinkMtu(kernel),
    // One device for all tunnels: as wide as the widest path, each route narrows it for its own peer.
    tunnel: local === undefined ? null : { local, mtu: Math.max(...sameFamily(tunnelled, local)) },
    wireguard:
      own === undefined || encrypted.length === 0
        ? null
        : { publicKey: own, mtu: Math.max(...encrypted.map(({ mtu }) => mtu)) },
    peers,
    keepRuleset: known.rulesComplete === false,
    ruleset: renderRuleset({
      range: known.range,
      range6: known.range6 ?? null,
      bridge: BRIDGE,
      parts: [
        ...known.rules,
        ...(encryption === null ? [] : [encryption]),
        ...(known.peers.length === 0 ? [] : [renderLinkCounters({ ...countedBy(known), inside })]),
      ],
    }),
    probeAddress: probed && mayHaveProbeAddress(known, observed) ? probeAddressOf(asProbed(known)) : null,
  };
}

/**
 * An engine whose default bridge is ours gives the block's first address to its first container, so there it is not the host's:
 * the host has none until it has taken another one. While the engine is away, what is there stays.
 */
function mayHaveProbeAddress({ blocks, probeAddress = null }: KnownNetwork, { kernel, engine }: ObservedHost): boolean {
  if (probeAddress !== null) return true;
  const first = probeAddressOf({ blocks });
  if (engine !== null) {
    const own = findDefaultBridge(engine.networks);
    return own === undefined || !mayGiveAway(first, { fixedAddresses: false, ipRange: own.ipRange });
  }
  const bridge = kernel.links.find(({ name }) => name === BRIDGE);
  return bridge === undefined || bridge.addresses.some(({ address }) => address === first);
}

/** Further blocks are as large as the first one at least. */
function countedBy({
  range,
  range6 = null,
  blocks,
  peers,
  declared = [],
}: KnownNetwork): Omit<LinkCountersWish, "inside"> {
  return {
    range,
    range6,
    blockPrefix: parseCidr(blocks[0] ?? range).prefix,
    fixed: peers.flatMap((peer) => peer.blocks.filter(isFixedBlock).map((block) => cidrAddress(parseCidr(block), 0))),
    routed: declared.filter(({ layer2 }) => !layer2),
  };
}

/** This host as the others see it. */
function asProbed({ blocks, probeAddress = null }: KnownNetwork): Pick<Peer, "blocks" | "probeAddress"> {
  return probeAddress === null ? { blocks } : { blocks, probeAddress };
}

/** The one tunnel device has one end: a peer of the other family is not behind it. */
function fitsTunnel({ mode, underlay, relay, candidate }: DesiredPeer, local: HostAddress): boolean {
  if (![mode, relay?.mode, candidate?.mode].includes("vxlan")) return true;
  return isIpv4(relay?.underlay ?? underlay) === isIpv4(local);
}

function sameFamily(
  tunnelled: readonly { readonly source: HostAddress; readonly mtu: number }[],
  local: HostAddress,
): readonly number[] {
  return tunnelled.filter(({ source }) => isIpv4(source) === isIpv4(local)).map(({ mtu }) => mtu);
}

function probesOf(host: Pick<Peer, "blocks" | "probeAddress">): readonly Ipv4[] {
  return host.blocks.length === 0 ? [] : [probeAddressOf(host)];
}

/** Containers send what the way out carries; paths that carry less have it on their route. */
function uplinkMtu(kernel: NetworkState): number {
  const uplink = kernel.routes.find((route) => route.destination === "0.0.0.0/0")?.device;
  return kernel.links.find((link) => link.name === uplink)?.mtu ?? MTU_DEFAULT;
}

function planEngine(
  known: KnownNetwork,
  observed: ObservedHost,
  { desired, desired6 }: { readonly desired: DesiredNetwork; readonly desired6: DesiredNetwork6 | null },
): EngineNetworkPlan | null {
  const [block] = known.blocks;
  if (observed.engine === null || block === undefined) return null;
  const { apiVersion, networks } = observed.engine;
  const { range, gateway, bridgeMtu: mtu } = desired;
  const spec = engineNetworkSpec({ range, block, gateway, mtu, apiVersion, six: desired6 });
  return planEngineNetwork(spec, networks, block);
}

/** A container keeps for its life the resolver that its host had at its start: until that is ours, there is nothing to start it on. */
function isResolverLed({ resolverAt }: KnownNetwork, gateway: Ipv4): boolean {
  return resolverAt === undefined || resolverAt === gateway;
}

function engineActions(plan: EngineNetworkPlan | null, mayMake: boolean): readonly HostAction[] {
  if (plan === null) return [{ kind: "reach-engine" }];
  if (!mayMake) return [];
  if (plan.kind === "create") return [{ kind: "create-engine-network", spec: plan.spec }];
  if (plan.kind !== "recreate") return [];
  // The name is exclusive, so it is removed before it is created.
  return [
    { kind: "remove-engine-network", name: ENGINE_NETWORK },
    { kind: "create-engine-network", spec: plan.spec },
  ];
}

function describeLink({ peer, path, link, modes, encrypted, relay }: ChosenLink): LinkRow {
  return {
    peer: peer.name,
    peerId: peer.id,
    mode: link.mode,
    why: link.why,
    mtu: link.mode === "none" ? null : link.mtu,
    via: relay?.name ?? null,
    encryption: encrypted ? "wireguard" : "none",
    modes,
    deviceMtu: path?.mtu ?? null,
  };
}
