import { DEFAULT_SETTINGS } from "../model/cluster.ts";
import { AppError } from "../model/error.ts";
import type { HostAction, KnownNetwork, ObservedHost } from "../network/plan-host.ts";
import { NETWORK_SYSCTLS, TUNNEL } from "../network/plan-network.ts";
import { NETWORK6_SYSCTLS } from "../network/plan-network6.ts";
import { WIREGUARD } from "../network/wireguard/plan-wireguard.ts";
import type { Peer } from "../model/host.ts";
import type { DeclaredNetwork } from "../network/declared-network.ts";
import { carriedNetworks } from "../network/declared-network.ts";
import type { Engine } from "../platform/ports/engine.ts";
import type { HostNetwork } from "../platform/ports/host-network.ts";
import type { AgentState } from "./agent-state.ts";

/** What the network part needs of an engine. */
export type NetworkEngine = Pick<Engine, "info" | "listNetworks" | "createNetwork" | "removeNetwork" | "watch">;

/** Null until this host has joined and holds a block. */
export function knownNetwork(state: AgentState): KnownNetwork | null {
  const { identity } = state;
  if (identity === null || identity.blocks.length === 0) return null;
  const declared = carriedNetworks(state.networkConfig.networks);
  const peers = [...state.peers.values()]
    .filter((peer) => peer.id !== identity.hostId)
    .map((peer) => ({ ...peer, blocks: [...peer.blocks, ...routedBlocks(peer, declared)] }));
  // An older server does not send the newer settings.
  const { range, range6, virtualRange, encryption, trustedRanges } = { ...DEFAULT_SETTINGS, ...identity.settings };
  const policy = { encryption, trustedRanges };
  const { blocks } = identity;
  const { linkFacts: facts, keys, probeAddress, resolverAt } = state;
  const virtual = state.networkConfig.virtuals.length > 0 ? { virtualRange } : {};
  const rules = { rules: state.rules(), rulesComplete: state.rulesComplete() };
  const ranges = { range, range6: range6 ?? null };
  const resolver = resolverAt === undefined ? {} : { resolverAt };
  return { ...ranges, ...resolver, blocks, probeAddress, peers, policy, facts, keys, declared, ...rules, ...virtual };
}

/** Blocks of declared networks take the same way as those of the default one. */
function routedBlocks({ blocks, networks = {} }: Peer, declared: readonly DeclaredNetwork[]): readonly string[] {
  if (blocks.length === 0) return [];
  return declared.flatMap(({ name, layer2 }) => (layer2 ? [] : (networks[name] ?? [])));
}

export async function observeHost(
  known: KnownNetwork,
  network: HostNetwork,
  engine: NetworkEngine,
): Promise<ObservedHost> {
  const { range6 = null } = known;
  const [kernel, seen, paths] = await Promise.all([
    network.observe({
      sysctls: range6 === null ? NETWORK_SYSCTLS : [...NETWORK_SYSCTLS, ...NETWORK6_SYSCTLS],
      range: known.range,
      range6,
      tunnelDevice: TUNNEL,
      wireguardDevice: WIREGUARD,
    }),
    observeEngine(engine),
    Promise.all(known.peers.map(async ({ address }) => [address, await network.pathTo(address)] as const)),
  ]);
  return { kernel, engine: seen, paths: new Map(paths) };
}

async function observeEngine(engine: NetworkEngine): Promise<ObservedHost["engine"]> {
  try {
    const [{ apiVersion }, networks] = await Promise.all([engine.info(), engine.listNetworks()]);
    return { apiVersion, networks };
  } catch (error) {
    // The kernel side goes on without the engine.
    if (error instanceof AppError && error.code === "unavailable") return null;
    throw error;
  }
}

export async function applyHostAction(action: HostAction, network: HostNetwork, engine: NetworkEngine): Promise<void> {
  switch (action.kind) {
    case "create-engine-network":
      await engine.createNetwork(action.spec);
      return;
    case "remove-engine-network":
      return engine.removeNetwork(action.name);
    case "reach-engine":
      await engine.info();
      return;
    default:
      return network.apply(action);
  }
}
