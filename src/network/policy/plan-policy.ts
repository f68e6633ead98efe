/**
 * Policy for one host, out of what is declared for all of them.
 *
 * Rules allow. A container that some rule's `to` means is closed to all but what its rules allow; one that no rule means
 * is as its network is: open to all, or closed (`deny`). Containers with the same rules form a group, most often the
 * instances of an app, and each group gets a table from source address to the ports that are open to it. Asking is then
 * two look-ups, whatever the number of rules: the group by destination, the ports by source.
 *
 * The tables come from a sweep: the spans of addresses that a group's rules allow are cut where one begins or ends, and
 * between two cuts every address has the same rules.
 */
import type { Holder } from "../../model/holder.ts";
import type { Ipv4 } from "../../model/ip.ts";
import { ipv4ToNumber } from "../../model/ip.ts";
import type { PolicyRule } from "../../model/network-config.ts";
import type { Span } from "./choose-holders.ts";
import { EVERYONE, HolderIndex, contains } from "./choose-holders.ts";

export interface PolicyNetwork {
  readonly name: string;
  /** The bridge that its containers are on. */
  readonly bridge: string;
  readonly policy: "open" | "deny";
  /** Its addresses say nothing outside of it. Missing is false. */
  readonly layer2?: boolean;
  /** Of such a network: its bridge's port to the other hosts. */
  readonly tunnel?: string;
}

export interface PolicyInput {
  readonly networks: readonly PolicyNetwork[];
  readonly rules: readonly PolicyRule[];
  /** Of the whole cluster. */
  readonly holders: readonly Holder[];
  /** Every address that a host of the cluster sends from. */
  readonly hostAddresses: readonly Ipv4[];
  /** Name of the host to plan for. */
  readonly host: string;
}

export interface PortRange {
  readonly protocol: "tcp" | "udp";
  readonly from: number;
  readonly to: number;
}

/** `all` is every port and every protocol, ICMP too. */
export type OpenPorts = "all" | readonly PortRange[];

/** Sources with the same rights. */
export interface SourceClass extends Span {
  readonly ports: OpenPorts;
}

/** Containers of one network on this host with the same rules. */
export interface PolicyGroup {
  /** Follows from network and rules alone, so that counters keep their meaning. */
  readonly id: string;
  readonly network: string;
  readonly bridge: string;
  /** Names of the rules that mean these containers; none when it is the network that closes them. */
  readonly rules: readonly string[];
  /** Sorted, not overlapping; a source in none of them is refused. */
  readonly sources: readonly SourceClass[];
  /** Sorted. */
  readonly addresses: readonly Ipv4[];
}

export interface PolicyPlan {
  /** Sorted by id. A container in no group is open to all. */
  readonly groups: readonly PolicyGroup[];
}

export function planPolicy(input: PolicyInput): PolicyPlan {
  const segments = new Set(input.networks.flatMap(({ name, layer2 }) => (layer2 === true ? [name] : [])));
  // Two segments may have the same addresses: what one rule means by them must not open the other.
  const routed = input.holders.filter(({ network }) => !segments.has(network));
  const shared = new HolderIndex(routed, input.hostAddresses);
  const groups = input.networks.flatMap((network) => {
    const own = input.holders.filter((holder) => holder.network === network.name);
    return planNetworkGroups(network, input, network.layer2 === true ? new HolderIndex(own, []) : shared);
  });
  return { groups: groups.toSorted((a, b) => (a.id < b.id ? -1 : 1)) };
}

/** Containers of this host with rules, sorted: whatever goes around the kernel's filter must not go to or from them. */
export function guardedAddresses({ groups }: PolicyPlan): readonly Ipv4[] {
  return groups.flatMap(({ addresses }) => addresses).toSorted((a, b) => ipv4ToNumber(a) - ipv4ToNumber(b));
}

function planNetworkGroups(network: PolicyNetwork, input: PolicyInput, index: HolderIndex): readonly PolicyGroup[] {
  const local = input.holders.filter((holder) => holder.host === input.host && holder.network === network.name);
  const rules = input.rules
    .filter((rule) => rule.network === network.name)
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const meant = new Map<Ipv4, PolicyRule[]>(local.map(({ address }) => [address, []]));
  for (const rule of rules) {
    for (const address of destinationsOf(rule, [...meant.keys()], index)) meant.get(address)?.push(rule);
  }
  const byRules = new Map<string, { readonly rules: readonly PolicyRule[]; readonly addresses: Ipv4[] }>();
  for (const [address, own] of meant) {
    if (own.length === 0 && network.policy === "open") continue;
    const key = own.map(({ name }) => name).join(" ");
    const group = byRules.get(key);
    if (group === undefined) byRules.set(key, { rules: own, addresses: [address] });
    else group.addresses.push(address);
  }
  const sourcesOf = new Map(rules.map((rule) => [rule, index.spansOf(rule.from)]));
  return [...byRules].map(([key, group]) => ({
    id: groupId(`${network.name} ${key}`),
    network: network.name,
    bridge: network.bridge,
    rules: group.rules.map(({ name }) => name),
    sources: planSources(
      group.rules.map((rule) => ({
        spans: rule.from.length === 0 ? EVERYONE : (sourcesOf.get(rule) ?? []),
        ports: rule.ports.length === 0 ? "all" : rule.ports,
      })),
    ),
    addresses: group.addresses.toSorted((a, b) => ipv4ToNumber(a) - ipv4ToNumber(b)),
  }));
}

/** Which of these addresses the rule is about. */
function destinationsOf(rule: PolicyRule, addresses: readonly Ipv4[], index: HolderIndex): readonly Ipv4[] {
  if (rule.to.length === 0) return addresses;
  const spans = mergeSpans(index.spansOf(rule.to));
  return addresses.filter((address) => findSpan(spans, ipv4ToNumber(address)) !== null);
}

/** The sweep: from who may use which ports to sources with all that they may use. */
export function planSources(
  allowed: readonly { readonly spans: readonly Span[]; readonly ports: OpenPorts }[],
): readonly SourceClass[] {
  const merged = allowed.flatMap(({ spans, ports }) => mergeSpans(spans).map((span) => ({ ...span, ports })));
  const cuts = [...new Set(merged.flatMap(({ first, last }) => [first, last + 1]))].toSorted((a, b) => a - b);
  const begin = merged.toSorted((a, b) => a.first - b.first);
  const classes: SourceClass[] = [];
  let active: typeof merged = [];
  let at = 0;
  for (const [index, cut] of cuts.entries()) {
    active = active.filter(({ last }) => last >= cut);
    for (let next = begin[at]; next !== undefined && next.first <= cut; next = begin[at]) {
      active.push(next);
      at += 1;
    }
    const end = cuts[index + 1];
    if (active.length === 0 || end === undefined) continue;
    const ports = mergePorts(active.map((span) => span.ports));
    const before = classes.at(-1);
    if (before !== undefined && before.last + 1 === cut && samePorts(before.ports, ports)) {
      classes[classes.length - 1] = { ...before, last: end - 1 };
    } else classes.push({ first: cut, last: end - 1, ports });
  }
  return classes;
}

/** Sorted, without overlaps, neighbours joined. */
export function mergeSpans(spans: readonly Span[]): readonly Span[] {
  const merged: Span[] = [];
  for (const span of spans.toSorted((a, b) => a.first - b.first)) {
    const before = merged.at(-1);
    if (before !== undefined && span.first <= before.last + 1) {
      merged[merged.length - 1] = { first: before.first, last: Math.max(before.last, span.last) };
    } else merged.push(span);
  }
  return merged;
}

/** The span of a sorted list that has the value. */
export function findSpan<Kind extends Span>(spans: readonly Kind[], value: number): Kind | null {
  let [low, high] = [0, spans.length - 1];
  while (low <= high) {
    const middle = (low + high) >> 1;
    const span = spans[middle];
    if (span === undefined) return null;
    if (contains(span, value)) return span;
    if (value < span.first) high = middle - 1;
    else low = middle + 1;
  }
  return null;
}

function mergePorts(lists: readonly OpenPorts[]): OpenPorts {
  if (lists.length === 1) return lists[0] === "all" ? "all" : joinRanges(lists[0] ?? []);
  const ranges: PortRange[] = [];
  for (const list of lists) {
    if (list === "all") return "all";
    ranges.push(...list);
  }
  return joinRanges(ranges);
}

function joinRanges(ranges: readonly PortRange[]): readonly PortRange[] {
  return (["tcp", "udp"] as const).flatMap((protocol) =>
    mergeSpans(
      ranges.filter((range) => range.protocol === protocol).map(({ from, to }) => ({ first: from, last: to })),
    ).map(({ first, last }) => ({ protocol, from: first, to: last })),
  );
}

export function samePorts(a: OpenPorts, b: OpenPorts): boolean {
  if (a === b) return true;
  if (a === "all" || b === "all") return false;
  return portsKey(a) === portsKey(b);
}

export function portsKey(ports: OpenPorts): string {
  if (ports === "all") return "all";
  return ports.map(({ protocol, from, to }) => `${protocol} ${from}-${to}`).join(", ");
}

/** 48-bit FNV-1a: a name for a list of rules, which may be longer than the kernel's names. */
function groupId(text: string): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(text)) {
    hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn;
  }
  return (hash & 0xffffffffffffn).toString(16).padStart(12, "0");
}
