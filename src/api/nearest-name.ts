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

/** Insertions, deletions, replacements and swaps of neighbours (optimal string alignment). */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let above = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let least = Math.min((above[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (above[j - 1] ?? 0) + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        least = Math.min(least, (before[j - 2] ?? 0) + 1);
      row.push(least);
    }
    before = above;
    above = row;
  }
  return above[b.length] ?? 0;
}
