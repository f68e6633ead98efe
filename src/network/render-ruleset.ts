import { formatCidr, parseCidr } from "../model/ip.ts";

export interface Ruleset {
  /** Input of `nft -f -`: replaces our tables in one transaction. */
  readonly text: string;
  /** Stands in the comment of every rule, with the rule's number and count, so that a flushed or edited table shows. */
  readonly digest: string;
}

/** The chains that rules can be added to, in the order of their hooks. */
export const CHAINS = {
  /** Destinations are chosen here, for packets that come in … */
  prerouting: "type nat hook prerouting priority dstnat - 5; policy accept;",
  /** … and for those of the host itself. */
  output: "type nat hook output priority -105; policy accept;",
  /** Before Docker's own filter rules, at their priority 0. */
  forward: "type filter hook forward priority mangle; policy accept;",
  /** What is for this host itself. */
  input: "type filter hook input priority mangle; policy accept;",
  /** What this host itself sends. */
  egress: "type filter hook output priority mangle; policy accept;",
  /** Before Docker's own NAT rules (priority 100): whichever chain sets up a connection's NAT first has decided it. */
  postrouting: "type nat hook postrouting priority srcnat - 5; policy accept;",
} as const;

export type ChainName = keyof typeof CHAINS;

/** The rules of one concern. `name` orders the parts: within a chain, those of `base` come last. */
export interface RulesetPart {
  readonly name: string;
  /** Declarations of sets, maps and counters, whole, each with its elements; their names start with the part's name. */
  readonly sets: readonly string[];
  /** Chains of its own, without a hook, that its rules jump to; their names start with the part's name. */
  readonly chains: Readonly<Record<string, readonly string[]>>;
  readonly rules: Readonly<Partial<Record<ChainName, readonly string[]>>>;
}

/**
 * Our nftables table `inet apollo`, whole: the parts in the order of their names, then the base rules.
 * - Inside the range nobody's address changes. Mapping the source onto itself is a decision: later NAT rules, like
 *   those of a Docker daemon whose default bridge is ours, no longer see the connection.
 * - From the range to the outside the host's address is used, since nobody out there knows the way back.
 * - TCP through the tunnel announces segments that fit it, also where ICMP "too big" is filtered.
 * - Nobody outside starts a connection to a container except through a published port. Engines differ in that: older
 *   ones drop by the FORWARD policy unless forwarding was on before they started, and from 28 on their guard also
 *   drops what comes from other hosts' containers, so there it is turned off (`planEngineNetwork`).
 */
export function renderRuleset(want: {
  readonly range: string;
  readonly bridge: string;
  readonly tunnel: string;
  readonly parts: readonly RulesetPart[];
}): Ruleset {
  const parts = [...want.parts.toSorted((a, b) => (a.name < b.name ? -1 : 1)), basePart(want)];
  const digest = fingerprint(JSON.stringify([CHAINS, parts]));
  const chains = (Object.keys(CHAINS) as ChainName[]).flatMap((chain) => {
    const rules = parts.flatMap((part) => part.rules[chain] ?? []);
    return rules.length === 0 ? [] : [{ name: chain as string, head: [CHAINS[chain] as string], rules }];
  });
  const own = parts.flatMap((part) =>
    Object.entries(part.chains).map(([name, rules]) => ({ name, head: [] as string[], rules })),
  );
  const count = [...own, ...chains].reduce((sum, { rules }) => sum + rules.length, 0);
  let number = 0;
  const marked = (rule: string): string => `    ${rule} comment "apollo ${digest} ${++number}/${count}"`;
  const text = [
    // Declared first, since deleting a table that is not there fails.
    "table inet apollo",
    "delete table inet apollo",
    "table inet apollo {",
    ...parts.flatMap((part) => part.sets.map((set) => `  ${set}`)),
    ...[...own, ...chains].flatMap(({ name, head, rules }) => [
      `  chain ${name} {`,
      ...head.map((line) => `    ${line}`),
      ...rules.map(marked),
      "  }",
    ]),
    "}",
    "",
  ].join("\n");
  return { text, digest };
}

function basePart(want: { readonly range: string; readonly bridge: string; readonly tunnel: string }): RulesetPart {
  const range = formatCidr(parseCidr(want.range));
  return {
    name: "base",
    sets: [],
    chains: {},
    rules: {
      postrouting: [
        `ip saddr ${range} ip daddr ${range} snat ip to ip saddr`,
        `ip saddr ${range} ip daddr != { ${range}, 224.0.0.0/4, 255.255.255.255 } oifname != "${want.bridge}" masquerade`,
      ],
      forward: [
        `oifname "${want.tunnel}" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu`,
        `oifname "${want.bridge}" iifname != "${want.bridge}" ip saddr != ${range} ct state new ct status & dnat == 0 drop`,
      ],
    },
  };
}

/** Two 32-bit FNV-1a with different starts: tells texts apart, fast also for half a megabyte; it protects nothing. */
function fingerprint(text: string): string {
  let high = 0x811c9dc5 | 0;
  let low = 0x01234567;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    high = Math.imul(high ^ code, 0x01000193);
    low = Math.imul(low ^ code, 0x85ebca6b);
  }
  return [high, low].map((half) => (half >>> 0).toString(16).padStart(8, "0")).join("");
}
