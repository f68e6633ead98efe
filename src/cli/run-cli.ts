import { Command, type CommanderError } from "commander";
import { AppError } from "../model/error.ts";
import { type CliContext, clientOptions } from "./cli-context.ts";
import { addAppCommands } from "./commands/app.ts";
import { addCniCommand } from "./commands/cni.ts";
import { addCompletionCommands } from "./commands/completion.ts";
import { addDeploymentCommands } from "./commands/deployment.ts";
import { addDiscoveryCommands } from "./commands/discovery.ts";
import { addDnsCommands } from "./commands/dns.ts";
import { addExecCommand } from "./commands/exec.ts";
import { addHelpCommand } from "./commands/help.ts";
import { addHostCommands } from "./commands/host.ts";
import { addKvCommands } from "./commands/kv.ts";
import { addLogsCommand } from "./commands/logs.ts";
import { addNetCommands } from "./commands/net.ts";
import { addNetworkCommands } from "./commands/network.ts";
import { addPolicyCommands } from "./commands/policy.ts";
import { addProgramCommands } from "./commands/programs.ts";
import { addPsCommand } from "./commands/ps.ts";
import { addServiceCommands } from "./commands/service.ts";
import { addStatusCommand } from "./commands/status.ts";
import { addVersionCommand, addVersionOption } from "./commands/version.ts";
import { addWhyCommand } from "./commands/why.ts";
import { errorJson, formatFailure } from "./format-error.ts";
import { paintFor } from "./style.ts";

/** The whole command tree; also what completion walks. */
export function buildProgram(context: CliContext): Command {
  const program = new Command("apollo")
    .description("Turns Linux hosts that run Docker into one platform")
    // Options before the name of a command are the program's, those after it the command's: `apollo exec web ls --json`.
    .enablePositionalOptions()
    .helpCommand(false)
    .showSuggestionAfterError(true)
    .configureOutput({
      writeOut: (text) => context.stdout.write(text),
      writeErr: (text) => context.stderr.write(text),
      // Said by `runCli`, in the form of all errors.
      outputError: () => undefined,
      getOutHelpWidth: () => Math.min(context.stdout.columns(), 120),
      getErrHelpWidth: () => Math.min(context.stderr.columns(), 120),
    });
  addVersionOption(program);
  clientOptions(program);
  program.commandsGroup("Run Apollo:");
  addProgramCommands(program, context);
  addDiscoveryCommands(program, context);
  program.commandsGroup("Apps:");
  addAppCommands(program, context);
  addPsCommand(program, context);
  addLogsCommand(program, context);
  addExecCommand(program, context);
  addWhyCommand(program, context);
  addDeploymentCommands(program, context);
  program.commandsGroup("Cluster:");
  addStatusCommand(program, context);
  addHostCommands(program, context);
  addNetCommands(program, context);
  addNetworkCommands(program, context);
  addServiceCommands(program, context);
  addKvCommands(program, context);
  addDnsCommands(program, context);
  addPolicyCommands(program, context);
  program.commandsGroup("More:");
  addCniCommand(program, context);
  addVersionCommand(program, context);
  addCompletionCommands(program, context);
  addHelpCommand(program, context);
  for (const command of program.commands) command.helpCommand(false);
  return program;
}

/** Runs one command line (without the program's name); returns the exit code. Never throws. */
export async function runCli(argv: readonly string[], context: CliContext): Promise<number> {
  let exitCode = 0;
  let failed: Command | null = null;
  const program = buildProgram({ ...context, setExitCode: (code) => (exitCode = code) });
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
