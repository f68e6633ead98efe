export interface Column<Row> {
  readonly title: string;
  readonly value: (row: Row) => string;
  /** Figures stand at the right edge. */
  readonly align?: "right";
}

const SGR = new RegExp(`${String.fromCodePoint(27)}\\[[0-9;]*m`, "g");
const GAP = "  ";

/** Aligned columns under a header line. Control sequences for colour have no width. No rows: only the header. */
export function formatTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const cells = [
    columns.map((column) => column.title),
    ...rows.map((row) => columns.map((column) => oneLine(column.value(row)))),
  ];
  const widths = columns.map((_, index) => Math.max(...cells.map((line) => displayWidth(line[index] ?? ""))));
  return cells
    .map((line) => {
      const padded = line.map((cell, index) => {
        const space = " ".repeat((widths[index] ?? 0) - displayWidth(cell));
        return columns[index]?.align === "right" ? space + cell : cell + space;
      });
      return `${padded.join(GAP).trimEnd()}\n`;
    })
    .join("");
}

/** "key: value" lines with the values under each other; entries with an empty value are left out. */
export function formatFields(fields: readonly (readonly [string, string])[]): string {
  const shown = fields.filter(([, value]) => value !== "");
  const width = Math.max(0, ...shown.map(([key]) => key.length));
  return shown.map(([key, value]) => `${`${key}:`.padEnd(width + 1)} ${oneLine(value)}\n`).join("");
}

/** Characters it takes on the screen, one for each code point: names and ids here are ASCII. */
export function displayWidth(text: string): number {
  return Array.from(text.replaceAll(SGR, "")).length;
}

/** A message of a container may hold anything: it must not break a table or drive the terminal. */
export function oneLine(text: string): string {
  const escape = String.fromCodePoint(27);
  return Array.from(text.replaceAll(/\s*[\r\n]+\s*/g, " "))
    .map((char) => (char < " " && char !== escape ? "?" : char))
    .join("")
    .replaceAll(new RegExp(`${escape}(?!\\[[0-9;]*m)`, "g"), "?");
}
