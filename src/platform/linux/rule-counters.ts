import { z } from "zod";
import { isIpv4 } from "../../model/ip.ts";
import { type HostAddress, isIpv6 } from "../../model/ip6.ts";
import type { Refusal, RuleCounters } from "../ports/rule-counters.ts";
import type { LineRunner } from "../ports/runner.ts";

const counterShape = z.object({
  nftables: z.array(z.object({ counter: z.object({ name: z.string(), packets: z.number() }).optional() })),
});
const elementShape = z.object({
  elem: z.object({
    val: z.object({
      concat: z.tuple([z.string(), z.string(), z.union([z.string(), z.number()]), z.union([z.string(), z.number()])]),
    }),
    counter: z.object({ packets: z.number() }),
  }),
});
const setShape = z.object({
  nftables: z.array(z.object({ set: z.object({ elem: z.array(z.unknown()).optional() }).optional() })),
});

/** Reads counters and the set of refusals with nft. */
export class LinuxRuleCounters implements RuleCounters {
  readonly #runner: LineRunner;

  constructor(options: { readonly runner: LineRunner }) {
    this.#runner = options.runner;
  }

  async packets(): Promise<ReadonlyMap<string, number>> {
    const lists = await Promise.all(
      ["inet", "bridge"].map((family) =>
        this.#runner.run(["nft", "-j", "list", "counters", "table", family, "apollo"], { okCodes: [0, 1] }),
      ),
    );
    const counters = lists
      .filter(({ code }) => code === 0)
      .flatMap(({ stdout }) => counterShape.parse(JSON.parse(stdout)).nftables)
      .flatMap(({ counter }) => counter ?? []);
    // One name may stand in both tables.
    const sums = new Map<string, number>();
    for (const { name, packets } of counters) sums.set(name, (sums.get(name) ?? 0) + packets);
    return sums;
  }

  async refusals(): Promise<readonly Refusal[]> {
    const lists = await Promise.all(
      ["policy_refused", "policy_refused6"].map((set) =>
        this.#runner.run(["nft", "-j", "-n", "list", "set", "inet", "apollo", set], { okCodes: [0, 1] }),
      ),
    );
    return lists
      .filter(({ code }) => code === 0)
      .flatMap(({ stdout }) => setShape.parse(JSON.parse(stdout)).nftables)
      .flatMap(({ set }) => set?.elem ?? [])
      .flatMap((element) => readRefusal(element) ?? []);
  }
}

const PROTOCOL_NAMES: Readonly<Record<string, string>> = { "1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6" };

function isAddress(text: string): text is HostAddress {
  return isIpv4(text) || isIpv6(text);
}

function readRefusal(element: unknown): Refusal | null {
  const read = elementShape.safeParse(element);
  if (!read.success) return null;
  const { val, counter } = read.data.elem;
  const [source, destination, protocol, port] = val.concat;
  if (!isAddress(source) || !isAddress(destination)) return null;
  const name = PROTOCOL_NAMES[String(protocol)] ?? String(protocol);
  return { source, destination, protocol: name, port: Number(port), packets: counter.packets };
}
