import { readdirSync } from "node:fs";
import { join } from "node:path";
import { AppError } from "../../src/model/error.ts";

const ROOT = join(import.meta.dir, "../..");
const TIMES = 20;
const FOLDERS = ["src", "test"];
/** A file that hangs is a failure, not the end of the soak. */
const FILE_DEADLINE_MS = 15 * 60_000;
/** Enough of what a failed run said to see why. */
const TAIL_LINES = 60;

/**
 * `npm run soak -- tests PATTERN… [--times 20]`: runs each test file whose path has one of the patterns in it so many times,
 * one after the other. @throws AppError with the counts when any run failed.
 */
export async function soakTests(argv: readonly string[]): Promise<string> {
  const { patterns, times } = parseArguments(argv);
  const files = FOLDERS.flatMap(listTests).filter((path) => patterns.some((pattern) => path.includes(pattern)));
  if (files.length === 0) {
    throw new AppError("not-found", `Cannot soak tests: no test file has ${patterns.join(" or ")} in its path`, {
      hint: "npm run soak -- tests links.netns policy.netns --times 20",
    });
  }
  const lines: string[] = [];
  let failures = 0;
  for (const file of files) {
    let failed = 0;
    const startMs = performance.now();
    for (let turn = 1; turn <= times; turn += 1) {
      const { code, text } = await runFile(file);
      if (code === 0) continue;
      failed += 1;
      console.error(`${file}: turn ${turn} of ${times} failed\n${text}`);
    }
    failures += failed;
    const seconds = Math.round((performance.now() - startMs) / 1000);
    lines.push(`${file}: ${times - failed} of ${times} passed in ${seconds} s`);
    console.error(lines.at(-1));
  }
  const report = lines.join("\n");
  if (failures > 0) throw new AppError("unavailable", `${failures} runs failed:\n${report}`);
  return report;
}

function parseArguments(argv: readonly string[]): { readonly patterns: readonly string[]; readonly times: number } {
  const at = argv.indexOf("--times");
  const times = at < 0 ? TIMES : Number(argv[at + 1]);
  const patterns = argv.filter((_, index) => at < 0 || (index !== at && index !== at + 1));
  if (!Number.isInteger(times) || times < 1 || patterns.length === 0) {
    throw new AppError("invalid", "Cannot soak tests: it needs a part of a path, and --times a number", {
      hint: "npm run soak -- tests links.netns --times 20",
    });
  }
  return { patterns, times };
}

async function runFile(file: string): Promise<{ readonly code: number; readonly text: string }> {
  const child = Bun.spawn([process.execPath, "test", `./${file}`], {
    cwd: ROOT,
    stdout: "pipe",
    stderr: "pipe",
    timeout: FILE_DEADLINE_MS,
  });
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code, text: `${out}${err}`.split("\n").slice(-TAIL_LINES).join("\n") };
}

function listTests(folder: string): readonly string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .filter((path) => /\.test\.tsx?$/.test(path))
    .map((path) => `${folder}/${path}`)
    .toSorted();
}
