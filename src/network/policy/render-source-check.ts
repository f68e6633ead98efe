import { ipv6ToNumber } from "../../model/ip6.ts";
import type { LocalPort } from "../local-port.ts";
import type { RulesetPart } from "../render-ruleset.ts";

/** Counters of what was dropped, by why. */
export const SPOOF_COUNTERS = {
  mac: "source_bad_mac",
  address: "source_bad_address",
  unknown: "source_unknown_port",
} as const;

/** A network in which nothing from an unknown port reaches anybody. */
export interface StrictNetwork {
  readonly name: string;
  readonly bridge: string;
  /** Of a segment: its bridge's port to the other hosts, which check what comes from theirs. Missing for all other networks. */
  readonly tunnel?: string;
}

/**
 * A container sends from its own MAC and addresses only, whatever it may do to its own interface: checked at the host's end
 * of its wire, before the bridge learns from the frame.
 * - ARP says the same twice, in the frame and in its body; a probe (RFC 5227) has no address yet, nor has a DHCP client.
 * - IPv6: link-local and unspecified addresses for neighbour discovery only, no router advertisements, and none of an
 *   address that is another's.
 * - Anything else is dropped, VLAN tags with packets inside as well: policy does not see those. The type is asked of the
 *   frame itself, since the kernel takes a tag off and then calls the packet inside by its own protocol.
 *
 * A port that is not known yet, that of a container which starts at this moment, may send: its first packets are what makes
 * it reachable. Networks in `layer2` also carry what is neither IP nor ARP. In `strict` networks they reach neither known containers on the bridge nor anything beyond it:
 * of a segment that is its tunnel, of others what the host forwards.
 */
export function renderSourceCheck(
  ports: readonly LocalPort[],
  strict: readonly StrictNetwork[] = [],
  layer2: readonly string[] = [],
): RulesetPart {
  const sorted = ports.toSorted((a, b) => (a.device < b.device ? -1 : 1));
  const closed = sorted.filter(({ network }) => strict.some(({ name }) => name === network));
  const tunnels = strict.flatMap(({ tunnel }) => (tunnel === undefined ? [] : [`"${tunnel}"`]));
  return {
    name: "source",
    sets:
      strict.length === 0
        ? []
        : [
            declareSet(
              "source_pairs",
              "ether_addr . ipv4_addr",
              ownersOf(closed, ({ mac }) => mac),
            ),
            declareSet(
              "source_pairs6",
              "ether_addr . ipv6_addr",
              owners6Of(closed, ({ mac }) => mac),
            ),
            `counter ${SPOOF_COUNTERS.unknown} { }`,
          ],
    chains: {},
    rules:
      strict.length === 0
        ? {}
        : {
            // Of a segment nothing is forwarded.
            forward: strict.flatMap(({ bridge, tunnel }) => (tunnel === undefined ? strictForward(bridge) : [])),
          },
    bridge: {
      sets: [
        ...portSets(sorted, { closed, tunnels, layer2 }),
        ...Object.values(SPOOF_COUNTERS).map((name) => `counter ${name} { }`),
      ],
      chains: { source_check: CHECKS },
      rules: {
        prerouting: ["iifname @source_ports jump source_check"],
        ...(strict.length === 0
          ? {}
          : {
              forward: [
                `oifname @source_closed iifname != @source_ports iifname != @source_tunnels ${UNKNOWN}`,
                `oifname @source_tunnels iifname != @source_ports ${UNKNOWN}`,
              ],
            }),
      },
    },
  };
}

/** What ports are there, and what may come in by each. */
function portSets(
  sorted: readonly LocalPort[],
  {
    closed,
    tunnels,
    layer2,
  }: {
    readonly closed: readonly LocalPort[];
    readonly tunnels: readonly string[];
    readonly layer2: readonly string[];
  },
): readonly string[] {
  const owner = (port: LocalPort): string => `${quoted(port)} . ${port.mac}`;
  return [
    declareSet("source_ports", "ifname", sorted.map(quoted)),
    declareSet("source_closed", "ifname", closed.map(quoted)),
    declareSet("source_tunnels", "ifname", tunnels),
    declareSet("source_layer2", "ifname", sorted.filter(({ network }) => layer2.includes(network)).map(quoted)),
    declareSet("source_macs", "ifname . ether_addr", sorted.map(owner)),
    declareSet("source_owners", "ifname . ether_addr . ipv4_addr", ownersOf(sorted, owner)),
    declareSet("source_owners6", "ifname . ether_addr . ipv6_addr", owners6Of(sorted, owner)),
    declareTargets6(sorted),
  ];
}

const UNKNOWN = `counter name ${SPOOF_COUNTERS.unknown} drop`;

function strictForward(bridge: string): readonly string[] {
  return [
    `iifname "${bridge}" ether saddr . ip saddr != @source_pairs ${UNKNOWN}`,
    `iifname "${bridge}" ip6 saddr != { ::, fe80::/10 } ether saddr . ip6 saddr != @source_pairs6 ${UNKNOWN}`,
  ];
}

const CHECKS: readonly string[] = [
  // First what nearly every packet is: one look-up.
  "ether type ip iifname . ether saddr . ip saddr @source_owners return",
  `iifname . ether saddr != @source_macs counter name ${SPOOF_COUNTERS.mac} drop`,
  "ether type arp iifname . arp saddr ether . arp saddr ip @source_owners return",
  "ether type arp iifname . arp saddr ether @source_macs arp saddr ip 0.0.0.0 return",
  "ether type ip ip saddr 0.0.0.0 udp sport 68 udp dport 67 return",
  // Who has an address says so himself; that of a wire's end (fe80::/16) follows from its MAC and is in no rule.
  `ether type ip6 icmpv6 type nd-neighbor-advert @th,64,16 != 0xfe80 iifname . @th,64,128 != @source_targets6 counter name ${SPOOF_COUNTERS.address} drop`,
  // A link-local address is nobody's in any rule: it is for finding neighbours, and for no more.
  `ether type ip6 ip6 daddr fe80::/10 meta l4proto != ipv6-icmp counter name ${SPOOF_COUNTERS.address} drop`,
  "ether type ip6 iifname . ether saddr . ip6 saddr @source_owners6 return",
  "ether type ip6 ip6 saddr { ::, fe80::/10 } icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-report, mld-listener-done, mld2-listener-report } return",
  // A segment carries any protocol, from its own MAC; tags still hide packets that policy would have to see.
  "iifname @source_layer2 ether type != { ip, arp, ip6, 8021q, 8021ad } return",
  `counter name ${SPOOF_COUNTERS.address} drop`,
];

function quoted({ device }: LocalPort): string {
  return `"${device}"`;
}

/** The addresses that a port may announce as its own; nftables has no name yet for that field (1.0.6). */
function declareTargets6(ports: readonly LocalPort[]): string {
  const elements = ports.flatMap((port) =>
    (port.addresses6 ?? []).map((address) => `${quoted(port)} . 0x${ipv6ToNumber(address).toString(16)}`),
  );
  const list = elements.length === 0 ? "" : ` elements = { ${elements.join(", ")} };`;
  return `set source_targets6 { typeof iifname . @th,64,128;${list} }`;
}

function owners6Of(ports: readonly LocalPort[], ownerOf: (port: LocalPort) => string): readonly string[] {
  return ports.flatMap((port) => (port.addresses6 ?? []).map((address) => `${ownerOf(port)} . ${address}`));
}

/** Each address of each port behind what names its owner. */
function ownersOf(ports: readonly LocalPort[], ownerOf: (port: LocalPort) => string): readonly string[] {
  return [...new Set(ports.flatMap((port) => port.addresses.map((address) => `${ownerOf(port)} . ${address}`)))];
}

function declareSet(name: string, type: string, elements: readonly string[]): string {
  const list = elements.length === 0 ? "" : ` elements = { ${elements.join(", ")} };`;
  return `set ${name} { type ${type};${list} }`;
}
