import { isIpv4 } from "../model/ip.ts";
import type { ClusterSettings } from "../model/cluster.ts";
import type { Ipv4 } from "../model/ip.ts";
import { formatCidr6, type Ipv6 } from "../model/ip6.ts";
import type { Condition } from "../model/wire.ts";
import { AppError } from "../model/error.ts";
import { virtual6Of } from "../network/address6.ts";
import { gatewayOf } from "../network/blocks.ts";
import { carriedNetworks } from "../network/declared-network.ts";
import type { EnginePlan } from "../network/plan-declared-engine.ts";
import { planDeclaredEngine } from "../network/plan-declared-engine.ts";
import type { DesiredSegments, SegmentPlan } from "../network/plan-declared-networks.ts";
import { planDeclaredNetworks } from "../network/plan-declared-networks.ts";
import { planOpenings } from "../network/plan-openings.ts";
import { DECLARED_PART, renderDeclaredNetworks } from "../network/render-declared-networks.ts";
import { ReconcileLoop } from "../platform/loop/reconcile-loop.ts";
import { settle } from "../platform/loop/settle.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Engine, EngineNetwork, EngineNetworkSpec } from "../platform/ports/engine.ts";
import type { Log } from "../platform/ports/log.ts";
import type { SegmentAction, SegmentNetwork, SegmentState } from "../platform/ports/segment-network.ts";
import type { AgentPart, AgentState } from "./agent-state.ts";
import type { NetworkBook } from "./network-book.ts";

export interface DeclaredNetworksPartOptions {
  readonly state: AgentState;
  readonly segments: SegmentNetwork;
  readonly engine: Pick<Engine, "listNetworks" | "createNetwork" | "removeNetwork">;
  readonly book: NetworkBook;
  readonly clock: Clock;
  readonly log: Log;
  /** Of the default network on this host; null until it is there, without which there are no others. */
  readonly gateway: () => Ipv4 | null;
  /** Of the same by IPv6; null while containers of this host have none. */
  readonly gateway6: () => Ipv6 | null;
}

export interface DeclaredNetworksPart extends AgentPart {
  /** Engine networks that containers can be started on. */
  usable(): ReadonlySet<string>;
}

type Action =
  | SegmentAction
  | { readonly kind: "create-engine-network"; readonly spec: EngineNetworkSpec }
  | { readonly kind: "remove-engine-network"; readonly name: string };

interface Observed {
  readonly segments: SegmentState;
  /** Null when the engine does not answer. */
  readonly engine: readonly EngineNetwork[] | null;
}

const SETTLE_MS = 100;
/** Also how often unused blocks are looked at. */
const RESYNC_MS = 10_000;
/** Where no network is declared there are no blocks, and a look is half a dozen processes. */
const RESYNC_IDLE_MS = 30_000;
/** What the networks follow from. */
const TOPICS = ["identity", "peers", "network-config", "conditions", "served-rules", "holders"] as const;
const NOTHING: SegmentPlan = { actions: [], ready: [], conditions: [] };
const NO_ENGINE: EnginePlan = { create: [], remove: [], usable: [], conditions: [] };

/** Keeps bridges, tunnels, borders and the engine's networks of declared networks. */
export function createDeclaredNetworksPart(options: DeclaredNetworksPartOptions): DeclaredNetworksPart {
  const { state, book, clock, log, gateway, gateway6 } = options;
  let [current, engines] = [NOTHING, NO_ENGINE];
  let [told, rules, lastActions] = ["", "", "[]"];
  const failures = new Map<string, AppError>();

  function publishRules(): void {
    const { identity } = state;
    if (identity === null) return;
    const part = bordersOf(state, identity.settings);
    const text = JSON.stringify(part);
    if (text === rules) return;
    rules = text;
    state.setRules(DECLARED_PART, part);
  }

  const loop = new ReconcileLoop<Observed | null, Action>(
    {
      name: "networks",
      observe: async () => {
        publishRules();
        book.publish();
        // Only bridges behind borders: the ruleset is in the kernel before them.
        return gateway() === null || !bordersServed(state) ? null : observeAll(options);
      },
      plan: (observed) => {
        const own = gateway();
        if (observed === null || own === null) return [];
        const range6 = gateway6() === null ? null : (state.identity?.settings.range6 ?? null);
        current = planDeclaredNetworks({ ...desireSegments(state, own), range6 }, observed.segments);
        engines = observed.engine === null ? NO_ENGINE : planDeclaredEngine(current.ready, observed.engine);
        return inOrder(current, engines);
      },
      apply: (action) => applyTo(options, action),
    },
    {
      clock,
      resyncMs: () => (carriedNetworks(state.networkConfig.networks).length === 0 ? RESYNC_IDLE_MS : RESYNC_MS),
      onFailure: (error) => {
        if (!failures.has(error.message)) log.warn(error.message, { hint: error.hint, ...error.details });
        failures.set(error.message, error);
      },
      onPass: (clean, actions) => {
        const text = JSON.stringify(actions);
        if (clean) failures.clear();
        if (clean && actions.length > 0)
          log.info("declared networks changed", { actions: actions.map(({ kind }) => kind) });
        // Failed ones follow by themselves; what was done shows in the next pass.
        if (clean && actions.length > 0 && text !== lastActions) loop.poke();
        lastActions = text;
        publish();
      },
    },
  );

  function publish(): void {
    state.setDeclared(current.ready);
    const failed = [...failures.values()].map(failedCondition);
    const conditions = [...current.conditions, ...engines.conditions, ...failed];
    const text = JSON.stringify([conditions, engines.usable]);
    if (text === told) return;
    told = text;
    state.setConditions("networks", conditions);
  }

  return {
    name: "networks",
    usable: () => new Set(engines.usable),
    run: async (signal) => {
      const changed = settle(() => loop.poke(), SETTLE_MS, { clock, signal });
      const stops = TOPICS.map((topic) => state.on(topic, changed));
      await loop.run(signal);
      for (const stop of stops) stop();
    },
  };
}

function bordersOf(
  state: AgentState,
  { range, range6 = null, virtualRange }: ClusterSettings,
): ReturnType<typeof renderDeclaredNetworks> {
  const networks = carriedNetworks(state.networkConfig.networks);
  const routed = networks.filter(({ layer2 }) => !layer2).map(({ name }) => name);
  return renderDeclaredNetworks({
    networks,
    range,
    range6,
    virtual6: range6 === null ? null : formatCidr6(virtual6Of(range6, virtualRange)),
    hosts: hostGateways(state),
    openings: planOpenings({ rules: state.networkConfig.policies, holders: state.holders() }, new Set(routed)),
  });
}

async function observeAll({ segments, engine }: DeclaredNetworksPartOptions): Promise<Observed> {
  const [seen, networks] = await Promise.all([segments.observe(), listNetworks(engine)]);
  return { segments: seen, engine: networks };
}

async function applyTo({ segments, engine }: DeclaredNetworksPartOptions, action: Action): Promise<void> {
  if (action.kind === "create-engine-network") await engine.createNetwork(action.spec);
  else if (action.kind === "remove-engine-network") await engine.removeNetwork(action.name);
  else await segments.apply(action);
}

/** The engine's networks go before the bridges that they stand for. */
function inOrder({ actions }: SegmentPlan, { remove, create }: EnginePlan): readonly Action[] {
  return [
    ...remove.map((name) => ({ kind: "remove-engine-network", name }) as const),
    ...actions,
    ...create.map((spec) => ({ kind: "create-engine-network", spec }) as const),
  ];
}

function desireSegments(state: AgentState, local: Ipv4): DesiredSegments {
  const peers = [...state.peers.values()].filter(
    ({ id, blocks }) => id !== state.identity?.hostId && blocks.length > 0,
  );
  return {
    local,
    networks: carriedNetworks(state.networkConfig.networks).map((network) => ({
      ...network,
      hosts: peers
        .filter(({ networks }) => network.layer2 && (networks?.[network.name] ?? []).length > 0)
        .map(({ blocks }) => gatewayOf(blocks)),
    })),
  };
}

/** Gateway addresses of all hosts, this one included. */
function hostGateways(state: AgentState): readonly Ipv4[] {
  const blocks = [state.identity?.blocks ?? [], ...[...state.peers.values()].map((peer) => peer.blocks)];
  return [...new Set(blocks.flatMap((each) => (each.length === 0 ? [] : [gatewayOf(each)])))].filter(isIpv4);
}

function bordersServed(state: AgentState): boolean {
  const wanted = state.rules().find(({ name }) => name === DECLARED_PART);
  if (wanted === undefined) return true;
  return state.servedRules?.includes(wanted) === true;
}

async function listNetworks(engine: DeclaredNetworksPartOptions["engine"]): Promise<readonly EngineNetwork[] | null> {
  try {
    return await engine.listNetworks();
  } catch (error) {
    if (error instanceof AppError) return null;
    throw error;
  }
}

function failedCondition({ message: text, hint }: AppError): Condition {
  return { code: "network-not-carried", severity: "warning", text, hint: hint ?? "See the agent's log" };
}
