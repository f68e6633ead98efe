import type { Holder } from "../../model/holder.ts";
import type { Ipv4 } from "../../model/ip.ts";
import { DEFAULT_NETWORK, type PolicyRule } from "../../model/network-config.ts";
import { type Opening, planOpenings } from "../plan-openings.ts";
import type { Party } from "./choose-parties.ts";
import type { Flow } from "./choose-verdict.ts";
import { chooseVerdict, opensPort } from "./choose-verdict.ts";
import type { PolicyInput, PolicyPlan } from "./plan-policy.ts";
import { planPolicy } from "./plan-policy.ts";

/** Pairs of addresses with the same answer; the first pair stands for all. */
export interface PolicyCase {
  readonly allowed: boolean;
  /**
   * `outside`: the destination is no container. `same`: a container with itself. `open`: no rule means the destination.
   * `rule`: `by` allows it. `not-allowed`: the rules in `rules` close it and none allows it. `closed`: its network is
   * closed and no rule means the destination. `border`: they are on different networks, and no rule opens the border for them.
   */
  readonly reason: "outside" | "same" | "open" | "rule" | "not-allowed" | "closed" | "border";
  /** The first rule, by name, that allows it. */
  readonly by: string | null;
  /** Rules that mean the destination. */
  readonly rules: readonly string[];
  readonly network: string | null;
  /** Where it is enforced; null when it is not. */
  readonly host: string | null;
  readonly source: Ipv4;
  readonly destination: Ipv4;
  readonly pairs: number;
}

export interface PolicyAnswer {
  readonly from: Party;
  readonly to: Party;
  readonly protocol: Flow["protocol"];
  readonly port: number | null;
  readonly cases: readonly PolicyCase[];
  /** A command that would allow what is refused; null when nothing is. */
  readonly cure: string | null;
}

/** Of a thousand instances against a thousand this many pairs are looked at. */
const PAIRS_MAX = 10_000;

/** Why a connection is allowed or refused, by the same plans that the hosts enforce. */
export function explainPolicy(
  input: Omit<PolicyInput, "host">,
  question: Pick<PolicyAnswer, "from" | "to" | "protocol" | "port">,
): PolicyAnswer {
  const { from, to, protocol, port } = question;
  const holders = new Map(input.holders.map((holder) => [holder.address, holder]));
  const routed = new Set(input.networks.filter(isOpenable).map(({ name }) => name));
  const openings = planOpenings(input, routed);
  const members = new Set(input.holders.map((each) => memberKey(each, each.network)));
  const plans = new Map<string, PolicyPlan>();
  const cases = new Map<string, PolicyCase>();
  let pairs = 0;
  for (const destination of to.addresses) {
    const holder = holders.get(destination) ?? null;
    const plan = holder === null ? null : (plans.get(holder.host) ?? planPolicy({ ...input, host: holder.host }));
    if (holder !== null && plan !== null) plans.set(holder.host, plan);
    for (const source of from.addresses) {
      if ((pairs += 1) > PAIRS_MAX) break;
      const flow: Flow = { source, destination, protocol, port: port ?? 0 };
      const from = holders.get(source) ?? null;
      // One that is on both networks is on the destination's.
      const apart = from !== null && holder !== null && !members.has(memberKey(from, holder.network));
      const crosses = apart && !opens(openings, flow);
      const one = explainPair(input, flow, { holder, plan, crosses });
      const key = JSON.stringify([one.reason, one.by, one.rules, one.host]);
      const known = cases.get(key);
      cases.set(key, { ...(known ?? one), pairs: (known?.pairs ?? 0) + 1 });
    }
  }
  const all = [...cases.values()];
  const refused = all.find(({ allowed }) => !allowed);
  return {
    from,
    to,
    protocol,
    port,
    cases: all,
    cure: refused === undefined ? null : cureFor(question, refused, { routed, holders }),
  };
}

function memberKey({ host, container }: Holder, network: string): string {
  return JSON.stringify([host, container, network]);
}

/** Between such networks a rule opens the border. */
function isOpenable({ name, layer2 = false }: PolicyInput["networks"][number]): boolean {
  return !layer2 && name !== DEFAULT_NETWORK;
}

function opens(openings: readonly Opening[], flow: Flow): boolean {
  return openings.some(
    ({ from, to, ports }) =>
      from.addresses.includes(flow.source) && to.addresses.includes(flow.destination) && opensPort(ports, flow),
  );
}

function explainPair(
  input: Omit<PolicyInput, "host">,
  flow: Flow,
  {
    holder,
    plan,
    crosses,
  }: { readonly holder: Holder | null; readonly plan: PolicyPlan | null; readonly crosses: boolean },
): PolicyCase {
  const { source, destination } = flow;
  const base = { by: null, rules: [], network: holder?.network ?? null, host: null, source, destination, pairs: 1 };
  if (holder === null || plan === null) return { ...base, allowed: true, reason: "outside" };
  if (source === destination) return { ...base, allowed: true, reason: "same" };
  if (crosses) return { ...base, allowed: false, reason: "border", host: holder.host };
  const { allowed, group } = chooseVerdict(plan, flow);
  if (group === null) return { ...base, allowed, reason: "open" };
  const closing = { ...base, allowed, rules: group.rules, host: holder.host };
  if (!allowed) return { ...closing, reason: group.rules.length === 0 ? "closed" : "not-allowed" };
  const by = group.rules.find((name) => allowsAlone(input, name, { flow, host: holder.host })) ?? null;
  return { ...closing, reason: "rule", by };
}

/** Whether the rule allows it without the help of others: a plan of this rule alone. */
function allowsAlone(
  input: Omit<PolicyInput, "host">,
  name: string,
  { flow, host }: { readonly flow: Flow; readonly host: string },
): boolean {
  const rules: readonly PolicyRule[] = input.rules.filter((rule) => rule.name === name);
  const holders = input.holders.filter(({ address }) => address === flow.source || address === flow.destination);
  return chooseVerdict(planPolicy({ ...input, holders, rules, host }), flow).allowed;
}

function cureFor(
  { from, to, protocol, port }: Pick<PolicyAnswer, "from" | "to" | "protocol" | "port">,
  { network, reason, source }: PolicyCase,
  { routed, holders }: { readonly routed: ReadonlySet<string>; readonly holders: ReadonlyMap<Ipv4, Holder> },
): string | null {
  const own = holders.get(source)?.network ?? "";
  if (reason === "border" && !(routed.has(own) && routed.has(network ?? ""))) return null;
  const name = `${nameOf(from)}-to-${nameOf(to)}`.slice(0, 60).replace(/-+$/, "");
  const ports = port === null || protocol === "other" ? "" : ` --port ${port}/${protocol}`;
  const where = network === null || network === "apollo" ? "" : ` --network ${network}`;
  const across = reason === "border" ? `network=${own},` : "";
  return `apollo policy put ${name} --from ${across}${from.selector} --to ${to.selector}${ports}${where}`;
}

function nameOf({ selector }: Party): string {
  const text = selector.slice(selector.indexOf("=") + 1);
  const name = selector === "host=any" ? "hosts" : text;
  return (
    name
      .toLowerCase()
      .replaceAll(/[^a-z0-9]+/g, "-")
      .replaceAll(/^-+|-+$/g, "") || "any"
  );
}
