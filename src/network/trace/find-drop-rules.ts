/**
 * Which rule of somebody else's would drop a packet of a new connection: a small interpreter of nftables rulesets as
 * `nft -j` prints them. It knows the matches that people write against addresses, ports, devices, sizes and connection
 * states. Of any other match (iptables' own extensions, limits, sets by name) it does not know how it comes out, and says
 * so: what is reached past such a match is only possible.
 */
import { z } from "zod";
import { cidrContains, isIpv4, parseCidr } from "../../model/ip.ts";
import type { HostAddress } from "../../model/ip6.ts";
import { cidr6Contains, isIpv6, parseCidr6 } from "../../model/ip6.ts";

/** A packet on its way through a host. */
export interface PacketPath {
  /** Through the host, or to a program on it. */
  readonly hook: "forward" | "input" | "output";
  /** Device that it comes in and goes out by; null where it is not known or there is none. */
  readonly inDevice: string | null;
  readonly outDevice: string | null;
  readonly source: HostAddress | null;
  readonly destination: HostAddress;
  readonly protocol: "tcp" | "udp" | "icmp";
  readonly port: number | null;
  /** IP header included. */
  readonly bytes: number;
}

export interface DropRule {
  /** As `nft list chain` names it: "ip filter FORWARD". */
  readonly chain: string;
  readonly hook: string;
  /** The rule's number for `nft delete rule`; null when the chain's policy drops. */
  readonly handle: number | null;
  readonly comment: string | null;
  /** False when some match on the way to it could not be judged. */
  readonly certain: boolean;
}

/** Beyond this a ruleset is not looked through: it would take longer than anyone waits. */
const STEPS_MAX = 50_000;
const DEPTH_MAX = 16;
const HEADER6_BYTES = 40;
const FAMILIES = { 4: new Set(["ip", "inet"]), 6: new Set(["ip6", "inet"]) } as const;
/** Ours is judged by the policy's own plan. */
const OWN_TABLE = "apollo";
const HOOKS: Readonly<Record<PacketPath["hook"], readonly string[]>> = {
  forward: ["prerouting", "forward", "postrouting"],
  input: ["prerouting", "input"],
  output: ["output", "postrouting"],
};

const expression = z.record(z.string(), z.unknown());
const chainShape = z.object({
  family: z.string(),
  table: z.string(),
  name: z.string(),
  type: z.string().optional(),
  hook: z.string().optional(),
  policy: z.string().optional(),
});
const ruleShape = z.object({
  family: z.string(),
  table: z.string(),
  chain: z.string(),
  handle: z.number(),
  comment: z.string().optional(),
  expr: z.array(expression),
});
const rulesetShape = z.object({
  nftables: z.array(z.object({ chain: chainShape.optional(), rule: ruleShape.optional() })),
});
type Rule = z.infer<typeof ruleShape>;
type Expression = z.infer<typeof expression>;
type Truth = "yes" | "no" | "maybe";

/** Drops of other tables than ours, the certain ones first; [] when there are none, or the text is not nftables' JSON. */
export function findDropRules(text: string, path: PacketPath): readonly DropRule[] {
  const { nftables } = readRuleset(text) ?? { nftables: [] };
  const rules = new Map<string, Rule[]>();
  for (const { rule } of nftables) {
    if (rule === undefined) continue;
    const key = `${rule.family} ${rule.table} ${rule.chain}`;
    rules.set(key, [...(rules.get(key) ?? []), rule]);
  }
  const walk: Walk = { rules, path, steps: 0 };
  const found = nftables.flatMap(({ chain }): readonly DropRule[] => {
    if (
      chain?.hook === undefined ||
      !FAMILIES[isIpv4(path.destination) ? 4 : 6].has(chain.family) ||
      chain.table === OWN_TABLE
    )
      return [];
    if (!HOOKS[path.hook].includes(chain.hook)) return [];
    const name = `${chain.family} ${chain.table} ${chain.name}`;
    const end = runChain(walk, {
      name,
      hook: chain.hook,
      base: `${chain.family} ${chain.table}`,
      certain: true,
      depth: 0,
    });
    if (end.over) return end.drops;
    const byPolicy = { chain: name, hook: chain.hook, handle: null, comment: "policy drop", certain: end.certain };
    return chain.policy === "drop" ? [...end.drops, byPolicy] : end.drops;
  });
  return found.toSorted((a, b) => Number(b.certain) - Number(a.certain));
}

function readRuleset(text: string): z.infer<typeof rulesetShape> | null {
  try {
    return rulesetShape.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

interface Walk {
  readonly rules: ReadonlyMap<string, readonly Rule[]>;
  readonly path: PacketPath;
  steps: number;
}

interface Place {
  readonly name: string;
  readonly hook: string;
  /** Family and table. */
  readonly base: string;
  /** Every match on the way here was judged. */
  readonly certain: boolean;
  readonly depth: number;
}

interface ChainEnd {
  readonly drops: readonly DropRule[];
  /** A verdict was surely reached: what comes after does not see the packet. */
  readonly over: boolean;
  /** No rule that could not be judged might have ended it. */
  readonly certain: boolean;
}

function runChain(walk: Walk, place: Place): ChainEnd {
  const drops: DropRule[] = [];
  let certain = place.certain;
  for (const rule of walk.rules.get(place.name) ?? []) {
    walk.steps += 1;
    if (walk.steps > STEPS_MAX) return { drops, over: true, certain: false };
    const matched = matchRule(rule.expr, walk.path);
    if (matched === "no") continue;
    const sure = certain && matched === "yes";
    const verdict = verdictOf(rule.expr);
    if (verdict === null) continue;
    if (verdict.kind === "drop") {
      const comment = rule.comment ?? null;
      drops.push({ chain: place.name, hook: place.hook, handle: rule.handle, comment, certain: sure });
    }
    if (verdict.kind === "jump" || verdict.kind === "goto") {
      if (place.depth >= DEPTH_MAX) continue;
      const name = `${place.base} ${verdict.target}`;
      const end = runChain(walk, { ...place, name, certain: sure, depth: place.depth + 1 });
      drops.push(...end.drops);
      if (matched === "yes" && (end.over || verdict.kind === "goto")) return { drops, over: end.over, certain };
      certain &&= end.certain || end.drops.length === 0;
      continue;
    }
    if (matched === "yes") return { drops, over: verdict.kind !== "return", certain };
    // It may have ended here: what follows is reached only perhaps.
    certain = false;
  }
  return { drops, over: false, certain };
}

type Verdict =
  | { readonly kind: "drop" | "accept" | "return" }
  | { readonly kind: "jump" | "goto"; readonly target: string };

const jumpShape = z.object({ target: z.string() });

function verdictOf(expressions: readonly Expression[]): Verdict | null {
  for (const one of expressions) {
    if ("drop" in one || "reject" in one) return { kind: "drop" };
    if ("accept" in one) return { kind: "accept" };
    if ("return" in one) return { kind: "return" };
    for (const kind of ["jump", "goto"] as const) {
      const target = jumpShape.safeParse(one[kind]).data?.target;
      if (target !== undefined) return { kind, target };
    }
  }
  return null;
}

/** What neither decides nor changes whether the rule applies. */
const NEUTRAL: ReadonlySet<string> = new Set(
  "counter log drop reject accept return jump goto mangle masquerade snat dnat".split(" "),
);
const matchShape = z.object({ op: z.string(), left: expression, right: z.unknown() });

function matchRule(expressions: readonly Expression[], path: PacketPath): Truth {
  let result: Truth = "yes";
  for (const one of expressions) {
    const match = matchShape.safeParse(one["match"]);
    const truth = match.success
      ? judge(match.data, path)
      : Object.keys(one).every((key) => NEUTRAL.has(key))
        ? "yes"
        : "maybe";
    if (truth === "no") return "no";
    if (truth === "maybe") result = "maybe";
  }
  return result;
}

const payloadShape = z.object({ protocol: z.string(), field: z.string() });
const keyShape = z.object({ key: z.string() });

function judge({ op, left, right }: z.infer<typeof matchShape>, path: PacketPath): Truth {
  const value = valueOf(left, path);
  if (value === undefined) return "maybe";
  if (value === null) return "no";
  const truth = compare(op, value, right);
  return truth === null ? "maybe" : truth ? "yes" : "no";
}

/** Of the packet; undefined: not known, null: the packet has no such field. */
function valueOf(left: Expression, path: PacketPath): string | number | null | undefined {
  const payload = payloadShape.safeParse(left["payload"]).data;
  const four = isIpv4(path.destination);
  const protocol = path.protocol === "icmp" && !four ? "ipv6-icmp" : path.protocol;
  if (payload !== undefined) {
    if (payload.protocol === "ip" || payload.protocol === "ip6") {
      if ((payload.protocol === "ip") !== four) return null;
      if (payload.field === "saddr") return path.source ?? undefined;
      // IPv6 does not count its own header.
      if (payload.field === "length") return four ? path.bytes : path.bytes - HEADER6_BYTES;
      return { daddr: path.destination, protocol, nexthdr: protocol, version: four ? 4 : 6 }[payload.field];
    }
    if (["tcp", "udp", "th"].includes(payload.protocol)) {
      if (payload.protocol !== "th" && payload.protocol !== path.protocol) return null;
      return payload.field === "dport" ? (path.port ?? undefined) : undefined;
    }
    const isIcmp = payload.protocol === "icmp" || payload.protocol === "icmpv6";
    return isIcmp && (path.protocol !== "icmp" || (payload.protocol === "icmp") !== four) ? null : undefined;
  }
  const meta = keyShape.safeParse(left["meta"]).data?.key;
  if (meta === "iifname" || meta === "iif") return path.inDevice ?? undefined;
  if (meta === "oifname" || meta === "oif") return path.outDevice ?? undefined;
  if (meta === "length") return path.bytes;
  if (meta === "l4proto") return protocol;
  if (meta === "nfproto") return four ? "ipv4" : "ipv6";
  if (meta === "protocol") return four ? "ip" : "ip6";
  return keyShape.safeParse(left["ct"]).data?.key === "state" ? "new" : undefined;
}

function compare(op: string, value: string | number, right: unknown): boolean | null {
  if (op === "==" || op === "in") return holds(value, right);
  if (op === "!=") {
    const same = holds(value, right);
    return same === null ? null : !same;
  }
  if (typeof value !== "number" || typeof right !== "number") return null;
  return { "<": value < right, ">": value > right, "<=": value <= right, ">=": value >= right }[op] ?? null;
}

const rightShape = z.union([
  z.object({ set: z.array(z.unknown()) }),
  z.object({ range: z.tuple([z.unknown(), z.unknown()]) }),
  z.object({ prefix: z.object({ addr: z.string(), len: z.number() }) }),
]);

function holds(value: string | number, right: unknown): boolean | null {
  if (Array.isArray(right)) return any(right.map((each) => holds(value, each)));
  if (typeof right === "string" && right.startsWith("@")) return null;
  if (typeof right === "string" && right.endsWith("*")) return String(value).startsWith(right.slice(0, -1));
  if (typeof right === "string" || typeof right === "number") return String(value) === String(right);
  const read = rightShape.safeParse(right).data;
  if (read === undefined) return null;
  if ("set" in read) return any(read.set.map((each) => holds(value, each)));
  if ("range" in read) {
    const [low, high] = read.range;
    return typeof value === "number" && typeof low === "number" && typeof high === "number"
      ? low <= value && value <= high
      : null;
  }
  if (typeof value !== "string") return null;
  const { addr, len } = read.prefix;
  if (isIpv6(value) && isIpv6(addr)) return cidr6Contains(parseCidr6(`${addr}/${len}`), value);
  return isIpv4(value) && isIpv4(addr) ? cidrContains(parseCidr(`${addr}/${len}`), value) : null;
}

function any(truths: readonly (boolean | null)[]): boolean | null {
  if (truths.includes(true)) return true;
  return truths.includes(null) ? null : false;
}
