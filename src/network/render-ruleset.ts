import { formatCidr, parseCidr } from "../model/ip.ts";

export interface Ruleset {
  /** Input of `nft -f -`: replaces our tables in one transaction. */
  readonly text: string;
  /** Stands in the comment of every rule, with the rule's number and count, so that a flushed or edited table shows. */
  readonly digest: string;
}

/** The chains that rules can be added to, in the order of their hooks. */
export const CHAINS = {
  /** Before anything has looked at a packet, NAT included. */
  arriving: "type filter hook prerouting priority raw; policy accept;",
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
  /** All that leaves, forwarded or this host's own, when its device is settled; addresses are those before source NAT. */
  leaving: "type filter hook postrouting priority raw; policy accept;",
} as const;

export type ChainName = keyof typeof CHAINS;

/** The same for frames on bridges, in the table `bridge apollo`: only there is the port of a bridge known. */
export const BRIDGE_CHAINS = {
  prerouting: "type filter hook prerouting priority -300; policy accept;",
  forward: "type filter hook forward priority -300; policy accept;",
} as const;

export type BridgeChainName = keyof typeof BRIDGE_CHAINS;

/** The rules of one concern. `name` orders the parts: within a chain, those of `base` come last. */
export interface RulesetPart {
  readonly name: string;
  /** Declarations of sets, maps and counters, whole, each with its elements; their names start with the part's name. */
  readonly sets: readonly string[];
  /** Chains of its own, without a hook, that its rules jump to; their names start with the part's name. */
  readonly chains: Readonly<Record<string, readonly string[]>>;
  readonly rules: Readonly<Partial<Record<ChainName, readonly string[]>>>;
  /** What it wants in the table `bridge apollo`, if anything. */
  readonly bridge?: {
    readonly sets: readonly string[];
    readonly chains: Readonly<Record<string, readonly string[]>>;
    readonly rules: Readonly<Partial<Record<BridgeChainName, readonly string[]>>>;
  };
}

/** One table's share of the parts. */
interface TableText {
  readonly family: "inet" | "bridge";
  readonly sets: readonly string[];
  readonly chains: readonly {
    readonly name: string;
    readonly head: readonly string[];
    readonly rules: readonly string[];
  }[];
}

/**
 * Our nftables tables `inet apollo` and, when a part needs it, `bridge apollo`, whole: the parts in the order of their
 * names, then the base rules.
 * - Inside the range nobody's address changes. Mapping the source onto itself is a decision: later NAT rules, like
 *   those of a Docker daemon whose default bridge is ours, no longer see the connection.
 * - From the range to the outside the host's address is used, since nobody out there knows the way back.
 * - TCP inside the range announces segments that fit the route it takes, tunnelled or narrowed by what was measured, also
 *   where ICMP "too big" is filtered. The kernel only ever lowers what a SYN says.
 * - Nobody outside starts a connection to a container except through a published port. Engines differ in that: older
 *   ones drop by the FORWARD policy unless forwarding was on before they started, and from 28 on their guard also
 *   drops what comes from other hosts' containers, so there it is turned off (`planEngineNetwork`).
 */
export function renderRuleset(want: {
  readonly range: string;
  /** Of IPv6 addresses; null or missing for none. */
  readonly range6?: string | null;
  readonly bridge: string;
  readonly parts: readonly RulesetPart[];
}): Ruleset {
  const parts = [...want.parts.toSorted((a, b) => (a.name < b.name ? -1 : 1)), basePart(want)];
  const digest = fingerprint(JSON.stringify([CHAINS, BRIDGE_CHAINS, parts]));
  const tables = [tableText("inet", CHAINS, parts)];
  const bridged = parts.flatMap(({ bridge }) => bridge ?? []);
  // Without it a kernel that cannot filter on bridges is good enough.
  if (bridged.length > 0) tables.push(tableText("bridge", BRIDGE_CHAINS, bridged));
  const count = tables.flatMap(({ chains }) => chains).reduce((sum, { rules }) => sum + rules.length, 0);
  let number = 0;
  const marked = (rule: string): string => `    ${rule} comment "apollo ${digest} ${++number}/${count}"`;
  const text = tables.flatMap(({ family, sets, chains }) => [
    // Declared first, since deleting a table that is not there fails.
    `table ${family} apollo`,
    `delete table ${family} apollo`,
    `table ${family} apollo {`,
    ...sets.map((set) => `  ${set}`),
    ...chains.flatMap(({ name, head, rules }) => [
      `  chain ${name} {`,
      ...head.map((line) => `    ${line}`),
      ...rules.map(marked),
      "  }",
    ]),
    "}",
  ]);
  return { text: [...text, ""].join("\n"), digest };
}

function tableText<Chain extends string>(
  family: TableText["family"],
  hooks: Readonly<Record<Chain, string>>,
  parts: readonly (Pick<RulesetPart, "sets" | "chains"> & {
    readonly rules: Readonly<Partial<Record<Chain, readonly string[]>>>;
  })[],
): TableText {
  const chains = (Object.keys(hooks) as Chain[]).flatMap((chain) => {
    const rules = parts.flatMap((part) => part.rules[chain] ?? []);
    return rules.length === 0 ? [] : [{ name: chain as string, head: [hooks[chain]], rules }];
  });
  const own = parts.flatMap((part) =>
    Object.entries(part.chains).map(([name, rules]) => ({ name, head: [] as string[], rules })),
  );
  return { family, sets: parts.flatMap((part) => part.sets), chains: [...own, ...chains] };
}

/** The same rules for both families. */
function basePart(want: {
  readonly range: string;
  readonly range6?: string | null;
  readonly bridge: string;
}): RulesetPart {
  const range = formatCidr(parseCidr(want.range));
  const { range6 = null, bridge } = want;
  return {
    name: "base",
    sets: [],
    chains: {},
    rules: {
      postrouting: [
        `ip saddr ${range} ip daddr ${range} snat ip to ip saddr`,
        `ip saddr ${range} ip daddr != { ${range}, 224.0.0.0/4, 255.255.255.255 } oifname != "${want.bridge}" masquerade`,
        ...(range6 === null
          ? []
          : [
              `ip6 saddr ${range6} ip6 daddr ${range6} snat ip6 to ip6 saddr`,
              `ip6 saddr ${range6} ip6 daddr != { ${range6}, fe80::/10, ff00::/8 } oifname != "${bridge}" masquerade`,
            ]),
      ],
      forward: [
        `ip daddr ${range} tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu`,
        `oifname "${want.bridge}" iifname != "${want.bridge}" ip saddr != ${range} ct state new ct status & dnat == 0 drop`,
        ...(range6 === null
          ? []
          : [
              `ip6 daddr ${range6} tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu`,
              `oifname "${bridge}" iifname != "${bridge}" ip6 saddr != ${range6} ct state new ct status & dnat == 0 drop`,
            ]),
      ],
    },
  };
}

/**
 * Two 32-bit hashes in the manner of FNV-1a, with other multipliers: tells texts apart, it protects nothing. Of 32 bits
 * each, since rules for thousands of containers are half a megabyte and are looked at in every pass.
 */
function fingerprint(text: string): string {
  let [a, b] = [0x811c9dc5, 0x9747b28c];
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    a = Math.imul(a ^ code, 0x01000193);
    b = Math.imul(b ^ code, 0x85ebca6b);
    b ^= b >>> 13;
  }
  return [a, b].map((half) => (half >>> 0).toString(16).padStart(8, "0")).join("");
}
