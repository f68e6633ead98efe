import { z } from "zod";
import type { PolicyCountersJson } from "../api/native/shapes.ts";
import { AppError } from "../model/error.ts";
import { chooseParty } from "../network/policy/choose-parties.ts";
import { DropTotals } from "../network/policy/count-drops.ts";
import type { PolicyAnswer } from "../network/policy/explain-policy.ts";
import { explainPolicy } from "../network/policy/explain-policy.ts";
import type { PolicyPlan } from "../network/policy/plan-policy.ts";
import { guardedAddresses, planPolicy } from "../network/policy/plan-policy.ts";
import { refusalCounter, renderPolicy } from "../network/policy/render-policy.ts";
import { planPolicy6 } from "../network/policy/plan-policy6.ts";
import { joinParts, renderPolicy6 } from "../network/policy/render-policy6.ts";
import { SPOOF_COUNTERS, renderSourceCheck } from "../network/policy/render-source-check.ts";
import type { RulesetPart } from "../network/render-ruleset.ts";
import { settle } from "../platform/loop/settle.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Log } from "../platform/ports/log.ts";
import type { RuleCounters } from "../platform/ports/rule-counters.ts";
import type { AgentPart, AgentState } from "./agent-state.ts";
import type { Topic } from "./agent-events.ts";
import { findIdleSelectors, knownParties, policyInput, policyNetworks, policyPairs } from "./policy-input.ts";

export interface PolicyPartOptions {
  readonly state: AgentState;
  readonly counters: RuleCounters;
  readonly clock: Clock;
  readonly log: Log;
  /** Told which addresses of this host have rules, as CIDRs: their packets must pass the kernel's filter, both ways. */
  readonly onGuarded?: (cidrs: readonly string[]) => void;
}

/** A deployment starts containers by the dozen: one plan for those of a moment, soon enough that none waits for it. */
const SETTLE_MS = 50;
const COUNT_MS = 10_000;
const RECENT_MAX = 1000;
/** An engine that does not answer must not hold up the rules of all others for ever. */
const HOLD_MS = 10_000;
const POLICY_TOPICS: readonly Topic[] = ["identity", "network-config", "holders", "peers", "catalog"];

const whyShape = z.object({
  from: z.string().min(1).max(512),
  to: z.string().min(1).max(512),
  protocol: z.enum(["tcp", "udp", "other"]).default("tcp"),
  port: z.number().int().min(1).max(65_535).nullable().default(null),
});

/**
 * Turns what is declared and who is where into this host's rules, and answers what they do. The rules of a former agent stay
 * in the kernel until this one knows enough to replace them.
 */
export function createPolicyPart(options: PolicyPartOptions): AgentPart {
  const part = new PolicyPart(options);
  return { name: "policy", run: (signal) => part.run(signal) };
}

class PolicyPart {
  readonly #options: PolicyPartOptions;
  readonly #totals = new DropTotals();
  readonly #published = new Map<string, string>();
  #plan: PolicyPlan = { groups: [] };
  #conditions = "[]";
  #countFault = "";

  constructor(options: PolicyPartOptions) {
    this.#options = options;
    const { state } = options;
    state.expectRules("policy");
    state.expectRules("source");
    state.queries.register("policy-counters", () => this.#counters());
    state.queries.register("policy-why", async (fields) => this.#why(fields));
  }

  async run(signal: AbortSignal): Promise<void> {
    const { state, clock } = this.#options;
    const policy = settle(() => this.#updatePolicy(), SETTLE_MS, { clock, signal });
    const stops = POLICY_TOPICS.map((topic) => state.on(topic, policy));
    // A new port is what stands between a container and its first packet: no waiting here.
    stops.push(
      state.on("ports", () => this.#updateSource()),
      state.on("network-config", () => this.#updateSource()),
    );
    this.#updatePolicy();
    this.#updateSource();
    void clock.sleep(HOLD_MS, signal).then(() => {
      if (!signal.aborted) this.#release();
    });
    while (!signal.aborted) {
      await clock.sleep(COUNT_MS, signal);
      if (!signal.aborted && state.rules().some(({ name }) => name === "policy")) await this.#count();
    }
    for (const stop of stops) stop();
  }

  #updatePolicy(): void {
    const { state } = this.#options;
    const input = policyInput(state);
    if (input === null || !state.localHoldersKnown()) return;
    this.#plan = planPolicy(input);
    // First, so that no packet goes around rules that are there.
    this.#options.onGuarded?.(guardedAddresses(this.#plan).map((address) => `${address}/32`));
    const policy = renderPolicy(this.#plan);
    const pairs = policyPairs(state, input.holders);
    this.#publish("policy", policy === null ? null : joinParts(policy, renderPolicy6(planPolicy6(this.#plan, pairs))));
    const conditions = findIdleSelectors(input);
    const text = JSON.stringify(conditions);
    if (text === this.#conditions) return;
    this.#conditions = text;
    state.setConditions("policy", conditions);
  }

  #updateSource(): void {
    const { state } = this.#options;
    if (!state.portsKnown) return;
    const networks = policyNetworks(state);
    const strict = networks.filter(({ policy }) => policy === "deny");
    const layer2 = networks.filter((network) => network.layer2 === true).map(({ name }) => name);
    const ports = state.ports.filter(({ addresses }) => addresses.length > 0);
    this.#publish("source", renderSourceCheck(ports, strict, layer2));
  }

  /** What is not known by now goes without rules, until it is. */
  #release(): void {
    if (!this.#published.has("policy")) this.#publish("policy", null);
    if (!this.#published.has("source")) this.#publish("source", null);
  }

  /** Equal rules wake nobody. */
  #publish(name: string, rules: RulesetPart | null): void {
    const text = JSON.stringify(rules);
    if (this.#published.get(name) === text) return;
    this.#published.set(name, text);
    this.#options.state.setRules(name, rules);
  }

  async #count(): Promise<void> {
    try {
      this.#totals.observe(await this.#options.counters.packets());
      this.#countFault = "";
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      if (error.message !== this.#countFault) this.#options.log.warn(error.message, { hint: error.hint });
      this.#countFault = error.message;
    }
  }

  async #counters(): Promise<PolicyCountersJson> {
    const [recent] = await Promise.all([this.#options.counters.refusals(), this.#count()]);
    const refused: Record<string, number> = {};
    for (const { id, rules } of this.#plan.groups) {
      const packets = this.#totals.of(refusalCounter(id));
      for (const name of rules.length === 0 ? [""] : rules) refused[name] = (refused[name] ?? 0) + packets;
    }
    const spoofed = Object.entries(SPOOF_COUNTERS).map(([why, name]) => [why, this.#totals.of(name)] as const);
    return {
      host: this.#options.state.identity?.hostName ?? "",
      refused,
      spoofed: Object.fromEntries(spoofed),
      recent: recent.toSorted((a, b) => b.packets - a.packets).slice(0, RECENT_MAX),
    };
  }

  #why(fields: Readonly<Record<string, unknown>>): PolicyAnswer {
    const { state } = this.#options;
    const read = whyShape.safeParse(fields);
    if (!read.success) {
      const issue = read.error.issues[0];
      throw new AppError("invalid", `Cannot explain policy: ${issue?.path.join(".")}: ${issue?.message}`);
    }
    const input = policyInput(state);
    if (input === null) {
      throw new AppError("unavailable", "Cannot explain policy: this host has not joined a cluster yet", {
        hint: "apollo host list",
      });
    }
    const parties = knownParties(state);
    const { from, to, protocol, port } = read.data;
    const question = { from: chooseParty(from, parties), to: chooseParty(to, parties), protocol, port };
    return explainPolicy(input, question);
  }
}
