/** Insertions, deletions, replacements and swaps of neighbours that make `b` of `a` (optimal string alignment), row by row. */
export function editDistance(a: string, b: string): number {
  const other = Array.from(b);
  let before: readonly number[] = [];
  let row = Array.from({ length: other.length + 1 }, (_, index) => index);
  let last = "";
  for (const [i, char] of Array.from(a).entries()) {
    const next = [i + 1];
    for (const [j, theirs] of other.entries()) {
      const replaced = (row[j] ?? 0) + (char === theirs ? 0 : 1);
      const swapped =
        j > 0 && char === other[j - 1] && last === theirs ? (before[j - 1] ?? 0) + 1 : Number.POSITIVE_INFINITY;
      next.push(Math.min(replaced, swapped, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    [before, row, last] = [row, next, char];
  }
  return row.at(-1) ?? 0;
}
