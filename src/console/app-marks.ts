/**
 * How an app is told apart on the map: one of ten colours and two letters. The letters carry the meaning alone for
 * whoever cannot see the colour; red and green are left out, since those speak of health elsewhere.
 */
export interface AppMark {
  /** Index into a theme's `appFills`. */
  readonly colour: number;
  readonly letters: string;
}

export const APP_COLOUR_COUNT = 10;

/**
 * Gives each app a mark. An app keeps the one it has in `previous`; a new one gets the colour its name asks for, or the
 * next that fewest apps use. The same set of apps gets the same colours in every browser.
 */
export function planAppMarks(
  previous: ReadonlyMap<string, AppMark>,
  appIds: readonly string[],
): ReadonlyMap<string, AppMark> {
  const marks = new Map<string, AppMark>();
  const uses = Array.from({ length: APP_COLOUR_COUNT }, () => 0);
  const sorted = appIds.toSorted();
  for (const id of sorted) {
    const known = previous.get(id);
    if (known === undefined) continue;
    marks.set(id, known);
    uses[known.colour] = (uses[known.colour] ?? 0) + 1;
  }
  for (const id of sorted) {
    if (marks.has(id)) continue;
    const colour = chooseColour(id, uses);
    uses[colour] = (uses[colour] ?? 0) + 1;
    marks.set(id, { colour, letters: appLetters(id) });
  }
  return marks;
}

function chooseColour(id: string, uses: readonly number[]): number {
  const fewest = Math.min(...uses);
  const start = hashText(id) % APP_COLOUR_COUNT;
  for (let step = 0; step < APP_COLOUR_COUNT; step++) {
    const colour = (start + step) % APP_COLOUR_COUNT;
    if (uses[colour] === fewest) return colour;
  }
  return start;
}

/** Two letters: the first, and the number an id ends in or its second word: "web-v2" → W2, "rest-api" → RA. */
export function appLetters(appId: string): string {
  const words = appId.split(/[^a-z0-9]+/i).filter((word) => word !== "");
  const first = words[0]?.[0] ?? "?";
  const last = words.at(-1) ?? "";
  if (words.length > 1 && /\d$/.test(last)) return (first + last.slice(-1)).toUpperCase();
  return (first + (words[1]?.[0] ?? words[0]?.[1] ?? "")).toUpperCase();
}

/** FNV-1a, 32 bits: spreads similar names. */
function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  return hash >>> 0;
}
