import { Command } from "commander";
import type { CliContext } from "./cli-context.ts";
import { clientOptions } from "./cli-context.ts";
import { addProgramCommands } from "./commands/programs.ts";
import { addVersionOption } from "./commands/version.ts";

/** The program without most of its commands: what the long-running ones (`apollo agent`, `apollo server`) need. */
export function buildRoot(context: CliContext): Command {
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
  for (const command of program.commands) command.helpCommand(false);
  return program;
}
