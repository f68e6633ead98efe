import type { Command, CommanderError } from "commander";
import { AppError } from "../model/error.ts";
import type { CliContext } from "./cli-context.ts";
import { errorJson, formatFailure } from "./format-error.ts";
import { buildRoot } from "./root-command.ts";
import { paintFor } from "./style.ts";

/** Run for months and use none of the other commands, which would be 3 MB of an agent's memory. */
const LONG_RUNNING: ReadonlySet<string> = new Set(["agent", "server", "up"]);

/** Runs one command line (without the program's name); returns the exit code. Never throws. */
export async function runCli(argv: readonly string[], context: CliContext): Promise<number> {
  let exitCode = 0;
  let failed: Command | null = null;
  const withExitCode: CliContext = { ...context, setExitCode: (code) => (exitCode = code) };
  const program = LONG_RUNNING.has(argv[0] ?? "")
    ? buildRoot(withExitCode)
    : (await import("./command-tree.ts")).buildProgram(withExitCode);
  onUsageError(program, (command) => {
    failed = command;
  });
  try {
    if (argv.length === 0) program.outputHelp();
    else await program.parseAsync([...argv], { from: "user" });
  } catch (error) {
    const failure = formatFailure(error, paintFor(context.stderr), helpFor(failed));
    const asJson = error instanceof AppError && wantsJson(argv);
    context.stderr.write(asJson ? `${JSON.stringify(errorJson(error), null, 2)}\n` : failure.text);
    exitCode = failure.exitCode;
  }
  return exitCode;
}

/** Commander does not say in its error which command was wrong. */
function onUsageError(command: Command, note: (command: Command) => void): void {
  command.exitOverride((error: CommanderError) => {
    note(command);
    throw error;
  });
  for (const child of command.commands) onUsageError(child, note);
}

function helpFor(command: Command | null): string {
  const names: string[] = [];
  for (let one = command; one !== null; one = one.parent) names.unshift(one.name());
  return `${names.join(" ") || "apollo"} --help`;
}

function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf("--");
  return (end < 0 ? argv : argv.slice(0, end)).includes("--json");
}
