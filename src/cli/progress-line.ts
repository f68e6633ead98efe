import { displayWidth } from "./format-table.ts";
import type { Terminal } from "./terminal.ts";

export interface ProgressLine {
  /** Shows `text` in place of what it showed before. */
  update(text: string): void;
  /** Takes the line away, so that other output starts on a clean one. */
  clear(): void;
}

/** One line that rewrites itself on a terminal; elsewhere a line for each change, since a log keeps them all. */
export function createProgressLine(terminal: Terminal): ProgressLine {
  let shown = "";
  return {
    update: (text) => {
      if (text === shown) return;
      shown = text;
      terminal.write(terminal.isTty ? `\r\u001b[2K${cut(text, terminal.columns() - 1)}` : `${text}\n`);
    },
    clear: () => {
      if (terminal.isTty && shown !== "") terminal.write("\r\u001b[2K");
      shown = "";
    },
  };
}

/** A line that wraps cannot be taken back. Progress lines carry no colour, so characters are columns. */
function cut(text: string, width: number): string {
  return displayWidth(text) <= width
    ? text
    : `${Array.from(text)
        .slice(0, Math.max(0, width - 1))
        .join("")}…`;
}
