/** At most this many guesses: more is a list, and there is a command for that. */
const GUESSES_MAX = 3;

/** Known names that `wanted` was likely meant to be, best first: slips of a letter or two, then names that contain it. */
export function suggestNames(wanted: string, known: readonly string[]): readonly string[] {
  const text = wanted.toLowerCase().slice(0, 100);
  const slipsMax = Math.max(1, Math.floor(text.length / 4));
  return [...new Set(known)]
    .map((name) => ({ name, rank: rankOf(text, name.toLowerCase(), slipsMax) }))
    .filter((guess) => guess.rank !== null)
    .toSorted((a, b) => Number(a.rank) - Number(b.rank) || (a.name < b.name ? -1 : 1))
    .slice(0, GUESSES_MAX)
    .map((guess) => guess.name);
}

/** `Did you mean "web" or "worker"?`, or null without a guess. */
export function formatSuggestion(wanted: string, known: readonly string[]): string | null {
  const guesses = suggestNames(wanted, known).map((name) => `"${name}"`);
  const last = guesses.pop();
  if (last === undefined) return null;
  return `Did you mean ${guesses.length === 0 ? last : `${guesses.join(", ")} or ${last}`}?`;
}

function rankOf(text: string, name: string, slipsMax: number): number | null {
  const distance = editDistance(text, name.slice(0, 200));
  if (distance <= slipsMax) return distance;
  return text.length >= 2 && name.includes(text) ? slipsMax + 1 : null;
}

/** Insertions, deletions, replacements and swaps of neighbours (optimal string alignment), row by row. */
function editDistance(a: string, b: string): number {
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
