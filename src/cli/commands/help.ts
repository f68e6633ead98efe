import type { Command } from "commander";
import { AppError } from "../../model/error.ts";
import type { CliContext } from "../cli-context.ts";
import { EXIT_CODE_TABLE } from "../exit-codes.ts";
import { formatTable } from "../format-table.ts";
import { formatSuggestion } from "../suggest-name.ts";

const TOPIC = "exit-codes";

export function addHelpCommand(program: Command, context: CliContext): void {
  program
    .command("help")
    .argument("[words...]", `a command, or "${TOPIC}"`)
    .description(`explain a command, or the exit codes ("apollo help ${TOPIC}")`)
    .action((words: readonly string[]) => {
      if (words[0] === TOPIC) context.stdout.write(formatExitCodes());
      else findCommand(program, words).outputHelp();
    });
}

/** The text of `apollo help exit-codes`. */
export function formatExitCodes(): string {
  const table = formatTable(
    [
      { title: "CODE", value: (row: (typeof EXIT_CODE_TABLE)[number]) => String(row.code), align: "right" },
      { title: "NAME", value: (row) => row.name },
      { title: "MEANING", value: (row) => row.meaning },
    ],
    EXIT_CODE_TABLE,
  );
  return `${table}\n"apollo exec" ends with the exit code of the command that it ran.\n`;
}

function findCommand(program: Command, words: readonly string[]): Command {
  let command = program;
  for (const word of words) {
    const next = command.commands.find((child) => child.name() === word || child.aliases().includes(word));
    if (next === undefined) {
      const names = command.commands.map((child) => child.name());
      throw new AppError("invalid", `Cannot explain "${words.join(" ")}": there is no such command`, {
        hint: formatSuggestion(word, [...names, TOPIC]) ?? 'Run "apollo --help" to see all commands',
      });
    }
    command = next;
  }
  return command;
}
