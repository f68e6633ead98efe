/**
 * Reads the closing lines of `bun test`: " 12 pass", " 1 fail", " 1 error", "Ran 13 tests across 2 files.".
 * `complete` is false when the run ended before it printed them.
 * @param {string} output
 * @returns {{passed: number, failed: number, complete: boolean}}
 */
export function parseBunSummary(output) {
  const text = withoutColours(output);
  const at = text.lastIndexOf("\nRan ");
  if (at < 0) return { passed: 0, failed: 0, complete: false };
  // Only the block right above counts: a test may print such lines of its own.
  const block = text.slice(0, at).split("\n").slice(-8).join("\n");
  const last = (word) => Number([...block.matchAll(new RegExp(`^ +([0-9]+) ${word}s?$`, "gm"))].at(-1)?.[1] ?? 0);
  return { passed: last("pass"), failed: last("fail") + last("error"), complete: true };
}

/**
 * Lists the failed tests of `bun test` with the first error of each, in the order they failed: who has only the end of a
 * long run still knows what broke. `error` is "" where Bun printed none, as for a test that took too long.
 * @param {string} output
 * @returns {{file: string, test: string, error: string}[]}
 */
export function parseBunFailures(output) {
  const failures = [];
  let file = "";
  let error = "";
  for (const line of withoutColours(output).split("\n")) {
    // From here on Bun lists them once more.
    if (/^[0-9]+ tests? failed:$/.test(line)) break;
    const heading = /^(\S+\.test\.tsx?):$/.exec(line);
    const end = /^\((pass|fail|skip)\) (.*?)(?: \[[0-9.]+ms\])?$/.exec(line);
    if (heading !== null) file = heading[1];
    else if (end?.[1] === "fail") failures.push({ file, test: end[2], error });
    else if (error === "" && line.startsWith("error: ")) error = line.slice("error: ".length);
    if (heading !== null || end !== null) error = "";
  }
  return failures;
}

function withoutColours(output) {
  // oxlint-disable-next-line no-control-regex -- colours are control characters
  return output.replaceAll(/\u001b\[[0-9;]*m/g, "");
}
