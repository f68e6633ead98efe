import type { RulesetPart } from "../render-ruleset.ts";
import type { PolicyGroup6 } from "./plan-policy6.ts";
import { portsKey } from "./plan-policy.ts";
import type { OpenPorts } from "./plan-policy.ts";
import { REFUSED_MAX, REFUSED_TIMEOUT, refusalCounter } from "./render-policy.ts";

export const REFUSED6_SET = "policy_refused6";

/**
 * IPv6's share of the part `policy`, to be joined with `renderPolicy`, whose counters it uses. Neighbour discovery passes:
 * connection tracking does not know it as anybody's reply, and without it nobody is reached.
 */
export function renderPolicy6(groups: readonly PolicyGroup6[]): Omit<RulesetPart, "name"> {
  if (groups.length === 0) return { sets: [], chains: {}, rules: {} };
  const sets = [
    `set ${REFUSED6_SET} { type ipv6_addr . ipv6_addr . inet_proto . inet_service; flags dynamic,timeout; size ${REFUSED_MAX}; timeout ${REFUSED_TIMEOUT}; counter; }`,
  ];
  const chains: Record<string, readonly string[]> = {};
  for (const group of groups) renderGroup(group, chains, sets);
  const bridges = [...new Set(groups.map(({ bridge }) => bridge))].toSorted();
  const looks = bridges.map((bridge, number) => {
    const elements = groups
      .filter((group) => group.bridge === bridge)
      .flatMap((group) => group.addresses.map((address) => `${address} : jump policy6_${group.id}`));
    sets.push(`map policy6_to${number} { type ipv6_addr : verdict; elements = { ${elements.join(", ")} }; }`);
    return `ct state != { established, related } oifname "${bridge}" ip6 daddr vmap @policy6_to${number}`;
  });
  return { sets, chains, rules: { forward: looks, egress: looks.map((look) => `meta skuid != 0 ${look}`) } };
}

function renderGroup(group: PolicyGroup6, chains: Record<string, readonly string[]>, sets: string[]): void {
  const name = `policy6_${group.id}`;
  const refuse = [
    `add @${REFUSED6_SET} { ip6 saddr . ip6 daddr . meta l4proto . th dport }`,
    `counter name ${refusalCounter(group.id)} drop`,
  ];
  const classes = new Map<string, string>();
  const verdictOf = (ports: OpenPorts): string => {
    if (ports === "all") return "return";
    const chain = classes.get(portsKey(ports)) ?? `${name}_${classes.size}`;
    classes.set(portsKey(ports), chain);
    const open = ports.map(({ protocol, from, to }) => `${protocol} . ${from === to ? from : `${from}-${to}`}`);
    chains[chain] = [`meta l4proto . th dport { ${open.join(", ")} } return`, ...refuse];
    return `goto ${chain}`;
  };
  const elements = group.sources.map(({ address, ports }) => `${address} : ${verdictOf(ports)}`);
  if (elements.length > 0) {
    sets.push(`map ${name}_from { type ipv6_addr : verdict; elements = { ${elements.join(", ")} }; }`);
  }
  chains[name] = [
    "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } return",
    ...(elements.length > 0 ? [`ip6 saddr vmap @${name}_from`] : []),
    ...(group.rest === null ? refuse : [verdictOf(group.rest)]),
  ];
}

/** One part of both. */
export function joinParts(part: RulesetPart, other: Omit<RulesetPart, "name">): RulesetPart {
  const chains = [
    ...new Set([...Object.keys(part.rules), ...Object.keys(other.rules)]),
  ] as (keyof RulesetPart["rules"])[];
  return {
    ...part,
    sets: [...part.sets, ...other.sets],
    chains: { ...part.chains, ...other.chains },
    rules: Object.fromEntries(
      chains.map((chain) => [chain, [...(part.rules[chain] ?? []), ...(other.rules[chain] ?? [])]]),
    ),
  };
}
