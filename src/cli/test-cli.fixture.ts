import { Readable } from "node:stream";
import { systemClock } from "../platform/clock/system-clock.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { CliContext } from "./cli-context.ts";
import { programs, type ProgramEntries } from "./programs.ts";
import { runCli } from "./run-cli.ts";
import type { Terminal } from "./terminal.ts";

export interface TestTerminal extends Terminal {
  text(): string;
}

export function createTestTerminal({ isTty = false, columns = 80 } = {}): TestTerminal {
  const chunks: Uint8Array[] = [];
  return {
    isTty,
    color: false,
    columns: () => columns,
    write: (output) => void chunks.push(typeof output === "string" ? Buffer.from(output) : Uint8Array.from(output)),
    text: () => Buffer.concat(chunks).toString("utf8"),
  };
}

export interface CliRun {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface CliRunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
  readonly files?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  readonly clock?: Clock;
  readonly programs?: Partial<ProgramEntries>;
}

/** All of a context, cut off from the world. */
export function createTestContext(options: CliRunOptions = {}): CliContext & {
  readonly stdout: TestTerminal;
  readonly stderr: TestTerminal;
} {
  return {
    env: options.env ?? {},
    files: {
      read: (path) => {
        const text = options.files?.[path];
        return text === undefined ? null : { text, mode: 0o100600 };
      },
    },
    stdin: () => Readable.from([Buffer.from(options.stdin ?? "")]) as NodeJS.ReadStream,
    stdout: createTestTerminal(),
    stderr: createTestTerminal(),
    clock: options.clock ?? systemClock,
    signal: options.signal ?? new AbortController().signal,
    programs: { ...programs, ...options.programs },
    setExitCode: () => undefined,
  };
}

/** Runs a command line in this process, against nothing but what the test gives. */
export async function runTestCli(argv: readonly string[], options: CliRunOptions = {}): Promise<CliRun> {
  const context = createTestContext(options);
  const code = await runCli(argv, context);
  return { code, out: context.stdout.text(), err: context.stderr.text() };
}
