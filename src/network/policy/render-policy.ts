import { formatIpv4 } from "../../model/ip.ts";
import type { RulesetPart } from "../render-ruleset.ts";
import type { OpenPorts, PolicyGroup, PolicyPlan, SourceClass } from "./plan-policy.ts";
import { portsKey } from "./plan-policy.ts";

/** Refusals are kept by who asked whom for what, this long and this many, so that they can be explained. */
export const REFUSED_TIMEOUT = "1h";
export const REFUSED_MAX = 4096;

/** Name of the counter of what a group refused. */
export function refusalCounter(groupId: string): string {
  return `policy_d_${groupId}`;
}

export const REFUSED_SET = "policy_refused";

/**
 * The plan as nftables: new connections jump by destination to the chain of their group, from there by source to the ports.
 * A packet that is allowed returns to where it came from, since rules of others follow.
 * - Packets of connections that exist pass without a look-up. Those that began under former rules go on, as with Weave Net
 *   and Kubernetes: cutting them is what a restart of the client is for.
 * - Bridged packets come through `forward` by br_netfilter, with the bridge as their device.
 * - What root on the host itself sends passes: the agent's health checks, and whoever is root there can enter the container.
 */
export function renderPolicy({ groups }: PolicyPlan): RulesetPart | null {
  if (groups.length === 0) return null;
  const chains: Record<string, readonly string[]> = {};
  const sets: string[] = [
    `set ${REFUSED_SET} { type ipv4_addr . ipv4_addr . inet_proto . inet_service; flags dynamic,timeout; size ${REFUSED_MAX}; timeout ${REFUSED_TIMEOUT}; counter; }`,
  ];
  for (const group of groups) renderGroup(group, chains, sets);
  const bridges = [...new Set(groups.map(({ bridge }) => bridge))].toSorted();
  const forward: string[] = [];
  const egress: string[] = [];
  for (const [number, bridge] of bridges.entries()) {
    const elements = groups
      .filter((group) => group.bridge === bridge)
      .flatMap((group) => group.addresses.map((address) => `${address} : jump policy_${group.id}`));
    sets.push(`map policy_to${number} { type ipv4_addr : verdict; elements = { ${elements.join(", ")} }; }`);
    const look = `ct state != { established, related } oifname "${bridge}" ip daddr vmap @policy_to${number}`;
    forward.push(look);
    egress.push(`meta skuid != 0 ${look}`);
  }
  return { name: "policy", sets, chains, rules: { forward, egress } };
}

function renderGroup(group: PolicyGroup, chains: Record<string, readonly string[]>, sets: string[]): void {
  const name = `policy_${group.id}`;
  const refuse = [
    `add @${REFUSED_SET} { ip saddr . ip daddr . meta l4proto . th dport }`,
    `counter name ${refusalCounter(group.id)} drop`,
  ];
  sets.push(`counter ${refusalCounter(group.id)} { }`);
  const classes = new Map<string, { readonly chain: string; readonly ports: OpenPorts }>();
  const elements: string[] = [];
  let rest: string | null = null;
  for (const source of group.sources) {
    const key = portsKey(source.ports);
    const known = classes.get(key) ?? { chain: `${name}_${classes.size}`, ports: source.ports };
    classes.set(key, known);
    // `goto`: its end is the end of the group's chain.
    const verdict = source.ports === "all" ? "return" : `goto ${known.chain}`;
    if (source.first === 0 && source.last === 0xff_ff_ff_ff) rest = verdict;
    else elements.push(`${formatSpan(source)} : ${verdict}`);
  }
  for (const { chain, ports } of classes.values()) {
    if (ports === "all") continue;
    const open = ports.map(({ protocol, from, to }) => `${protocol} . ${from === to ? from : `${from}-${to}`}`);
    chains[chain] = [`meta l4proto . th dport { ${open.join(", ")} } return`, ...refuse];
  }
  const points = group.sources.every(({ first, last }) => first === last);
  if (elements.length > 0) {
    // A hash when there are only addresses, a tree when there are spans.
    const flags = points ? "" : " flags interval;";
    sets.push(`map ${name}_from { type ipv4_addr : verdict;${flags} elements = { ${elements.join(", ")} }; }`);
  }
  chains[name] = [
    ...(elements.length > 0 ? [`ip saddr vmap @${name}_from`] : []),
    ...(rest === null ? refuse : [rest]),
  ];
}

function formatSpan({ first, last }: SourceClass): string {
  return first === last ? formatIpv4(first) : `${formatIpv4(first)}-${formatIpv4(last)}`;
}
