import type { Ipv4 } from "../../model/ip.ts";
import { formatCidr, parseCidr } from "../../model/ip.ts";
import type { RulesetPart } from "../render-ruleset.ts";
import { WIREGUARD, WIREGUARD_PORT } from "./plan-wireguard.ts";

/**
 * The rules for encrypted links; null when there is nothing to say.
 *
 * Routes are what sends containers' packets into WireGuard. Where encryption is required these rules see to it that a route
 * which is missing, late or somebody else's sends them nowhere: of the range, nothing leaves or arrives by a device that is
 * not inside, and no VXLAN either, whose packets carry the range within. What hosts carry for each other between their probe
 * addresses is WireGuard's own and encrypted already.
 */
export function renderEncryption(want: {
  readonly range: string;
  /** Ranges of further networks that links carry. */
  readonly others?: readonly string[];
  /** Of IPv6 addresses; null or missing for none. */
  readonly range6?: string | null;
  /** Devices that packets of the range may use: bridges, and those that encrypt. */
  readonly inside: readonly string[];
  /** Encryption is required. */
  readonly sealed: boolean;
  /** Some link is WireGuard's. */
  readonly used: boolean;
  readonly probes: readonly Ipv4[];
  readonly tunnelPort: number;
}): RulesetPart | null {
  if (!want.sealed && !want.used) return null;
  const clamp = `oifname "${WIREGUARD}" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu`;
  const forward = want.used ? [clamp] : [];
  if (!want.sealed) return { name: "encryption", sets: [], chains: {}, rules: { forward } };
  const ranges = [want.range, ...(want.others ?? [])].map((each) => formatCidr(parseCidr(each)));
  const range = ranges.length === 1 ? ranges[0] : `{ ${ranges.join(", ")} }`;
  const inside = `{ ${[...want.inside, WIREGUARD, "lo"].map((name) => `"${name}"`).join(", ")} }`;
  const six = (match: string): string[] => ((want.range6 ?? null) === null ? [] : [match]);
  const probes = want.probes.toSorted().join(", ");
  const carried =
    `ip saddr @encryption_probes ip daddr @encryption_probes ` +
    `udp sport ${WIREGUARD_PORT} udp dport ${WIREGUARD_PORT} accept`;
  return {
    name: "encryption",
    sets: [
      `set encryption_probes { type ipv4_addr;${probes === "" ? "" : ` elements = { ${probes} }`} }`,
      "counter encryption_leaving { }",
      "counter encryption_arriving { }",
    ],
    chains: {},
    rules: {
      arriving: [
        carried,
        `ip saddr ${range} iifname != ${inside} counter name encryption_arriving drop`,
        ...six(`ip6 saddr ${want.range6} iifname != ${inside} counter name encryption_arriving drop`),
        `udp dport ${want.tunnelPort} iifname != ${inside} counter name encryption_arriving drop`,
      ],
      forward,
      leaving: [
        carried,
        `ip daddr ${range} oifname != ${inside} counter name encryption_leaving drop`,
        ...six(`ip6 daddr ${want.range6} oifname != ${inside} counter name encryption_leaving drop`),
        `udp dport ${want.tunnelPort} oifname != ${inside} counter name encryption_leaving drop`,
      ],
    },
  };
}
