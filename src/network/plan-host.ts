import type { Peer } from "../model/host.ts";
import type { Ipv4 } from "../model/ip.ts";
import type { Condition } from "../model/wire.ts";
import type { EngineNetwork, EngineNetworkSpec } from "../platform/ports/engine.ts";
import type { NetworkAction, NetworkState } from "../platform/ports/host-network.ts";
import { checkRangeClash, gatewayOf } from "./blocks.ts";
import type { LinkMode, Path } from "./choose-link-mode.ts";
import { chooseLinkMode } from "./choose-link-mode.ts";
import type { EngineNetworkPlan } from "./plan-engine-network.ts";
import { ENGINE_NETWORK, engineNetworkSpec, planEngineNetwork } from "./plan-engine-network.ts";
import type { DesiredNetwork, DesiredPeer } from "./plan-network.ts";
import { BRIDGE, TUNNEL, bridgeReady, findNetworkConflicts, hostRanges, planNetwork } from "./plan-network.ts";
import { OUTSIDE_PART } from "./render-fronts.ts";
import type { RulesetPart } from "./render-ruleset.ts";
import { renderRuleset } from "./render-ruleset.ts";

const MTU_DEFAULT = 1500;

/** What the agent knows about the network it is part of. */
export interface KnownNetwork {
  readonly range: string;
  /** This host's. */
  readonly blocks: readonly string[];
  /** The other hosts. */
  readonly peers: readonly Peer[];
  /** What other parts want in our nftables table. */
  readonly rules: readonly RulesetPart[];
  /** Of the services' virtual addresses; null while there is none. */
  readonly virtualRange?: string | null;
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
  readonly mode: LinkMode["mode"];
  readonly why: string;
  readonly mtu: number | null;
}

export interface HostPlan {
  readonly actions: readonly HostAction[];
  readonly conditions: readonly Condition[];
  /** Set once containers and programs can use it. */
  readonly gateway: Ipv4 | null;
  readonly engineNetwork: { readonly name: string; readonly fixedAddresses: boolean } | null;
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
  const modes = known.peers
    .filter((peer) => peer.blocks.length > 0)
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map((peer) => ({
      peer,
      link: chooseLinkMode(peer.address, observed.paths.get(peer.address) ?? null, known.range),
    }));
  const virtual = planVirtualRange(known, kernel);
  const desired = desireNetwork({ ...known, ...virtual }, modes, kernel);
  const ready = bridgeReady(desired, kernel);
  const clash = checkRangeClash(known.range, hostRanges(kernel));
  const links = modes.map(({ peer, link }) => ({ peer: peer.name, ...describeLink(link) }));
  // A network that runs is kept running: a VPN that comes up later must not cut containers off.
  if (clash !== null && !ready) {
    const conditions = [clashCondition(clash)];
    return { actions: [], conditions, gateway: null, engineNetwork: null, links, peers: [], rules: [] };
  }
  const engine = planEngine(known, observed, desired);
  const conditions = [
    ...(clash === null ? [] : [clashCondition(clash)]),
    ...virtual.conditions,
    ...findNetworkConflicts(desired, kernel).map(conflictCondition),
    ...engineConditions(engine),
    ...modes.filter(({ link }) => link.mode === "none").map(({ peer, link }) => peerCondition(peer.name, link.why)),
  ];
  return {
    actions: [...planNetwork(desired, kernel), ...engineActions(engine)],
    conditions,
    gateway: ready ? gateway : null,
    engineNetwork:
      ready && engine?.kind === "ready" ? { name: engine.name, fixedAddresses: engine.fixedAddresses } : null,
    links,
    peers: desired.peers,
    rules: virtual.rules,
  };
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
    rules: rules.filter(({ name }) => name !== OUTSIDE_PART),
    conditions: [{ code: "virtual-range-clash", severity: "error", text, hint }],
  };
}

function desireNetwork(
  known: KnownNetwork,
  modes: readonly { readonly peer: Peer; readonly link: LinkMode }[],
  kernel: NetworkState,
): DesiredNetwork {
  const peers = modes.flatMap(({ peer, link }): DesiredPeer[] => {
    if (link.mode === "none") return [];
    const { mode, mtu, path } = link;
    const gateway = gatewayOf(peer.blocks);
    return [{ gateway, underlay: peer.address, blocks: peer.blocks, mode, device: path.device, mtu }];
  });
  const tunnelled = modes.flatMap(({ link }) => (link.mode === "vxlan" ? [link] : []));
  const local = tunnelled[0]?.path.source;
  return {
    range: known.range,
    virtualRange: known.virtualRange ?? null,
    gateway: gatewayOf(known.blocks),
    bridgeMtu: uplinkMtu(kernel),
    // One device for all tunnels: as wide as the widest path, each route narrows it for its own peer.
    tunnel: local === undefined ? null : { local, mtu: Math.max(...tunnelled.map((link) => link.mtu)) },
    peers,
    ruleset: renderRuleset({ range: known.range, bridge: BRIDGE, tunnel: TUNNEL, parts: known.rules }),
  };
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

function describeLink(link: LinkMode): Omit<LinkRow, "peer"> {
  return { mode: link.mode, why: link.why, mtu: link.mode === "none" ? null : link.mtu };
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

function peerCondition(name: string, why: string): Condition {
  const text = `Cannot reach containers on host "${name}": ${why}`;
  return { code: "peer-unreachable", severity: "warning", text, hint: "See the links: apollo status" };
}
