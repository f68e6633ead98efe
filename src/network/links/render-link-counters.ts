/**
 * Counts what goes to other hosts and comes from them the kernel's own way, by block: elements of sets that the packets
 * themselves make, so that rules stay as they are when hosts come and go. What takes the fast path passes none of this and is
 * counted there. Probes between agents are not counted: a link that nobody uses has no traffic.
 */
import { formatCidr, formatIpv4, parseCidr } from "../../model/ip.ts";
import { formatCidr6, parseCidr6 } from "../../model/ip6.ts";
import type { RulesetPart } from "../render-ruleset.ts";
import { PROBE_PORT } from "./probe-datagram.ts";

/** The sets, by what their elements count. */
export const LINK_SETS = { sent: "links_sent", received: "links_received" } as const;
export const LINK_SETS6 = { sent: "links_sent6", received: "links_received6" } as const;
/** Blocks: far more than hosts. One that does not fit is not counted. */
const BLOCKS_MAX = 65_536;
/** Of a host's part of the IPv6 range (`HOST6_PREFIX`). */
const HOST6_MASK = "ffff:ffff:ffff:ffff:ffff:ffff::";

export interface LinkCountersWish {
  readonly range: string;
  readonly range6: string | null;
  /** Of the smallest block that hosts have. */
  readonly blockPrefix: number;
  /** Devices whose packets do not leave the host. */
  readonly inside: readonly string[];
}

export function renderLinkCounters({ range, range6, blockPrefix, inside }: LinkCountersWish): RulesetPart {
  const away = `!= { ${[...inside, "lo"].map((name) => `"${name}"`).join(", ")} }`;
  const noProbe = `meta l4proto . th dport != { udp . ${PROBE_PORT} }`;
  const four = formatCidr(parseCidr(range));
  const mask = formatIpv4((2 ** 32 - 2 ** (32 - blockPrefix)) >>> 0);
  const block = (address: string): string => `{ ip ${address} & ${mask} counter }`;
  const set = (name: string, type: string): string =>
    `set ${name} { type ${type}; flags dynamic; size ${BLOCKS_MAX}; }`;
  const arriving = [`ip saddr ${four} iifname ${away} ${noProbe} add @${LINK_SETS.received} ${block("saddr")}`];
  const leaving = [`ip daddr ${four} oifname ${away} ${noProbe} add @${LINK_SETS.sent} ${block("daddr")}`];
  const sets = Object.values(LINK_SETS).map((name) => set(name, "ipv4_addr"));
  if (range6 !== null) {
    const six = formatCidr6(parseCidr6(range6));
    const host = (address: string): string => `{ ip6 ${address} & ${HOST6_MASK} counter }`;
    arriving.push(`ip6 saddr ${six} iifname ${away} ${noProbe} add @${LINK_SETS6.received} ${host("saddr")}`);
    leaving.push(`ip6 daddr ${six} oifname ${away} ${noProbe} add @${LINK_SETS6.sent} ${host("daddr")}`);
    sets.push(...Object.values(LINK_SETS6).map((name) => set(name, "ipv6_addr")));
  }
  return { name: "links", sets, chains: {}, rules: { arriving, leaving } };
}
