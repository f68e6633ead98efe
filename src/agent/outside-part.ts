import { virtual6Of } from "../network/address6.ts";
import { gatewayOf } from "../network/blocks.ts";
import type { Front } from "../network/plan-fronts.ts";
import { planFronts } from "../network/plan-fronts.ts";
import { BRIDGE } from "../network/plan-network.ts";
import { planStaleFlows } from "../network/plan-stale-flows.ts";
import { OUTSIDE6_PART, OUTSIDE_PART, localAddresses, renderFronts, renderFronts6 } from "../network/render-fronts.ts";
import type { RulesetPart } from "../network/render-ruleset.ts";
import type { Endpoint } from "../model/endpoint.ts";
import type { Cidr6 } from "../model/ip6.ts";
import type { AppError } from "../model/error.ts";
import type { Condition } from "../model/wire.ts";
import { ReconcileLoop, type Subject } from "../platform/loop/reconcile-loop.ts";
import { settle } from "../platform/loop/settle.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { HostTraffic, TrafficState, UdpFlow } from "../platform/ports/host-traffic.ts";
import type { Log } from "../platform/ports/log.ts";
import type { AgentPart, AgentState } from "./agent-state.ts";
import type { Topic } from "./agent-events.ts";

export interface OutsidePartOptions {
  readonly state: AgentState;
  readonly traffic: HostTraffic;
  readonly clock: Clock;
  readonly log: Log;
}

/** The catalog changes in bursts while apps start; the whole table is replaced once for each. */
const SETTLE_MS = 20;
/** A program that began or ceased to listen on a published port is noticed within this. */
const RESYNC_MS = 10_000;
const TOPICS: readonly Topic[] = ["catalog", "assignments", "identity", "network-config", "ports", "served-rules"];

interface Seen {
  readonly traffic: TrafficState;
  /** Null when nobody asked. */
  readonly udp: Awaited<ReturnType<HostTraffic["listUdpFlows"]>> | null;
  /** Of the bridge ports that need it. */
  readonly withoutReturn: readonly string[];
}

/** Of both families; null where there is nothing to answer. */
interface Parts {
  readonly four: RulesetPart | null;
  readonly six: RulesetPart | null;
}

const NO_PARTS: Parts = { four: null, six: null };

type OutsideAction =
  | { readonly kind: "put-rules"; readonly parts: Parts }
  | { readonly kind: "end-flow"; readonly flow: UdpFlow }
  | { readonly kind: "allow-return"; readonly port: string };

/**
 * Answers virtual addresses and published ports on this host: gives the network part their rules, ends UDP flows to
 * endpoints that are gone once the kernel has the rules without them, and says which catalog revision is served so.
 */
export function createOutsidePart(options: OutsidePartOptions): AgentPart {
  const part = new OutsidePart(options);
  return { name: OUTSIDE_PART, run: (signal) => part.run(signal) };
}

class OutsidePart implements Subject<Seen | null, OutsideAction> {
  readonly name = OUTSIDE_PART;
  readonly #options: OutsidePartOptions;
  readonly #loop: ReconcileLoop<Seen | null, OutsideAction>;
  #fronts: readonly Front[] = [];
  /** UDP ports of the host that were published and are no more, until their flows are ended. */
  #retired: readonly Front[] = [];
  #parts = NO_PARTS;
  #text = JSON.stringify(NO_PARTS);
  /** The UDP fronts whose stale flows were ended. */
  #cleaned = "[]";
  #cleaning: string | null = null;
  #planned: { readonly epoch: string; readonly revision: number; readonly active: boolean } | null = null;
  #counts = false;
  #conditions: readonly Condition[] = [];
  #reported = "[]";

  constructor(options: OutsidePartOptions) {
    this.#options = options;
    const { state, clock, log } = options;
    this.#loop = new ReconcileLoop<Seen | null, OutsideAction>(this, {
      clock,
      resyncMs: RESYNC_MS,
      onFailure: (error, action) => {
        log.warn("outside: step failed", { error: error.message, code: error.code, action: action?.kind });
        this.#failed(error, action);
      },
      onPass: (clean) => this.#passed(clean),
    });
    // What an agent before this one put into the kernel serves until we know better.
    if (this.#isActive()) for (const name of [OUTSIDE_PART, OUTSIDE6_PART]) state.expectRules(name);
    this.#count();
    // From the start, not from `run`: between the news and our pass nothing of it counts as served.
    state.on("network-config", () => this.#count());
  }

  /** From now on a catalog is served by this host when we serve it, too. */
  #count(): void {
    if (!this.#isActive() || this.#counts) return;
    this.#counts = true;
    this.#options.state.setApplied(OUTSIDE_PART, 0);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { state, clock } = this.#options;
    const poke = settle(() => this.#loop.poke(), SETTLE_MS, { clock, signal });
    const offs = TOPICS.map((topic) => state.on(topic, poke));
    await this.#loop.run(signal);
    for (const off of offs) off();
  }

  #isActive(): boolean {
    const { virtuals, publications } = this.#options.state.networkConfig;
    return virtuals.length > 0 || publications.length > 0;
  }

  async observe(): Promise<Seen | null> {
    const { state, traffic } = this.#options;
    this.#planned = null;
    if (state.identity === null || (!this.#isActive() && this.#isEmpty() && this.#retired.length === 0)) return null;
    const udpText = this.#udpText();
    // Before the kernel has the rules, the next packet would make a flow of the old kind again.
    const cleanNow = this.#isServed("complete") && udpText !== this.#cleaned;
    this.#cleaning = cleanNow ? udpText : null;
    const [seen, udp, withoutReturn] = await Promise.all([
      traffic.observe(),
      cleanNow ? traffic.listUdpFlows(this.#virtual6() === null ? [4] : [4, 6]) : null,
      traffic.portsWithoutReturn(this.#returning()),
    ]);
    return { traffic: seen, udp, withoutReturn };
  }

  plan(seen: Seen | null): readonly OutsideAction[] {
    const { state } = this.#options;
    const { identity } = state;
    if (identity === null) return [];
    this.#planned = { epoch: identity.epoch, revision: state.catalogRevision, active: seen !== null };
    this.#conditions = [];
    if (seen === null) return state.expectsRules(OUTSIDE_PART) ? [{ kind: "put-rules", parts: NO_PARTS }] : [];
    const { virtualRange, range, range6 = null } = identity.settings;
    const virtual6 = this.#virtual6();
    const { fronts, conditions } = planFronts({
      config: state.networkConfig,
      endpoints: this.#endpoints(),
      hostName: identity.hostName,
      hostLabels: state.labels,
      busyPorts: seen.traffic.busyPorts,
      virtual6,
    });
    this.#conditions = conditions;
    const hasVirtuals = state.networkConfig.virtuals.length > 0;
    const around = { gateway: gatewayOf(identity.blocks), bridge: BRIDGE };
    const { bridgeSeen, bridgeSeen6 } = seen.traffic;
    const four = { ...around, bridgeSeen, range, blocks: identity.blocks };
    const six = { ...around, bridgeSeen: bridgeSeen6, virtual6: hasVirtuals ? virtual6 : null };
    const parts: Parts = {
      four: renderFronts(fronts, { ...four, virtualRange: hasVirtuals ? virtualRange : null }),
      six: range6 === null ? null : renderFronts6(fronts, { ...six, range6 }),
    };
    const returns = seen.traffic.bridgeSeen ? seen.withoutReturn : [];
    const actions: OutsideAction[] = returns.map((port) => ({ kind: "allow-return", port }));
    this.#take(fronts);
    if (JSON.stringify(parts) !== this.#text || state.expectsRules(OUTSIDE_PART)) {
      this.#cleaning = null;
      return [...actions, { kind: "put-rules", parts }];
    }
    if (seen.udp === null) return actions;
    const { flows, addresses } = seen.udp;
    const hostAddresses = addresses;
    const stale = planStaleFlows({ fronts: this.#udpFronts(), flows, virtualRange, virtual6, hostAddresses });
    return [...actions, ...stale.map((flow): OutsideAction => ({ kind: "end-flow", flow }))];
  }

  async apply(action: OutsideAction): Promise<void> {
    const { state, traffic } = this.#options;
    switch (action.kind) {
      case "put-rules":
        this.#parts = action.parts;
        this.#text = JSON.stringify(action.parts);
        // First, so that no answer to a translated connection passes by the kernel's table of connections.
        state.setSlowRanges(OUTSIDE_PART, { policy: [], virtual: this.#virtualRanges(action.parts.four) });
        this.#putRules();
        return;
      case "end-flow":
        return traffic.endUdpFlows(action.flow);
      case "allow-return":
        return traffic.allowReturn(action.port);
    }
  }

  #putRules(): void {
    const { state } = this.#options;
    state.setRules(OUTSIDE_PART, this.#parts.four);
    state.setRules(OUTSIDE6_PART, this.#parts.six);
  }

  #isEmpty(): boolean {
    return this.#parts.four === null && this.#parts.six === null;
  }

  /** Where the virtual addresses have their IPv6 twins; null in a cluster without IPv6. */
  #virtual6(): Cidr6 | null {
    const { range6 = null, virtualRange = "" } = this.#options.state.identity?.settings ?? {};
    return range6 === null ? null : virtual6Of(range6, virtualRange);
  }

  #virtualRanges(part: RulesetPart | null): readonly string[] {
    const { identity, networkConfig } = this.#options.state;
    return part === null || identity === null || networkConfig.virtuals.length === 0
      ? []
      : [identity.settings.virtualRange];
  }

  /**
   * A restarted agent does not yet know its own host's endpoints, and their absence must not empty the rules that the kernel
   * has: until they are known, the server's last word on them counts.
   */
  #endpoints(): readonly Endpoint[] {
    const { state } = this.#options;
    if (state.localKnown) return state.endpoints();
    const name = state.identity?.hostName;
    const own = state.snapshot().endpoints.filter(({ host, origin }) => host === name && origin !== "registry");
    return [...state.endpoints(), ...own];
  }

  #take(fronts: readonly Front[]): void {
    const keyOf = ({ family, id }: Front): string => `${family} ${id}`;
    const keys = new Set(fronts.map(keyOf));
    const gone = [...this.#retired, ...this.#fronts].filter(
      (front) => front.protocol === "udp" && front.address === null && !keys.has(keyOf(front)),
    );
    this.#retired = [...new Map(gone.map((front) => [keyOf(front), { ...front, backends: [] }])).values()];
    this.#fronts = fronts;
  }

  #udpFronts(): readonly Front[] {
    // A port that one publication gave up and another one has is the other's.
    const keyOf = ({ family, port }: Front): string => `${family} ${port}`;
    const taken = new Set(this.#fronts.filter(({ address }) => address === null).map(keyOf));
    return [...this.#fronts, ...this.#retired.filter((front) => !taken.has(keyOf(front)))].filter(
      ({ protocol }) => protocol === "udp",
    );
  }

  #udpText(): string {
    return JSON.stringify(this.#udpFronts());
  }

  /** Where frames must be let back to their own container: at those with an endpoint of ours. */
  #returning(): Parameters<HostTraffic["portsWithoutReturn"]>[0] {
    const { state } = this.#options;
    const blocks = state.identity?.blocks ?? [];
    const local = new Set(this.#fronts.flatMap((front) => localAddresses(front.backends, blocks)));
    const known = state.ports.filter((port) => port.addresses.some((address) => local.has(address)));
    for (const address of known.flatMap(({ addresses }) => addresses)) local.delete(address);
    return { ports: known.map(({ device }) => device), addresses: [...local] };
  }

  /**
   * Whether the kernel's table has our parts. `orLess`: one that it lacks is fine, since a table without our part sends nobody
   * anywhere, so nothing old, either. False while that is not known.
   */
  #isServed(how: "complete" | "orLess"): boolean {
    const { servedRules } = this.#options.state;
    if (servedRules === null) return false;
    const { four, six } = this.#parts;
    return [[OUTSIDE_PART, four] as const, [OUTSIDE6_PART, six] as const].every(([name, wanted]) => {
      const served = servedRules.find((part) => part.name === name) ?? null;
      // A host without IPv6 leaves that part out for good.
      return served === wanted || (served === null && (how === "orLess" || name === OUTSIDE6_PART));
    });
  }

  #failed(error: AppError, action?: OutsideAction): void {
    this.#planned = null;
    // Others must not wait for what does not come.
    if (action === undefined) this.#putRules();
    this.#conditions = [
      {
        code: "outside-failed",
        severity: "warning",
        text: `Virtual addresses and published ports may be out of date: ${error.message}`,
        hint: error.hint ?? "It is tried again; see the agent's log",
      },
    ];
  }

  #passed(clean: boolean): void {
    const { state } = this.#options;
    const text = JSON.stringify(this.#conditions);
    if (text !== this.#reported) state.setConditions(OUTSIDE_PART, this.#conditions);
    this.#reported = text;
    if (!clean) return;
    if (this.#cleaning !== null) {
      this.#retired = [];
      this.#cleaned = this.#udpText();
    }
    if (this.#planned === null || !this.#isServed("orLess")) return;
    const { epoch, revision, active } = this.#planned;
    // Another server may have come meanwhile: a revision of the former one would be taken for one of its own.
    if (state.identity?.epoch !== epoch || (this.#isActive() && !active)) return;
    this.#counts = this.#isActive();
    state.setApplied(OUTSIDE_PART, this.#counts ? revision : null);
  }
}
