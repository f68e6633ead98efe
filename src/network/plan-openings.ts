/**
 * Where policy opens the border between two declared networks, both routed: a rule that holds in one and names the other in its
 * `from`. What it names there may begin connections with what its `to` means, and nobody else with anybody: a border is closed to
 * all that no rule opens it for, whatever the networks' own policy is. Policy looks at the same packets afterwards, as always.
 */
import type { Holder } from "../model/holder.ts";
import { ipv4ToNumber, type Ipv4 } from "../model/ip.ts";
import type { Ipv6 } from "../model/ip6.ts";
import type { PolicyRule, Selector } from "../model/network-config.ts";
import { HolderIndex } from "./policy/choose-holders.ts";
import { findSpan, mergeSpans, type OpenPorts } from "./policy/plan-policy.ts";

/** Addresses of containers, sorted. */
export interface OpenEnd {
  readonly addresses: readonly Ipv4[];
  readonly addresses6: readonly Ipv6[];
}

export interface Opening {
  /** Of the rule. */
  readonly name: string;
  readonly from: OpenEnd;
  readonly to: OpenEnd;
  readonly ports: OpenPorts;
}

/** Sorted by name; those that let nobody through are left out. @param routed names of the declared networks that are routed */
export function planOpenings(
  { rules, holders }: { readonly rules: readonly PolicyRule[]; readonly holders: readonly Holder[] },
  routed: ReadonlySet<string>,
): readonly Opening[] {
  const opening = rules.filter((rule) => routed.has(rule.network) && crossing(rule, routed).length > 0);
  if (opening.length === 0) return [];
  const inside = holders.filter(({ network }) => routed.has(network));
  const index = new HolderIndex(inside, []);
  return opening
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map((rule): Opening => {
      const own = inside.filter(({ network }) => network === rule.network);
      return {
        name: rule.name,
        from: endOf(chosen(inside, crossing(rule, routed), index)),
        to: endOf(rule.to.length === 0 ? own : chosen(own, rule.to, index)),
        ports: rule.ports.length === 0 ? "all" : rule.ports,
      };
    })
    .filter(({ from, to }) => from.addresses.length > 0 && to.addresses.length > 0);
}

/** Selectors that name another network than the rule's own. */
function crossing({ network: own, from }: PolicyRule, routed: ReadonlySet<string>): readonly Selector[] {
  return from.filter(({ network }) => network !== undefined && network !== own && routed.has(network));
}

function chosen(holders: readonly Holder[], selectors: readonly Selector[], index: HolderIndex): readonly Holder[] {
  const spans = mergeSpans(index.spansOf(selectors));
  return holders.filter(({ address }) => findSpan(spans, ipv4ToNumber(address)) !== null);
}

function endOf(holders: readonly Holder[]): OpenEnd {
  return {
    addresses: [...new Set(holders.map(({ address }) => address))].toSorted(),
    addresses6: [...new Set(holders.flatMap(({ address6 }) => address6 ?? []))].toSorted(),
  };
}
