import { spawn } from "node:child_process";
import { accessSync, closeSync, constants, openSync } from "node:fs";
import { AppError } from "../model/error.ts";

export interface CommandOptions {
  readonly stdin?: string | Uint8Array;
  /** A file whose content becomes the input; excludes `stdin`. */
  readonly stdinFile?: string;
  readonly timeoutMs?: number;
  /** Replaces the whole environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const TIMEOUT_MS = 20_000;
/** After the program's end, what is still in its pipes has this long to arrive. */
const DRAIN_MS = 500;
/** Output beyond this is a mistake of the caller: it would fill the memory. */
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;

/**
 * Runs a program by argv and hands back whatever exit code it had.
 * @throws AppError `unavailable` when it cannot start or does not end in time (it is killed then).
 */
export function runCommand(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const [program = "", ...rest] = argv;
  const timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
  const stdin = options.stdinFile === undefined ? "pipe" : openSync(options.stdinFile, "r");
  return new Promise((resolve, reject) => {
    const child = spawn(program, rest, {
      stdio: [stdin, "pipe", "pipe"],
      env: options.env ?? { ...process.env, LC_ALL: "C" },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    if (typeof stdin === "number") closeSync(stdin);
    const stdout = new OutputBuffer(() => child.kill("SIGKILL"));
    const stderr = new OutputBuffer(() => child.kill("SIGKILL"));
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill("SIGKILL");
    }, timeoutMs);
    child.stdout?.on("data", (bytes: Uint8Array) => stdout.add(bytes));
    child.stderr?.on("data", (bytes: Uint8Array) => stderr.add(bytes));
    // A program that ends without reading its input breaks the pipe: its exit code tells the story, not this.
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(options.stdin ?? "");
    child.on("error", (cause) => {
      clearTimeout(timer);
      reject(new AppError("unavailable", `Cannot run ${quote(argv)}: ${cause.message}`, { cause }));
    });
    const finish = (code: number | null, signal: NodeJS.Signals | null): void => {
      clearTimeout(timer);
      clearTimeout(drain);
      if (timedOut) {
        reject(new AppError("unavailable", `Cannot finish ${quote(argv)}: not done after ${timeoutMs} ms`));
        return;
      }
      resolve({ code: code ?? (signal === null ? 1 : 128), stdout: stdout.text(), stderr: stderr.text() });
    };
    let drain: NodeJS.Timeout | undefined;
    // A daemon that the program left behind may hold its pipes for ever: the output that came by then is the output.
    child.on("exit", (code, signal) => (drain = setTimeout(() => finish(code, signal), DRAIN_MS)));
    child.on("close", finish);
  });
}

/** As `runCommand`, but any exit code other than 0 is an AppError `unavailable` with what the program said. */
export async function mustRun(argv: readonly string[], options: CommandOptions = {}): Promise<string> {
  const result = await runCommand(argv, options);
  if (result.code !== 0) {
    const said = (result.stderr.trim() || result.stdout.trim()).slice(-2000);
    throw new AppError("unavailable", `Cannot run ${quote(argv)}: exit code ${result.code}: ${said}`);
  }
  return result.stdout;
}

/** Path of a program as PATH finds it. @throws AppError `unavailable`. */
export function findProgram(name: string): string {
  const paths = (process.env.PATH ?? "").split(":").map((dir) => `${dir}/${name}`);
  const found = paths.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (found === undefined)
    throw new AppError("unavailable", `Cannot find the program "${name}"`, { hint: "npm run setup" });
  return found;
}

function quote(argv: readonly string[]): string {
  const text = argv.join(" ");
  return `"${text.length > 240 ? `${text.slice(0, 240)}…` : text}"`;
}

class OutputBuffer {
  readonly #parts: Uint8Array[] = [];
  readonly #onOverflow: () => void;
  #bytes = 0;

  constructor(onOverflow: () => void) {
    this.#onOverflow = onOverflow;
  }

  add(bytes: Uint8Array): void {
    this.#bytes += bytes.length;
    if (this.#bytes > OUTPUT_BYTES_MAX) this.#onOverflow();
    else this.#parts.push(bytes);
  }

  text(): string {
    return Buffer.concat(this.#parts).toString("utf8");
  }
}
