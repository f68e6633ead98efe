import { AppError, describeError } from "../../model/error.ts";
import type { LineRunner, RunOptions, RunResult } from "../ports/runner.ts";

const TIMEOUT_MS = 10_000;
/** Output beyond this is a mistake of ours or an attack, not an answer. */
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;
/** After a program ended, its pipes are drained; this long they may take to close. */
const PIPES_CLOSE_MS = 1000;
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
    const [out, err] = [collect(child.stdout), collect(child.stderr)];
    const code = await child.exited;
    // A child of the child may hold the pipes for as long as it lives: its output is not what was asked for.
    await Promise.race([Promise.all([out.ended, err.ended]), Bun.sleep(PIPES_CLOSE_MS)]);
    const [stdout, stderr] = [out.end(), err.end()];
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
    const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const end = (): void => {
      child.kill("SIGKILL");
      void lines.cancel();
    };
    signal.addEventListener("abort", end);
    try {
      let rest = "";
      for (let chunk = await lines.read(); !chunk.done && !signal.aborted; chunk = await lines.read()) {
        const whole = (rest + chunk.value).split("\n");
        rest = whole.pop() ?? "";
        for (const line of whole) onLine(line);
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

interface Collected {
  readonly ended: Promise<void>;
  /** Stops reading and returns what came. */
  end(): string;
}

function collect(stream: ReadableStream<Uint8Array>): Collected {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let text = "";
  const read = async (): Promise<void> => {
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
      text += decoder.decode(chunk.value, { stream: true });
    }
  };
  return {
    ended: read(),
    end: () => {
      void reader.cancel();
      return text + decoder.decode();
    },
  };
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
