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
 *
 * Each family has a part of its own: a host without IPv6 leaves that one out.
 */
import type { Ipv4 } from "../model/ip.ts";
import { cidrContains, formatCidr, isIpv4, parseCidr } from "../model/ip.ts";
import type { Cidr6, HostAddress, Ipv6 } from "../model/ip6.ts";
import { cidr6Contains, formatCidr6, formatEndpoint, parseCidr6 } from "../model/ip6.ts";
import { CHOSEN_MARK } from "../platform/ports/host-network.ts";
import { gateway6Of, host6Of } from "./address6.ts";
import type { Backend, Family, Front } from "./plan-fronts.ts";
import type { ChainName, RulesetPart } from "./render-ruleset.ts";

export const OUTSIDE_PART = "outside";
export const OUTSIDE6_PART = "outside6";

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

export interface Front6Surroundings extends Pick<FrontSurroundings, "gateway" | "bridge" | "bridgeSeen"> {
  readonly range6: string;
  /** Twins of the virtual addresses; null while no service has one. */
  readonly virtual6: Cidr6 | null;
}

/** What differs from family to family. */
interface Around {
  readonly part: string;
  /** As nft has it in front of an address. */
  readonly ip: "ip" | "ip6";
  readonly loopback: string;
  readonly redirect: string;
  readonly range: string;
  readonly isInside: (address: HostAddress) => boolean;
  readonly isLocal: (address: HostAddress) => boolean;
  readonly virtualRange: string | null;
  readonly gateway: Ipv4 | Ipv6;
  readonly bridge: string;
  readonly bridgeSeen: boolean;
}

/** IPv4's part; null when there is nothing to answer. */
export function renderFronts(fronts: readonly Front[], around: FrontSurroundings): RulesetPart | null {
  const { gateway, bridge, bridgeSeen, virtualRange } = around;
  const range = parseCidr(around.range);
  const blocks = around.blocks.map(parseCidr);
  return renderFamily(frontsOf(fronts, 4), {
    part: OUTSIDE_PART,
    ip: "ip",
    loopback: "127.0.0.0/8",
    redirect: "icmp type redirect",
    range: formatCidr(range),
    isInside: (address) => isIpv4(address) && cidrContains(range, address),
    isLocal: (address) => isIpv4(address) && blocks.some((block) => cidrContains(block, address)),
    virtualRange: virtualRange === null ? null : formatCidr(parseCidr(virtualRange)),
    gateway,
    bridge,
    bridgeSeen,
  });
}

/** The same of IPv6. */
export function renderFronts6(fronts: readonly Front[], around: Front6Surroundings): RulesetPart | null {
  const { range6, virtual6, gateway, bridge, bridgeSeen } = around;
  const [range, host6] = [parseCidr6(range6), host6Of(range6, gateway)];
  return renderFamily(frontsOf(fronts, 6), {
    part: OUTSIDE6_PART,
    ip: "ip6",
    loopback: "::1",
    redirect: "icmpv6 type nd-redirect",
    range: formatCidr6(range),
    isInside: (address) => !isIpv4(address) && cidr6Contains(range, address),
    isLocal: (address) => !isIpv4(address) && cidr6Contains(host6, address),
    virtualRange: virtual6 === null ? null : formatCidr6(virtual6),
    gateway: gateway6Of(range6, gateway),
    bridge,
    bridgeSeen,
  });
}

function frontsOf(fronts: readonly Front[], family: Family): readonly Front[] {
  return fronts.filter((front) => front.family === family);
}

function renderFamily(fronts: readonly Front[], around: Around): RulesetPart | null {
  const served = fronts.filter(({ backends }) => backends.length > 0);
  const { part, ip, virtualRange: refusal } = around;
  if (served.length === 0 && refusal === null) return null;
  const virtual = served.filter(({ address }) => address !== null);
  const published = served.filter(({ address }) => address === null);
  const entry = [...dispatchVirtual(virtual, around), ...dispatchPublished(published, around)];
  const rules: Partial<Record<ChainName, readonly string[]>> = {
    prerouting: entry,
    output: entry,
    forward: refusal === null ? [] : [`${ip} daddr ${refusal} jump ${part}_refuse`],
    // This hook comes before `output`: what that one will send on is let pass here.
    egress: [
      ...(refusal === null ? [] : [`${ip} daddr ${refusal} jump ${part}_refuse_own`]),
      // "There is a shorter way to that address": a container that believed it would go past the host, to one endpoint.
      `oifname "${around.bridge}" ${around.redirect} drop`,
    ],
    postrouting: sourceRules(served, around),
  };
  return { name: part, sets: [], chains: { ...frontChains(served, around), ...refuseChains(virtual, around) }, rules };
}

function chainOf(front: Front, { part }: Around): string {
  // No label holds an underscore, so two names never become one.
  return `${part}_${front.id.replaceAll("-", "_d_")}`;
}

function dispatchVirtual(fronts: readonly Front[], around: Around): readonly string[] {
  if (fronts.length === 0 || around.virtualRange === null) return [];
  const elements = fronts.map((front) => `${frontKey(front)} : goto ${chainOf(front, around)}`);
  return [`${around.ip} daddr . meta l4proto . th dport vmap { ${elements.join(", ")} }`];
}

function frontKey({ address, protocol, port }: Front): string {
  return `${address} . ${protocol} . ${port}`;
}

/** Every address of the host but those that only it and its containers use: loopback, and the gateway with its DNS. */
function dispatchPublished(fronts: readonly Front[], around: Around): readonly string[] {
  if (fronts.length === 0) return [];
  const elements = fronts.map((front) => `${front.protocol} . ${front.port} : goto ${chainOf(front, around)}`);
  const own = `${around.ip} daddr != { ${around.loopback}, ${around.range} } fib daddr type local`;
  return [`${own} meta l4proto . th dport vmap { ${elements.join(", ")} }`];
}

function frontChains(fronts: readonly Front[], around: Around): Record<string, readonly string[]> {
  const choose = `ct mark set ct mark or ${CHOSEN_MARK} dnat ${around.ip} to`;
  return Object.fromEntries(
    fronts.map((front) => [
      chainOf(front, around),
      [`meta l4proto ${front.protocol} ${choose} ${renderChoice(front, around)}`],
    ]),
  );
}

function renderChoice({ backends, affinity }: Front, { ip }: Around): string {
  const [first, ...more] = backends;
  if (first !== undefined && more.length === 0) return formatEndpoint(first.address, first.port);
  const total = backends.reduce((sum, { weight }) => sum + weight, 0);
  const pick = affinity === "source" ? `jhash ${ip} saddr mod ${total}` : `numgen random mod ${total}`;
  let next = 0;
  const elements = backends.map(({ address, port, weight }) => {
    const from = next;
    next += weight;
    return `${weight === 1 ? from : `${from}-${next - 1}`} : ${address} . ${port}`;
  });
  return `${pick} map { ${elements.join(", ")} }`;
}

/** An answer at once is worth more than a time-out: nothing serves there, and the client hears it. */
function refuseChains(virtual: readonly Front[], around: Around): Record<string, readonly string[]> {
  const { part, ip, virtualRange } = around;
  if (virtualRange === null) return {};
  const refuse = ["meta l4proto tcp reject with tcp reset", "reject"];
  const served = virtual.map(frontKey);
  const pass = served.length === 0 ? [] : [`${ip} daddr . meta l4proto . th dport { ${served.join(", ")} } return`];
  return { [`${part}_refuse`]: refuse, [`${part}_refuse_own`]: [...pass, ...refuse] };
}

function sourceRules(fronts: readonly Front[], around: Around): readonly string[] {
  const { bridge, gateway, bridgeSeen, ip, range } = around;
  const backends = fronts.flatMap((front) => front.backends);
  const local = backends.filter(({ address }) => around.isLocal(address));
  const loops = unique(local.map(({ address }) => `${address} . ${address}`));
  const far = unique(
    fronts
      .filter(({ address }) => address === null)
      .flatMap((front) =>
        front.backends
          .filter(({ address }) => !around.isInside(address))
          .map((one) => `${one.address} . ${front.protocol} . ${one.port}`),
      ),
  );
  const speak = `snat ${ip} to ${gateway}`;
  const hairpin = loops.length === 0 ? [] : [`${CHOSEN} ${ip} saddr . ${ip} daddr { ${loops.join(", ")} } ${speak}`];
  const sameBridge = `${CHOSEN} ${ip} saddr ${range} ${ip} daddr ${range} oifname "${bridge}" ${speak}`;
  return [
    ...(bridgeSeen ? hairpin : [sameBridge]),
    ...(fronts.some(({ address }) => address === null)
      ? [`${CHOSEN} ${ip} saddr != ${range} ${ip} daddr ${range} oifname != "${bridge}" ${speak}`]
      : []),
    ...(far.length === 0
      ? []
      : [`${CHOSEN} ${ip} saddr != ${range} ${ip} daddr . meta l4proto . th dport { ${far.join(", ")} } masquerade`]),
  ];
}

/** Those in this host's blocks: their answers pass its bridge. A container has an address of either family on the same port. */
export function localAddresses(backends: readonly Backend[], blocks: readonly string[]): readonly Ipv4[] {
  const cidrs = blocks.map(parseCidr);
  return backends.flatMap(({ address }) =>
    isIpv4(address) && cidrs.some((block) => cidrContains(block, address)) ? [address] : [],
  );
}

function unique(texts: readonly string[]): readonly string[] {
  return [...new Set(texts)];
}
