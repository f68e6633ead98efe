/** Least width that words are folded to: narrower terminals fold by themselves. */
const COLUMNS_MIN = 24;

/** Lines of at most `columns` characters, broken at spaces; a longer word has a line of its own. At least one line. */
export function wrapWords(text: string, columns: number): readonly string[] {
  const width = Math.max(COLUMNS_MIN, columns);
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    const longer = line === "" ? word : `${line} ${word}`;
    if (longer.length > width && line !== "") {
      lines.push(line);
      line = word;
    } else line = longer;
  }
  return [...lines, line];
}
