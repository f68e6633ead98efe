import type { Ipv4 } from "../model/ip.ts";
import { formatCidr6 } from "../model/ip6.ts";
import { gateway6Of, network6Of } from "./address6.ts";
import type { DeclaredNetwork } from "./declared-network.ts";
import { bridgeOf } from "./declared-network.ts";
import type { Opening } from "./plan-openings.ts";
import { BRIDGE, TUNNEL_PORT } from "./plan-network.ts";
import type { RulesetPart } from "./render-ruleset.ts";

export const DECLARED_PART = "networks";

/** Connection tracking zones are 16 bits; 0 is everybody's. */
const ZONES = 65_535;
/** What is at a border returns from it when policy has opened it, and goes no further otherwise. */
const AT_BORDER = "jump networks_border";

export interface DeclaredRules {
  readonly networks: readonly DeclaredNetwork[];
  /** Of the default network. */
  readonly range: string;
  /** Of IPv6 addresses; null or missing for none. */
  readonly range6?: string | null;
  /** Of the services' own addresses, inside it: where nothing serves, `renderFronts` answers for them. Null or missing for none. */
  readonly virtual6?: string | null;
  /** Gateway addresses of all hosts. */
  readonly hosts: readonly Ipv4[];
  readonly openings?: readonly Opening[];
}

/**
 * The borders of declared networks; null when there are none.
 * - Routed: from one network into another nothing begins that policy has not opened the border for, neither here nor, where the
 *   source looks like somebody else's by then, at the host that it goes to. The hosts themselves reach all of them, by their
 *   gateway addresses in the default network.
 * - Layer 2: what is on the bridge stays on it. Ranges may be the same in several networks, so each has a zone of its own in the
 *   connection table.
 * - No container sends VXLAN to a host: with it, it could put frames into any network.
 * The rest is as in the default network (`renderRuleset`), which does all there is to do about addresses in IPv6: they are of
 * one range in all networks.
 */
export function renderDeclaredNetworks(want: DeclaredRules): RulesetPart | null {
  const networks = want.networks.toSorted((a, b) => a.vni - b.vni);
  if (networks.length === 0) return null;
  const routed = networks.filter(({ layer2 }) => !layer2);
  const segments = networks.filter(({ layer2 }) => layer2).map(({ vni }) => `"${bridgeOf(vni)}"`);
  const bridges = [`"${BRIDGE}"`, ...networks.map(({ vni }) => `"${bridgeOf(vni)}"`)].join(", ");
  const own = [
    { bridge: BRIDGE, range: want.range },
    ...routed.map(({ vni, range }) => ({ bridge: bridgeOf(vni), range })),
  ];
  const ranges = own.map(({ range }) => range).join(", ");
  const openings = renderOpenings(want.openings ?? []);
  const six = renderBorders6(want, routed);
  return {
    name: DECLARED_PART,
    sets: [
      declareSet("networks_hosts", "type ipv4_addr", want.hosts.toSorted()),
      `set networks_ranges { type ipv4_addr; flags interval; elements = { ${ranges} }; }`,
      ...six.sets,
      ...openings.sets,
      "counter networks_border { }",
      "counter networks_injected { }",
    ],
    chains: {
      networks_border: [
        "ct state { established, related } return",
        ...openings.rules,
        "counter name networks_border drop",
      ],
    },
    rules: {
      arriving: networks
        .filter(({ layer2 }) => layer2)
        .map(({ vni }) => `iifname "${bridgeOf(vni)}" ct zone set ${1 + (vni % ZONES)}`),
      input: [
        `iifname { ${bridges} } udp dport ${TUNNEL_PORT} counter name networks_injected drop`,
        ...(segments.length === 0 ? [] : [`iifname { ${segments.join(", ")} } counter name networks_border drop`]),
      ],
      forward: [
        `iifname { ${bridges} } oifname != { ${bridges} } udp dport ${TUNNEL_PORT} counter name networks_injected drop`,
        ...segments.flatMap((bridge) => [
          `iifname ${bridge} oifname != ${bridge} counter name networks_border drop`,
          `oifname ${bridge} iifname != ${bridge} counter name networks_border drop`,
        ]),
        ...own.map(
          ({ bridge, range }) =>
            `iifname "${bridge}" ip daddr @networks_ranges ip daddr != ${range} ip daddr != @networks_hosts ${AT_BORDER}`,
        ),
        ...routed.flatMap(routedBorder),
        ...six.forward,
      ],
      postrouting: [
        // What hosts send keeps their address: it is what lets them in at the other end. So does what passes a border.
        "ip saddr @networks_ranges ip daddr @networks_ranges snat ip to ip saddr",
        ...routed.flatMap(({ vni, range, internal }) =>
          internal
            ? []
            : [
                `ip saddr ${range} ip daddr != { ${range}, 224.0.0.0/4, 255.255.255.255 } ip daddr != @networks_hosts oifname != "${bridgeOf(vni)}" masquerade`,
              ],
        ),
      ],
    },
  };
}

function routedBorder({ vni, range, internal }: DeclaredNetwork): readonly string[] {
  const bridge = bridgeOf(vni);
  return [
    `ip daddr ${range} tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu`,
    `oifname "${bridge}" iifname != "${bridge}" ip saddr != ${range} ip saddr != @networks_hosts ct state new ct status & dnat == 0 ${AT_BORDER}`,
    ...(internal
      ? [
          `iifname "${bridge}" oifname != "${bridge}" ip daddr != ${range} ip daddr != @networks_hosts ct state new ${AT_BORDER}`,
        ]
      : []),
  ];
}

/** The same borders. All networks share one range, so the default one is what of it is no declared network's. */
function renderBorders6(
  { range6 = null, virtual6 = null, hosts }: DeclaredRules,
  routed: readonly DeclaredNetwork[],
): { readonly sets: readonly string[]; readonly forward: readonly string[] } {
  if (range6 === null || routed.length === 0) return { sets: [], forward: [] };
  const inside = virtual6 === null ? `ip6 daddr ${range6}` : `ip6 daddr ${range6} ip6 daddr != ${virtual6}`;
  const parts = routed.map(({ vni, internal }) => ({
    bridge: bridgeOf(vni),
    part: formatCidr6(network6Of(range6, vni)),
    internal,
  }));
  return {
    sets: [
      declareSet(
        "networks_hosts6",
        "type ipv6_addr",
        hosts.map((host) => gateway6Of(range6, host)),
      ),
      `set networks_parts6 { type ipv6_addr; flags interval; elements = { ${parts.map(({ part }) => part).join(", ")} }; }`,
    ],
    forward: [
      `iifname "${BRIDGE}" ip6 daddr @networks_parts6 ${AT_BORDER}`,
      `oifname "${BRIDGE}" ip6 saddr @networks_parts6 ct state new ${AT_BORDER}`,
      ...parts.flatMap(({ bridge, part, internal }) => [
        `iifname "${bridge}" ${inside} ip6 daddr != ${part} ip6 daddr != @networks_hosts6 ${AT_BORDER}`,
        `oifname "${bridge}" iifname != "${bridge}" ip6 saddr != ${part} ip6 saddr != @networks_hosts6 ct state new ct status & dnat == 0 ${AT_BORDER}`,
        ...(internal
          ? [
              `iifname "${bridge}" oifname != "${bridge}" ip6 daddr != ${part} ip6 daddr != @networks_hosts6 ct state new ${AT_BORDER}`,
            ]
          : []),
      ]),
    ],
  };
}

function renderOpenings(openings: readonly Opening[]): {
  readonly sets: readonly string[];
  readonly rules: readonly string[];
} {
  const sets: string[] = [];
  const rules = openings.flatMap(({ from, to, ports }, number) => {
    const open =
      ports === "all"
        ? ""
        : ` meta l4proto . th dport { ${ports.map((each) => `${each.protocol} . ${each.from === each.to ? each.from : `${each.from}-${each.to}`}`).join(", ")} }`;
    return [
      { family: "ip", type: "type ipv4_addr", suffix: "", from: from.addresses, to: to.addresses },
      { family: "ip6", type: "type ipv6_addr", suffix: "6", from: from.addresses6, to: to.addresses6 },
    ].flatMap(({ family, type, suffix, ...ends }) => {
      if (ends.from.length === 0 || ends.to.length === 0) return [];
      const [source, target] = [`networks_from${number}_${suffix}`, `networks_to${number}_${suffix}`];
      sets.push(declareSet(source, type, ends.from), declareSet(target, type, ends.to));
      return [`${family} saddr @${source} ${family} daddr @${target}${open} return`];
    });
  });
  return { sets, rules };
}

function declareSet(name: string, type: string, elements: readonly string[]): string {
  return `set ${name} { ${type};${elements.length === 0 ? "" : ` elements = { ${elements.join(", ")} };`} }`;
}
