import { editDistance } from "../model/edit-distance.ts";

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
