import { readdirSync } from "node:fs";
import { join } from "node:path";
import { AppError } from "../../src/model/error.ts";

const ROOT = join(import.meta.dir, "../..");
const TIMES = 20;
const FOLDERS = ["src", "test"];
/** A file that hangs is a failure, not the end of the soak. */
const FILE_DEADLINE_MS = 15 * 60_000;
/** Of one test that names none: only a hang takes so long, whatever runs beside it. */
const TEST_MS = 180_000;
/** Enough of what a failed run said to see why. */
const TAIL_LINES = 60;
const USAGE = "npm run soak -- tests links.netns policy.netns --times 20 --pressure 3";

interface Soak {
  readonly patterns: readonly string[];
  readonly times: number;
  /** Busy loops beside the tests: what a slow machine with other work is like. */
  readonly pressure: number;
}

/**
 * `npm run soak -- tests PATTERN… [--times 20] [--pressure N]`: runs each test file whose path has one of the patterns in it
 * so many times, one after the other. @throws AppError with the counts when any run failed.
 */
export async function soakTests(argv: readonly string[]): Promise<string> {
  const { patterns, times, pressure } = parseArguments(argv);
  const files = FOLDERS.flatMap(listTests).filter((path) => patterns.some((pattern) => path.includes(pattern)));
  if (files.length === 0) {
    const hint = USAGE;
    throw new AppError("not-found", `Cannot soak tests: no test file has ${patterns.join(" or ")} in its path`, {
      hint,
    });
  }
  const loops = Array.from({ length: pressure }, startBusyLoop);
  const lines: string[] = [];
  let failures = 0;
  try {
    for (const file of files) {
      const startMs = performance.now();
      const failed = await soakFile(file, times);
      failures += failed;
      const seconds = Math.round((performance.now() - startMs) / 1000);
      lines.push(`${file}: ${times - failed} of ${times} passed in ${seconds} s`);
      console.error(lines.at(-1));
    }
  } finally {
    for (const loop of loops) loop.kill("SIGKILL");
  }
  const report = lines.join("\n");
  if (failures > 0) throw new AppError("unavailable", `${failures} runs failed:\n${report}`);
  return report;
}

/** Returns how many of the runs failed. */
async function soakFile(file: string, times: number): Promise<number> {
  let failed = 0;
  for (let turn = 1; turn <= times; turn += 1) {
    const { code, text } = await runFile(file);
    if (code === 0) continue;
    failed += 1;
    console.error(`${file}: turn ${turn} of ${times} failed\n${text}`);
  }
  return failed;
}

function parseArguments(argv: readonly string[]): Soak {
  const patterns: string[] = [];
  const numbers = { "--times": TIMES, "--pressure": 0 };
  for (let at = 0; at < argv.length; at += 1) {
    const word = argv[at] ?? "";
    if (word === "--times" || word === "--pressure") numbers[word] = Number(argv[++at]);
    else patterns.push(word);
  }
  const { "--times": times, "--pressure": pressure } = numbers;
  const sound = Number.isInteger(times) && times >= 1 && Number.isInteger(pressure) && pressure >= 0 && pressure <= 64;
  if (sound && patterns.length > 0) return { patterns, times, pressure };
  const hint = USAGE;
  throw new AppError("invalid", "Cannot soak tests: it needs a part of a path, and numbers for --times, --pressure", {
    hint,
  });
}

/** It ends with this process, however that ends. */
function startBusyLoop(): Bun.Subprocess {
  return Bun.spawn(["setpriv", "--pdeathsig", "KILL", process.execPath, "-e", "for (;;);"], {
    stdio: ["ignore", "ignore", "ignore"],
  });
}

async function runFile(file: string): Promise<{ readonly code: number; readonly text: string }> {
  const child = Bun.spawn([process.execPath, "test", "--timeout", String(TEST_MS), `./${file}`], {
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
