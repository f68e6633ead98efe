import type { Cidr } from "../model/ip.ts";
import { cidrSize, parseCidr } from "../model/ip.ts";

/** Blocks that share an address, each pair of neighbours once, in words with their holders. */
export function findOverlaps(
  hosts: readonly { readonly name: string; readonly blocks: readonly string[] }[],
): readonly { readonly one: string; readonly other: string }[] {
  const held = hosts
    .flatMap(({ name, blocks }) => blocks.map((block) => ({ cidr: parseCidr(block), what: `${block} of ${name}` })))
    .toSorted((a, b) => a.cidr.first - b.cidr.first || a.cidr.prefix - b.cidr.prefix);
  const overlaps: { one: string; other: string }[] = [];
  let widest: { readonly cidr: Cidr; readonly what: string } | null = null;
  for (const each of held) {
    if (widest !== null && each.cidr.first < widest.cidr.first + cidrSize(widest.cidr))
      overlaps.push({ one: widest.what, other: each.what });
    else widest = each;
  }
  return overlaps;
}
