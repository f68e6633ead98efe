import type { Ipv4 } from "../model/ip.ts";
import type { DeclaredNetwork } from "./declared-network.ts";
import { bridgeOf } from "./declared-network.ts";
import { BRIDGE, TUNNEL_PORT } from "./plan-network.ts";
import type { RulesetPart } from "./render-ruleset.ts";

export const DECLARED_PART = "networks";

/** Connection tracking zones are 16 bits; 0 is everybody's. */
const ZONES = 65_535;

/**
 * The borders of declared networks; null when there are none.
 * - Routed: from one network into another nothing begins, neither here nor, where the source looks like somebody else's by then, at
 *   the host that it goes to. The hosts themselves reach all of them, by their gateway addresses in the default network.
 * - Layer 2: what is on the bridge stays on it. Ranges may be the same in several networks, so each has a zone of its own in the
 *   connection table.
 * - No container sends VXLAN to a host: with it, it could put frames into any network.
 * The rest is as in the default network (`renderRuleset`).
 */
export function renderDeclaredNetworks(want: {
  readonly networks: readonly DeclaredNetwork[];
  /** Of the default network. */
  readonly range: string;
  /** Gateway addresses of all hosts. */
  readonly hosts: readonly Ipv4[];
}): RulesetPart | null {
  const networks = want.networks.toSorted((a, b) => a.vni - b.vni);
  if (networks.length === 0) return null;
  const routed = networks.filter(({ layer2 }) => !layer2);
  const segments = networks.filter(({ layer2 }) => layer2).map(({ vni }) => `"${bridgeOf(vni)}"`);
  const bridges = [`"${BRIDGE}"`, ...networks.map(({ vni }) => `"${bridgeOf(vni)}"`)].join(", ");
  const own = [
    { bridge: BRIDGE, range: want.range },
    ...routed.map(({ vni, range }) => ({ bridge: bridgeOf(vni), range })),
  ];
  const hosts = want.hosts.length === 0 ? "" : ` elements = { ${want.hosts.toSorted().join(", ")} };`;
  return {
    name: DECLARED_PART,
    sets: [
      `set networks_hosts { type ipv4_addr;${hosts} }`,
      `set networks_ranges { type ipv4_addr; flags interval; elements = { ${own.map(({ range }) => range).join(", ")} }; }`,
      "counter networks_border { }",
      "counter networks_injected { }",
    ],
    chains: {},
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
            `iifname "${bridge}" ip daddr @networks_ranges ip daddr != ${range} ip daddr != @networks_hosts counter name networks_border drop`,
        ),
        ...routed.flatMap(routedBorder),
      ],
      postrouting: [
        // What hosts send keeps their address: it is what lets them in at the other end.
        "ip saddr @networks_hosts ip daddr @networks_ranges snat ip to ip saddr",
        ...routed.flatMap(({ vni, range, internal }) => [
          `ip saddr ${range} ip daddr ${range} snat ip to ip saddr`,
          ...(internal
            ? []
            : [
                `ip saddr ${range} ip daddr != { ${range}, 224.0.0.0/4, 255.255.255.255 } ip daddr != @networks_hosts oifname != "${bridgeOf(vni)}" masquerade`,
              ]),
        ]),
      ],
    },
  };
}

function routedBorder({ vni, range, internal }: DeclaredNetwork): readonly string[] {
  const bridge = bridgeOf(vni);
  return [
    `ip daddr ${range} tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu`,
    `oifname "${bridge}" iifname != "${bridge}" ip saddr != ${range} ip saddr != @networks_hosts ct state new ct status & dnat == 0 counter name networks_border drop`,
    ...(internal
      ? [
          `iifname "${bridge}" oifname != "${bridge}" ip daddr != ${range} ip daddr != @networks_hosts ct state new counter name networks_border drop`,
        ]
      : []),
  ];
}
