import { editDistance } from "../model/edit-distance.ts";

/** Changes of one letter that still make a likely slip: one in a short name, three in a long one. */
function slipsMax(name: string): number {
  return Math.min(3, Math.max(1, Math.floor(name.length / 3)));
}

/** The known name that `name` was most likely meant to be, or null. Ties go to the first in order. */
export function nearestName(name: string, known: readonly string[]): string | null {
  const wanted = name.slice(0, 64).toLowerCase();
  let best: { readonly name: string; readonly distance: number } | null = null;
  for (const candidate of known.toSorted()) {
    const distance = editDistance(wanted, candidate.toLowerCase());
    if (distance <= slipsMax(candidate) && (best === null || distance < best.distance))
      best = { name: candidate, distance };
  }
  return best?.name ?? null;
}
