/**
 * Reads the closing lines of `bun test`: " 12 pass", " 1 fail", " 1 error", "Ran 13 tests across 2 files.".
 * `complete` is false when the run ended before it printed them.
 * @param {string} output
 * @returns {{passed: number, failed: number, complete: boolean}}
 */
export function parseBunSummary(output) {
  // oxlint-disable-next-line no-control-regex -- colours are control characters
  const text = output.replaceAll(/\u001b\[[0-9;]*m/g, "");
  const at = text.lastIndexOf("\nRan ");
  if (at < 0) return { passed: 0, failed: 0, complete: false };
  // Only the block right above counts: a test may print such lines of its own.
  const block = text.slice(0, at).split("\n").slice(-8).join("\n");
  const last = (word) => Number([...block.matchAll(new RegExp(`^ +([0-9]+) ${word}s?$`, "gm"))].at(-1)?.[1] ?? 0);
  return { passed: last("pass"), failed: last("fail") + last("error"), complete: true };
}
