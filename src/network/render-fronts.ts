/**
 * Fronts as rules of our nftables table. For each front with endpoints one chain that sends a new connection to one of
 * them; the kernel remembers it (conntrack), so a connection stays with its endpoint whatever becomes of the chain. All
 * maps are anonymous parts of rules: nobody can empty one without the table's digest telling.
 *
 * Whose source address is changed, and why:
 * - a container that reaches itself by a virtual address: else its answer would not pass the host again;
 * - where the bridge hides its frames from netfilter (`bridgeSeen` false), also a client on the bridge of the endpoint;
 * - a client outside whose published port leads to another host: else the answer would not come back through this one.
 *   Inside the range the gateway speaks, since every host knows the way to it; to an outside target the host's own address;
 * - all others keep theirs: the endpoint sees the client.
 */
import type { Cidr, Ipv4 } from "../model/ip.ts";
import { cidrContains, formatCidr, parseCidr } from "../model/ip.ts";
import { CHOSEN_MARK } from "../platform/ports/host-network.ts";
import type { Backend, Front } from "./plan-fronts.ts";
import type { ChainName, RulesetPart } from "./render-ruleset.ts";

export const OUTSIDE_PART = "outside";

const CHOSEN = `ct mark and ${CHOSEN_MARK} == ${CHOSEN_MARK}`;

export interface FrontSurroundings {
  readonly range: string;
  /** Null while no service has a virtual address. */
  readonly virtualRange: string | null;
  /** This host's. */
  readonly blocks: readonly string[];
  readonly gateway: Ipv4;
  readonly bridge: string;
  /** Frames between ports of the bridge pass netfilter (br_netfilter), so an answer on the same bridge is translated back. */
  readonly bridgeSeen: boolean;
}

/** Null when there is nothing to answer. */
export function renderFronts(fronts: readonly Front[], around: FrontSurroundings): RulesetPart | null {
  const served = fronts.filter(({ backends }) => backends.length > 0);
  if (served.length === 0 && around.virtualRange === null) return null;
  const virtual = served.filter(({ address }) => address !== null);
  const published = served.filter(({ address }) => address === null);
  const range = formatCidr(parseCidr(around.range));
  const entry = [...dispatchVirtual(virtual, around), ...dispatchPublished(published, range)];
  const refusal = around.virtualRange === null ? null : formatCidr(parseCidr(around.virtualRange));
  const rules: Partial<Record<ChainName, readonly string[]>> = {
    prerouting: entry,
    output: entry,
    forward: refusal === null ? [] : [`ip daddr ${refusal} jump outside_refuse`],
    // This hook comes before `output`: what that one will send on is let pass here.
    egress: [
      ...(refusal === null ? [] : [`ip daddr ${refusal} jump outside_refuse_own`]),
      // "There is a shorter way to that address": a container that believed it would go past the host, to one endpoint.
      `oifname "${around.bridge}" icmp type redirect drop`,
    ],
    postrouting: sourceRules(served, around, range),
  };
  return { name: OUTSIDE_PART, sets: [], chains: { ...frontChains(served), ...refuseChains(virtual, refusal) }, rules };
}

function chainOf(front: Front): string {
  // No label holds an underscore, so two names never become one.
  return `outside_${front.id.replaceAll("-", "_d_")}`;
}

function dispatchVirtual(fronts: readonly Front[], { virtualRange }: FrontSurroundings): readonly string[] {
  if (fronts.length === 0 || virtualRange === null) return [];
  const elements = fronts.map((front) => `${frontKey(front)} : goto ${chainOf(front)}`);
  return [`ip daddr . meta l4proto . th dport vmap { ${elements.join(", ")} }`];
}

function frontKey({ address, protocol, port }: Front): string {
  return `${address} . ${protocol} . ${port}`;
}

/** Every address of the host but those that only it and its containers use: loopback, and the gateway with its DNS. */
function dispatchPublished(fronts: readonly Front[], range: string): readonly string[] {
  if (fronts.length === 0) return [];
  const elements = fronts.map((front) => `${front.protocol} . ${front.port} : goto ${chainOf(front)}`);
  const own = `ip daddr != { 127.0.0.0/8, ${range} } fib daddr type local`;
  return [`${own} meta l4proto . th dport vmap { ${elements.join(", ")} }`];
}

function frontChains(fronts: readonly Front[]): Record<string, readonly string[]> {
  return Object.fromEntries(
    fronts.map((front) => [
      chainOf(front),
      [`meta l4proto ${front.protocol} ct mark set ct mark or ${CHOSEN_MARK} dnat ip to ${renderChoice(front)}`],
    ]),
  );
}

function renderChoice({ backends, affinity }: Front): string {
  const [first, ...more] = backends;
  if (first !== undefined && more.length === 0) return `${first.address}:${first.port}`;
  const total = backends.reduce((sum, { weight }) => sum + weight, 0);
  const pick = affinity === "source" ? `jhash ip saddr mod ${total}` : `numgen random mod ${total}`;
  let next = 0;
  const elements = backends.map(({ address, port, weight }) => {
    const from = next;
    next += weight;
    return `${weight === 1 ? from : `${from}-${next - 1}`} : ${address} . ${port}`;
  });
  return `${pick} map { ${elements.join(", ")} }`;
}

/** An answer at once is worth more than a time-out: nothing serves there, and the client hears it. */
function refuseChains(virtual: readonly Front[], refusal: string | null): Record<string, readonly string[]> {
  if (refusal === null) return {};
  const refuse = ["meta l4proto tcp reject with tcp reset", "reject"];
  const served = virtual.map(frontKey);
  const pass = served.length === 0 ? [] : [`ip daddr . meta l4proto . th dport { ${served.join(", ")} } return`];
  return { outside_refuse: refuse, outside_refuse_own: [...pass, ...refuse] };
}

function sourceRules(fronts: readonly Front[], around: FrontSurroundings, range: string): readonly string[] {
  const { bridge, gateway, bridgeSeen } = around;
  const backends = fronts.flatMap((front) => front.backends);
  const cidr = parseCidr(range);
  const loops = unique(localBackends(backends, around.blocks).map(({ address }) => `${address} . ${address}`));
  const far = unique(
    fronts
      .filter(({ address }) => address === null)
      .flatMap((front) =>
        farBackends(front.backends, cidr).map((one) => `${one.address} . ${front.protocol} . ${one.port}`),
      ),
  );
  const hairpin =
    loops.length === 0 ? [] : [`${CHOSEN} ip saddr . ip daddr { ${loops.join(", ")} } snat ip to ${gateway}`];
  const sameBridge = `${CHOSEN} ip saddr ${range} ip daddr ${range} oifname "${bridge}" snat ip to ${gateway}`;
  return [
    ...(bridgeSeen ? hairpin : [sameBridge]),
    ...(fronts.some(({ address }) => address === null)
      ? [`${CHOSEN} ip saddr != ${range} ip daddr ${range} oifname != "${bridge}" snat ip to ${gateway}`]
      : []),
    ...(far.length === 0
      ? []
      : [`${CHOSEN} ip saddr != ${range} ip daddr . meta l4proto . th dport { ${far.join(", ")} } masquerade`]),
  ];
}

/** Those in this host's blocks: their answers pass its bridge. */
export function localBackends(backends: readonly Backend[], blocks: readonly string[]): readonly Backend[] {
  const cidrs = blocks.map(parseCidr);
  return backends.filter(({ address }) => cidrs.some((block) => cidrContains(block, address)));
}

function farBackends(backends: readonly Backend[], range: Cidr): readonly Backend[] {
  return backends.filter(({ address }) => !cidrContains(range, address));
}

function unique(texts: readonly string[]): readonly string[] {
  return [...new Set(texts)];
}
