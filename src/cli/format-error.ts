import { CommanderError } from "commander";
import { AppError, describeError, EXIT_CODE } from "../model/error.ts";
import { EXIT_INTERRUPTED } from "./exit-codes.ts";
import { oneLine } from "./format-table.ts";
import type { Paint } from "./style.ts";

/** The user pressed Ctrl-C. `text` is what they should know, if anything. */
export class Interrupted extends Error {
  readonly text: string | null;
  constructor(text: string | null = null) {
    super("Interrupted");
    this.name = "Interrupted";
    this.text = text;
  }
}

export interface Failure {
  readonly exitCode: number;
  /** For stderr, with its line ends; may be empty. */
  readonly text: string;
}

/** Turns whatever a command threw into what the user reads and the shell gets. */
export function formatFailure(error: unknown, paint: Paint, usageHint: string | null = null): Failure {
  if (error instanceof Interrupted) {
    return { exitCode: EXIT_INTERRUPTED, text: error.text === null ? "" : `${error.text}\n` };
  }
  if (error instanceof AppError) return { exitCode: EXIT_CODE[error.code], text: formatAppError(error, paint) };
  if (error instanceof CommanderError) return formatUsageError(error, paint, usageHint);
  const text = error instanceof Error ? (error.stack ?? error.message) : describeError(error);
  return {
    exitCode: EXIT_CODE.internal,
    text: `${label(paint, "Error")} Apollo itself failed; please report this\n${text}\n`,
  };
}

/** As data, for `--json`: the same form that the API answers with. */
export function errorJson(error: AppError): object {
  const { code, message, hint, fields, details } = error;
  return {
    error: {
      code,
      message,
      ...(hint === undefined ? {} : { hint }),
      ...(fields.length === 0 ? {} : { fields }),
      ...(Object.keys(details).length === 0 ? {} : { details }),
    },
  };
}

function formatAppError(error: AppError, paint: Paint): string {
  const lines = [`${label(paint, "Error")} ${oneLine(error.message)}`];
  for (const field of error.fields) lines.push(`  ${paint("bold", field.path)}: ${oneLine(field.message)}`);
  if (error.hint !== undefined) lines.push(`${paint("cyan", "Hint:")} ${oneLine(error.hint)}`);
  return `${lines.join("\n")}\n`;
}

/** Commander's "error: unknown command 'lst'\n(Did you mean list?)" in our form. */
function formatUsageError(error: CommanderError, paint: Paint, usageHint: string | null): Failure {
  if (error.exitCode === 0) return { exitCode: 0, text: "" };
  const [first = "", ...rest] = error.message.replace(/^error: /, "").split("\n");
  const help = usageHint === null ? "" : `"${usageHint}"`;
  const guess = rest
    .join(" ")
    .replaceAll(/^\(|\)$/g, "")
    .trim();
  const hint = guess === "" ? `See ${help}` : `${guess} Or see ${help}`;
  // `commander.help`: the command was called without a subcommand and has printed its help.
  const shown =
    error.code === "commander.help" ? [] : [`${label(paint, "Error")} ${first}`, `${paint("cyan", "Hint:")} ${hint}`];
  return { exitCode: EXIT_CODE.invalid, text: shown.map((line) => `${line}\n`).join("") };
}

function label(paint: Paint, text: string): string {
  return paint("red", `${text}:`);
}
