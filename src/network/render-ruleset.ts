import { formatCidr, parseCidr } from "../model/ip.ts";

export interface Ruleset {
  /** Input of `nft -f -`: replaces our table in one transaction. */
  readonly text: string;
  /** Stands in the comment of every rule, with the rule's number and count, so that a flushed or edited table shows. */
  readonly digest: string;
}

/** Before Docker's own NAT rules (priority 100): whichever chain sets up a connection's NAT first has decided it. */
const NAT_PRIORITY = "srcnat - 5";

/**
 * Our nftables table `ip apollo`.
 * - Inside the range nobody's address changes. Mapping the source onto itself is a decision: later NAT rules, like
 *   those of a Docker daemon whose default bridge is ours, no longer see the connection.
 * - From the range to the outside the host's address is used, since nobody out there knows the way back.
 * - TCP inside the range announces segments that fit the route it takes, tunnelled or narrowed by what was measured, also
 *   where ICMP "too big" is filtered. The kernel only ever lowers what a SYN says.
 * - Nobody outside starts a connection to a container except through a published port. Engines differ in that: older
 *   ones drop by the FORWARD policy unless forwarding was on before they started, and from 28 on their guard also
 *   drops what comes from other hosts' containers, so there it is turned off (`planEngineNetwork`).
 */
export function renderRuleset(want: { readonly range: string; readonly bridge: string }): Ruleset {
  const range = formatCidr(parseCidr(want.range));
  const nat = [
    `ip saddr ${range} ip daddr ${range} snat to ip saddr`,
    `ip saddr ${range} ip daddr != { ${range}, 224.0.0.0/4, 255.255.255.255 } oifname != "${want.bridge}" masquerade`,
  ];
  const forward = [
    `ip daddr ${range} tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu`,
    `oifname "${want.bridge}" iifname != "${want.bridge}" ip saddr != ${range} ct state new ct status & dnat == 0 drop`,
  ];
  const digest = fingerprint(JSON.stringify([NAT_PRIORITY, nat, forward]));
  const count = nat.length + forward.length;
  let number = 0;
  const marked = (rule: string): string => `    ${rule} comment "apollo ${digest} ${++number}/${count}"`;
  const text = [
    // Declared first, since deleting a table that is not there fails.
    "table ip apollo",
    "delete table ip apollo",
    "table ip apollo {",
    "  chain nat {",
    `    type nat hook postrouting priority ${NAT_PRIORITY}; policy accept;`,
    ...nat.map(marked),
    "  }",
    "  chain forward {",
    "    type filter hook forward priority mangle; policy accept;",
    ...forward.map(marked),
    "  }",
    "}",
    "",
  ].join("\n");
  return { text, digest };
}

/** 64-bit FNV-1a: tells texts apart; it protects nothing. */
function fingerprint(text: string): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(text)) {
    hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn;
  }
  return hash.toString(16).padStart(16, "0");
}
