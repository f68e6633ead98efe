/**
 * Counts what goes to other hosts and comes from them the kernel's own way, by block: elements of sets that the packets
 * themselves make, so that rules stay as they are when hosts come and go. What takes the fast path passes none of this and is
 * counted there. Probes between agents are not counted: a link that nobody uses has no traffic.
 *
 * - Fixed addresses lie in no block, and those of several hosts in the same part of the range: they are listed, one element each.
 * - Of routed declared networks, whose blocks have sizes of their own, elements are of the smallest size that a block can have.
 *   In IPv6 a network has one prefix on all hosts, in which addresses end with the IPv4 ones.
 * - What layer-2 networks send goes from host to host as packets of the default network, and is counted as such.
 */
import type { Ipv4 } from "../../model/ip.ts";
import { formatCidr, formatIpv4, parseCidr } from "../../model/ip.ts";
import { formatCidr6, formatIpv6, parseCidr6 } from "../../model/ip6.ts";
import { network6Of } from "../address6.ts";
import { BLOCK_PREFIX_MAX } from "../blocks.ts";
import type { RulesetPart } from "../render-ruleset.ts";
import { PROBE_PORT } from "./probe-datagram.ts";

/** The sets, by what their elements count. */
export const LINK_SETS = { sent: "links_sent", received: "links_received" } as const;
export const LINK_SETS6 = { sent: "links_sent6", received: "links_received6" } as const;
/** Blocks: far more than hosts. One that does not fit is not counted. */
const BLOCKS_MAX = 65_536;
/** Of a host's part of the IPv6 range (`HOST6_PREFIX`). */
const HOST6_MASK = "ffff:ffff:ffff:ffff:ffff:ffff::";
const SMALLEST_MASK = maskOf(BLOCK_PREFIX_MAX);
/** Both masks as one: what is before the IPv4 address, and the smallest block in it. */
const SMALLEST6_MASK = formatIpv6(2n ** 128n - 2n ** BigInt(32 - BLOCK_PREFIX_MAX));
const FIXED_SET = "links_fixed";

export interface LinkCountersWish {
  readonly range: string;
  readonly range6: string | null;
  /** Of the smallest block that hosts have. */
  readonly blockPrefix: number;
  /** Devices whose packets do not leave the host. */
  readonly inside: readonly string[];
  /** Fixed addresses on other hosts. */
  readonly fixed: readonly Ipv4[];
  /** Declared networks that are not layer 2. */
  readonly routed: readonly { readonly range: string; readonly vni: number }[];
}

/** What is counted of one family: packets with an address in `part`, by that address under `mask`. */
interface Count {
  readonly family: "ip" | "ip6";
  readonly part: string;
  /** Null for the address itself. */
  readonly mask: string | null;
}

export function renderLinkCounters(wish: LinkCountersWish): RulesetPart {
  const away = `!= { ${[...wish.inside, "lo"].map((name) => `"${name}"`).join(", ")} }`;
  const noProbe = `meta l4proto . th dport != { udp . ${PROBE_PORT} }`;
  const set = (name: string, type: string): string =>
    `set ${name} { type ${type}; flags dynamic; size ${BLOCKS_MAX}; }`;
  const rule = ({ family, part, mask }: Count, way: keyof typeof LINK_SETS): string => {
    const [end, device] = way === "received" ? ["saddr", "iifname"] : ["daddr", "oifname"];
    const name = (family === "ip" ? LINK_SETS : LINK_SETS6)[way];
    const key = mask === null ? `${family} ${end}` : `${family} ${end} & ${mask}`;
    const where = part.replaceAll("ADDRESS", `${family} ${end}`);
    return `${where} ${device} ${away} ${noProbe} add @${name} { ${key} counter }`;
  };
  const counts = countsOf(wish);
  return {
    name: "links",
    sets: [
      ...Object.values(LINK_SETS).map((name) => set(name, "ipv4_addr")),
      ...(wish.range6 === null ? [] : Object.values(LINK_SETS6).map((name) => set(name, "ipv6_addr"))),
      ...(wish.fixed.length === 0
        ? []
        : [`set ${FIXED_SET} { type ipv4_addr; elements = { ${wish.fixed.toSorted().join(", ")} }; }`]),
    ],
    chains: {},
    rules: {
      arriving: counts.map((count) => rule(count, "received")),
      leaving: counts.map((count) => rule(count, "sent")),
    },
  };
}

function countsOf({ range, range6, blockPrefix, fixed, routed }: LinkCountersWish): readonly Count[] {
  const inRange = `ADDRESS ${formatCidr(parseCidr(range))}`;
  const networks = routed.toSorted((a, b) => a.vni - b.vni);
  const four: readonly Count[] = [
    {
      family: "ip",
      part: fixed.length === 0 ? inRange : `${inRange} ADDRESS != @${FIXED_SET}`,
      mask: maskOf(blockPrefix),
    },
    ...(fixed.length === 0 ? [] : [{ family: "ip", part: `ADDRESS @${FIXED_SET}`, mask: null } as const]),
    ...networks.map((network): Count => ({ family: "ip", part: `ADDRESS ${network.range}`, mask: SMALLEST_MASK })),
  ];
  if (range6 === null) return four;
  return [
    ...four,
    { family: "ip6", part: `ADDRESS ${formatCidr6(parseCidr6(range6))}`, mask: HOST6_MASK },
    ...networks.map(({ vni }): Count => {
      return { family: "ip6", part: `ADDRESS ${formatCidr6(network6Of(range6, vni))}`, mask: SMALLEST6_MASK };
    }),
  ];
}

function maskOf(prefix: number): Ipv4 {
  return formatIpv4((2 ** 32 - 2 ** (32 - prefix)) >>> 0);
}
