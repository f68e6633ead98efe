import { AppError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import type { HostAction, HostPlan, KnownNetwork, LinkRow, ObservedHost } from "../network/plan-host.ts";
import { planHost } from "../network/plan-host.ts";
import { NETWORK_SYSCTLS, TUNNEL } from "../network/plan-network.ts";
import { ReconcileLoop } from "../platform/loop/reconcile-loop.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Engine } from "../platform/ports/engine.ts";
import type { HostNetwork } from "../platform/ports/host-network.ts";
import type { AgentPart, AgentState } from "./agent-state.ts";

export interface NetworkPart extends AgentPart {
  /** Address of this host inside the range; null until containers can use it. */
  gateway(): Ipv4 | null;
  /** Where containers are started; null until it is there. */
  engineNetwork(): { readonly name: string; readonly fixedAddresses: boolean } | null;
  linkTable(): readonly LinkRow[];
}

export interface NetworkPartOptions {
  readonly state: AgentState;
  readonly engine: Engine;
  readonly network: HostNetwork;
  readonly clock: Clock;
  readonly log: (level: "info" | "warn", message: string, details?: Readonly<Record<string, unknown>>) => void;
}

/** Container starts change links in bursts; one look a quarter of a second is soon enough to heal and cheap enough. */
const SETTLE_MS = 250;
const NOTHING: HostPlan = { actions: [], conditions: [], gateway: null, engineNetwork: null, links: [] };

/** Keeps kernel and engine network of this host as the cluster wants them. Publishes by topic `conditions`. */
export function createNetworkPart({ state, engine, network, clock, log }: NetworkPartOptions): NetworkPart {
  let current = NOTHING;
  let published = "";
  let lastActions = "";
  const failures = new Set<string>();

  const loop = new ReconcileLoop<ObservedHost | null, HostAction>(
    {
      name: "network",
      observe: () => observeHost(knownNetwork(state), network, engine),
      plan: (observed) => {
        const known = knownNetwork(state);
        current = known === null || observed === null ? NOTHING : planHost(known, observed);
        return current.actions;
      },
      apply: (action) => applyAction(action, network, engine),
    },
    {
      clock,
      onFailure: (error, action) => {
        if (failures.has(error.message)) return;
        failures.add(error.message);
        log("warn", error.message, { action, hint: error.hint, ...error.details });
      },
      onPass: (clean, actions) => {
        if (clean) failures.clear();
        const text = JSON.stringify(actions);
        if (clean && actions.length > 0) log("info", "network changed", { actions: actions.map(({ kind }) => kind) });
        // What was done shows in the next pass; one that plans the same again would never end.
        if (clean && actions.length > 0 && text !== lastActions) loop.poke();
        lastActions = text;
        publish();
      },
    },
  );

  function publish(): void {
    const { conditions, gateway, engineNetwork } = current;
    const text = JSON.stringify([conditions, gateway, engineNetwork]);
    if (text === published) return;
    published = text;
    state.setConditions("network", conditions);
  }

  async function run(signal: AbortSignal): Promise<void> {
    const poke = (): void => loop.poke();
    const settle = pokeSettled(poke, clock, signal);
    const ends = [state.on("identity", poke), state.on("peers", poke)];
    await Promise.all([
      loop.run(signal),
      network.watch(settle, signal),
      engine.watch((event) => (event.kind === "container" ? undefined : settle()), signal),
    ]);
    for (const end of ends) end();
  }

  return {
    name: "network",
    run,
    gateway: () => current.gateway,
    engineNetwork: () => current.engineNetwork,
    linkTable: () => current.links,
  };
}

/** Folds a burst of events into one poke, `SETTLE_MS` after its first. */
function pokeSettled(poke: () => void, clock: Clock, signal: AbortSignal): () => void {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    void clock.sleep(SETTLE_MS, signal).then(() => {
      waiting = false;
      poke();
    });
  };
}

function knownNetwork(state: AgentState): KnownNetwork | null {
  const { identity } = state;
  if (identity === null || identity.blocks.length === 0) return null;
  const peers = [...state.peers.values()].filter((peer) => peer.id !== identity.hostId);
  return { range: identity.settings.range, blocks: identity.blocks, peers };
}

async function observeHost(
  known: KnownNetwork | null,
  network: HostNetwork,
  engine: Engine,
): Promise<ObservedHost | null> {
  if (known === null) return null;
  const [kernel, seen, paths] = await Promise.all([
    network.observe({ sysctls: NETWORK_SYSCTLS, range: known.range, tunnelDevice: TUNNEL }),
    observeEngine(engine),
    Promise.all(known.peers.map(async ({ address }) => [address, await network.pathTo(address)] as const)),
  ]);
  return { kernel, engine: seen, paths: new Map(paths) };
}

async function observeEngine(engine: Engine): Promise<ObservedHost["engine"]> {
  try {
    const [{ apiVersion }, networks] = await Promise.all([engine.info(), engine.listNetworks()]);
    return { apiVersion, networks };
  } catch (error) {
    // The kernel side goes on without the engine.
    if (error instanceof AppError && error.code === "unavailable") return null;
    throw error;
  }
}

async function applyAction(action: HostAction, network: HostNetwork, engine: Engine): Promise<void> {
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
