import { AppError, describeError } from "../../model/error.ts";
import type { LineRunner, RunOptions, RunResult } from "../ports/runner.ts";

const TIMEOUT_MS = 10_000;
/** Output beyond this is a mistake of ours or an attack, not an answer. */
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;
/** As much of stderr as a person reads in an error. */
const STDERR_SHOWN = 2000;

export interface ProcessRunnerOptions {
  /** Put in front of every argv: `["ip", "netns", "exec", name]` runs all in another namespace. */
  readonly prefix?: readonly string[];
}

/** Runs programs of this machine. No shell: argv goes to the kernel as it is. */
export class ProcessRunner implements LineRunner {
  readonly #prefix: readonly string[];

  constructor(options: ProcessRunnerOptions = {}) {
    this.#prefix = options.prefix ?? [];
  }

  async run(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    const timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
    const child = startChild([...this.#prefix, ...argv], {
      stdin: options.stdin === undefined ? "ignore" : new TextEncoder().encode(options.stdin),
      stderr: "pipe",
      env: environment(options.env),
      timeout: timeoutMs,
      killSignal: "SIGKILL",
      maxBuffer: OUTPUT_BYTES_MAX,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    const [stdout, stderr, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    if (child.signalCode !== null) {
      const why = child.signalCode === "SIGKILL" ? `no end within ${timeoutMs} ms` : `ended by ${child.signalCode}`;
      throw failure(argv, why, { stderr, code: 128 });
    }
    if (!(options.okCodes ?? [0]).includes(code)) {
      throw failure(argv, stderr.trim().slice(0, STDERR_SHOWN) || `exit code ${code}`, { stderr, code });
    }
    return { code, stdout, stderr };
  }

  async follow(argv: readonly string[], onLine: (line: string) => void, signal: AbortSignal): Promise<number | null> {
    if (signal.aborted) return null;
    const child = startChild([...this.#prefix, ...argv], { stdin: "ignore", stderr: "ignore", env: environment() });
    const end = (): void => child.kill("SIGKILL");
    signal.addEventListener("abort", end);
    try {
      const decoder = new TextDecoder();
      let rest = "";
      for await (const bytes of child.stdout) {
        const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) onLine(line);
      }
      const code = await child.exited;
      return signal.aborted ? null : code;
    } finally {
      signal.removeEventListener("abort", end);
      end();
    }
  }
}

type ChildOptions = Omit<Bun.SpawnOptions.OptionsObject<"ignore" | Uint8Array, "pipe", "pipe" | "ignore">, "stdout">;

function startChild(
  argv: readonly string[],
  options: ChildOptions,
): Bun.Subprocess<"ignore" | Uint8Array, "pipe", "pipe"> {
  try {
    return Bun.spawn([...argv], { ...options, stdout: "pipe" }) as Bun.Subprocess<
      "ignore" | Uint8Array,
      "pipe",
      "pipe"
    >;
  } catch (cause) {
    const program = argv[0] ?? "";
    throw new AppError("unavailable", `Cannot run "${program}": ${describeError(cause)}`, {
      cause,
      hint: `Install the program: ${program}`,
      details: { argv: [...argv] },
    });
  }
}

/** Output must read the same on every machine. */
function environment(extra: Readonly<Record<string, string>> = {}): Record<string, string | undefined> {
  return { ...process.env, ...extra, LC_ALL: "C" };
}

function failure(argv: readonly string[], why: string, { stderr, code }: { stderr: string; code: number }): AppError {
  return new AppError("unavailable", `Cannot run "${argv.join(" ")}": ${why}`, {
    details: { argv: [...argv], stderr: stderr.slice(0, STDERR_SHOWN), exitCode: code },
  });
}
