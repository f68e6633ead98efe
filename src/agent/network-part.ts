import type { AppError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import type { Ipv6 } from "../model/ip6.ts";
import type { Condition } from "../model/wire.ts";
import type {
  HostAction,
  HostPlan,
  KnownNetwork,
  LinkRow,
  ObservedHost,
  ReadyEngineNetwork,
} from "../network/plan-host.ts";
import { planHost } from "../network/plan-host.ts";
import { ReconcileLoop } from "../platform/loop/reconcile-loop.ts";
import { settle } from "../platform/loop/settle.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { HostNetwork } from "../platform/ports/host-network.ts";
import type { Log } from "../platform/ports/log.ts";
import type { AgentPart, AgentState } from "./agent-state.ts";
import type { Topic } from "./agent-events.ts";
import type { NetworkEngine } from "./network-subject.ts";
import { applyHostAction, knownNetwork, observeHost } from "./network-subject.ts";

export interface NetworkPart extends AgentPart {
  /** Address of this host inside the range; null until containers can use it. */
  gateway(): Ipv4 | null;
  /** The same by IPv6; null where the cluster or this host has none. */
  gateway6(): Ipv6 | null;
  /** Where containers are started; null until it is there. */
  engineNetwork(): ReadyEngineNetwork | null;
  /** The path to each peer, by name. */
  linkTable(): readonly LinkRow[];
}

export interface NetworkPartOptions {
  readonly state: AgentState;
  readonly engine: NetworkEngine;
  readonly network: HostNetwork;
  readonly clock: Clock;
  readonly log: Log;
}

/** Container starts change links in bursts; one look a quarter of a second is soon enough to heal and cheap enough. */
const SETTLE_MS = 250;
/** A host may change its WireGuard key; while no server can tell, only the next look shows it, and until then it is cut off. */
const FOLLOW_KEYS_MS = 5000;
const NOTHING: HostPlan = {
  actions: [],
  conditions: [],
  gateway: null,
  gateway6: null,
  engineNetwork: null,
  links: [],
  peers: [],
  rules: [],
};

/** What is wanted as of the moment that was looked at: a peer that came since has not been looked for. */
interface Seen {
  readonly known: KnownNetwork;
  readonly observed: ObservedHost;
}

/** Keeps kernel and engine network of this host as the cluster wants them; emits `conditions` when an answer changed. */
// oxlint-disable-next-line max-lines-per-function -- closures over one state, none of them long
export function createNetworkPart({ state, engine, network, clock, log }: NetworkPartOptions): NetworkPart {
  let current = NOTHING;
  let published = "";
  let shown = "";
  let lastActions = "[]";
  const failures = new Failures();

  const loop = new ReconcileLoop<Seen | null, HostAction>(
    {
      name: "network",
      observe: async () => {
        const known = knownNetwork(state);
        return known === null ? null : { known, observed: await observeHost(known, network, engine) };
      },
      plan: (seen) => {
        current = seen === null ? NOTHING : planHost(seen.known, seen.observed);
        const changes = current.actions.some(({ kind }) => kind === "put-ruleset");
        // What an earlier agent put there and is kept for now is not what the parts here want.
        const complete = seen?.known.rulesComplete !== false;
        if (current.gateway !== null && !changes && complete) state.setServedRules(current.rules);
        return current.actions;
      },
      apply: async (action) => {
        await applyHostAction(action, network, engine);
        if (action.kind === "put-ruleset") state.setServedRules(current.rules);
      },
    },
    {
      clock,
      onFailure: (error, action) => {
        if (!failures.add(error)) return;
        log.warn(error.message, { action, hint: error.hint, ...error.details });
      },
      onPass: (clean, actions) => {
        const text = JSON.stringify(actions);
        if (clean && actions.length > 0) log.info("network changed", { actions: actions.map(({ kind }) => kind) });
        failures.endPass();
        // What was done shows in the next pass, so that follows at once; one that plans the same again would never end.
        if (clean && actions.length > 0 && text !== lastActions) loop.poke();
        lastActions = clean ? text : "[]";
        publish();
      },
    },
  );

  function publish(): void {
    const { gateway, gateway6, engineNetwork, links, peers } = current;
    // What the engine is asked while it is down is explained already.
    const explained = current.conditions.some(({ code }) => code === "engine-down");
    const conditions = [...current.conditions, ...(explained ? [] : failures.conditions())];
    const rows = JSON.stringify(links);
    if (rows !== shown) state.setLinkRows(links);
    shown = rows;
    // A pass that saw nothing says nothing about the ways.
    if (current !== NOTHING) state.setWays(peers);
    if (engineNetwork !== null) state.setEngineRange(engineNetwork.ipRange);
    const text = JSON.stringify([conditions, gateway, gateway6, engineNetwork]);
    if (text === published) return;
    published = text;
    state.setConditions("network", conditions);
  }

  async function run(signal: AbortSignal): Promise<void> {
    const poke = (): void => loop.poke();
    const changed = settle(poke, SETTLE_MS, { clock, signal });
    const topics: readonly Topic[] = [
      "identity",
      "peers",
      "rules",
      "keys",
      "link-facts",
      "network-config",
      "probe-address",
      "resolver",
    ];
    const ends = topics.map((topic) => state.on(topic, poke));
    const watchEngine = engine.watch(({ kind }) => (kind === "container" ? undefined : changed()), signal);
    const follow = every(FOLLOW_KEYS_MS, { clock, signal }, () => {
      if (!state.connected && current.peers.some(({ mode }) => mode === "wireguard")) poke();
    });
    await Promise.all([loop.run(signal), network.watch(changed, signal), watchEngine, follow]);
    for (const end of ends) end();
  }

  return {
    name: "network",
    run,
    gateway: () => current.gateway,
    gateway6: () => current.gateway6,
    engineNetwork: () => current.engineNetwork,
    linkTable: () => current.links,
  };
}

async function every(
  ms: number,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
  body: () => void,
): Promise<void> {
  while (!signal.aborted) {
    await clock.sleep(ms, signal);
    if (!signal.aborted) body();
  }
}

/** A failure that comes this often in a row is not a change under way. */
const LASTING_PASSES = 3;

/** What the kernel or the engine refuses, pass after pass. */
class Failures {
  #now = new Map<string, AppError>();
  #lasting: ReadonlyMap<string, { readonly error: AppError; readonly passes: number }> = new Map();

  /** False when the pass before, or this one, has had the same. */
  add(error: AppError): boolean {
    const fresh = !this.#now.has(error.message) && !this.#lasting.has(error.message);
    this.#now.set(error.message, error);
    return fresh;
  }

  endPass(): void {
    const passesOf = (message: string): number => (this.#lasting.get(message)?.passes ?? 0) + 1;
    this.#lasting = new Map([...this.#now].map(([text, error]) => [text, { error, passes: passesOf(text) }]));
    this.#now = new Map();
  }

  conditions(): readonly Condition[] {
    return [...this.#lasting.values()]
      .filter(({ passes }) => passes >= LASTING_PASSES)
      .map(({ error }) => ({
        code: "network-not-applied",
        severity: "error",
        text: error.message,
        hint: error.hint ?? "It is tried again each second; apollo net doctor shows what stands in the way",
      }));
  }
}
