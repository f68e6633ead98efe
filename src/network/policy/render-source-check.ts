import type { LocalPort } from "../local-port.ts";
import type { RulesetPart } from "../render-ruleset.ts";

/** Counters of what was dropped, by why. */
export const SPOOF_COUNTERS = {
  mac: "source_bad_mac",
  address: "source_bad_address",
  unknown: "source_unknown_port",
} as const;

/**
 * A container sends from its own MAC and addresses only, whatever it may do to its own interface: checked at the host's end
 * of its wire, before the bridge learns from the frame.
 * - ARP says the same twice, in the frame and in its body; a probe (RFC 5227) has no address yet, nor has a DHCP client.
 * - IPv6: link-local and unspecified addresses for neighbour discovery only.
 * - Anything else, VLAN tags with packets inside as well, is dropped: nobody here reads it, and policy could not.
 *
 * A port that is not known yet, that of a container which starts at this moment, may send: its first packets are what
 * makes it reachable. `strict` drops them where they would reach a known container on the same bridge, or leave it, until
 * the port is known.
 */
export function renderSourceCheck(ports: readonly LocalPort[], strictBridges: readonly string[] = []): RulesetPart {
  const sorted = ports.toSorted((a, b) => (a.device < b.device ? -1 : 1));
  const owners = sorted.flatMap(({ device, mac, addresses }) =>
    addresses.map((address) => `"${device}" . ${mac} . ${address}`),
  );
  const pairs = [...new Set(sorted.flatMap(({ mac, addresses }) => addresses.map((address) => `${mac} . ${address}`)))];
  const strict = strictBridges.length > 0;
  return {
    name: "source",
    sets: strict ? [declareSet("source_pairs", "ether_addr . ipv4_addr", pairs)] : [],
    chains: {},
    rules: strict
      ? {
          forward: strictBridges.map(
            (bridge) => `iifname "${bridge}" ether saddr . ip saddr != @source_pairs counter drop`,
          ),
        }
      : {},
    bridge: {
      sets: [
        declareSet(
          "source_ports",
          "ifname",
          sorted.map(({ device }) => `"${device}"`),
        ),
        declareSet(
          "source_macs",
          "ifname . ether_addr",
          sorted.map(({ device, mac }) => `"${device}" . ${mac}`),
        ),
        declareSet("source_owners", "ifname . ether_addr . ipv4_addr", owners),
        declareSet("source_owners6", "ifname . ether_addr . ipv6_addr", []),
        ...Object.values(SPOOF_COUNTERS).map((name) => `counter ${name} { }`),
      ],
      chains: {
        source_check: [
          // First what nearly every packet is: one look-up.
          "iifname . ether saddr . ip saddr @source_owners return",
          `iifname . ether saddr != @source_macs counter name ${SPOOF_COUNTERS.mac} drop`,
          "iifname . arp saddr ether . arp saddr ip @source_owners return",
          "iifname . arp saddr ether @source_macs arp saddr ip 0.0.0.0 return",
          "ip saddr 0.0.0.0 udp sport 68 udp dport 67 return",
          "iifname . ether saddr . ip6 saddr @source_owners6 return",
          "ip6 saddr { ::, fe80::/10 } meta l4proto ipv6-icmp return",
          `counter name ${SPOOF_COUNTERS.address} drop`,
        ],
      },
      rules: {
        prerouting: ["iifname @source_ports jump source_check"],
        ...(strict
          ? { forward: [`oifname @source_ports iifname != @source_ports counter name ${SPOOF_COUNTERS.unknown} drop`] }
          : {}),
      },
    },
  };
}

function declareSet(name: string, type: string, elements: readonly string[]): string {
  const list = elements.length === 0 ? "" : ` elements = { ${elements.join(", ")} };`;
  return `set ${name} { type ${type};${list} }`;
}
