import type { Terminal } from "./terminal.ts";

export type Color = "red" | "green" | "yellow" | "blue" | "magenta" | "cyan" | "dim" | "bold";

const CODES: Readonly<Record<Color, readonly [number, number]>> = {
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  blue: [34, 39],
  magenta: [35, 39],
  cyan: [36, 39],
  dim: [2, 22],
  bold: [1, 22],
};

export type Paint = (color: Color, text: string) => string;

/** Colours for this terminal, or none. */
export function paintFor(terminal: Pick<Terminal, "color">): Paint {
  if (!terminal.color) return (_, text) => text;
  return (color, text) => {
    const [on, off] = CODES[color];
    return text === "" ? "" : `\u001b[${on}m${text}\u001b[${off}m`;
  };
}

/** Colours of the words that say how something is. */
export function paintState(paint: Paint, word: string): string {
  if (["up", "running", "healthy", "passing", "NOERROR"].includes(word)) return paint("green", word);
  if (["down", "failed", "lost", "unhealthy", "critical", "error", "NXDOMAIN"].includes(word))
    return paint("red", word);
  return ["none", "gone", "suspended", "info"].includes(word) ? paint("dim", word) : paint("yellow", word);
}
