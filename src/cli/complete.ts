import type { Argument, Command, Option } from "commander";

/** What stands for a name that only the server knows. */
export type NameKind = (typeof NAME_KINDS)[number];

const NAME_KINDS = [
  "app",
  "instance",
  "host",
  "service",
  "deployment",
  "policy",
  "network",
  "publication",
  "import",
  "virtual",
  "key",
  "name",
] as const;

export interface Candidate {
  readonly value: string;
  readonly description: string;
}

/** `files`: the shell knows best. */
export type Completion = "files" | readonly Candidate[];

/**
 * What can stand at the last word of `words` (all words after the program's name; the last one may be empty). Names of
 * apps and the like come from `names`.
 */
export async function complete(
  program: Command,
  words: readonly string[],
  names: (kind: NameKind) => Promise<readonly string[]>,
): Promise<Completion> {
  const current = words.at(-1) ?? "";
  const { command, operands, pending } = walk(program, words.slice(0, -1));
  const raw = await candidates({ command, operands, pending, current }, names);
  if (raw === "files") return "files";
  return raw.filter((candidate) => candidate.value.startsWith(current));
}

interface Position {
  readonly command: Command;
  /** Operands already typed for that command. */
  readonly operands: number;
  /** An option whose value is now due. */
  readonly pending: Option | null;
}

function walk(program: Command, words: readonly string[]): Position {
  let command = program;
  let operands = 0;
  let pending: Option | null = null;
  let optionsEnded = false;
  for (const word of words) {
    if (pending !== null) {
      pending = null;
    } else if (word === "--" && !optionsEnded) {
      optionsEnded = true;
    } else if (word.startsWith("-") && !optionsEnded) {
      const option = command.options.find((one) => one.long === word || one.short === word);
      pending = option !== undefined && option.required ? option : null;
    } else {
      const child: Command | undefined = operands === 0 ? findChild(command, word) : undefined;
      if (child === undefined) operands += 1;
      else command = child;
    }
  }
  return { command, operands, pending };
}

function findChild(command: Command, word: string): Command | undefined {
  return command.commands.find((child) => child.name() === word || child.aliases().includes(word));
}

async function candidates(
  { command, operands, pending, current }: Position & { readonly current: string },
  names: (kind: NameKind) => Promise<readonly string[]>,
): Promise<Completion> {
  if (pending !== null) return /file|dir/.test(pending.flags) ? "files" : [];
  if (current.startsWith("-")) {
    const options = command.createHelp().visibleOptions(command);
    return options.map((option) => ({ value: option.long ?? option.short ?? "", description: option.description }));
  }
  if (command.commands.length > 0) {
    if (operands > 0) return [];
    return command
      .createHelp()
      .visibleCommands(command)
      .map((child) => ({ value: child.name(), description: child.summary() || child.description() }));
  }
  const argument = argumentAt(command, operands);
  if (argument === undefined) return [];
  if (argument.argChoices !== undefined) return argument.argChoices.map((value) => ({ value, description: "" }));
  if (argument.name() === "file") return "files";
  const kinds = argument.name().split("|").filter(isNameKind);
  const lists = await Promise.all(
    kinds.map(async (kind) => (await names(kind)).map((value) => ({ value, description: kind }))),
  );
  return lists.flat();
}

function argumentAt(command: Command, index: number): Argument | undefined {
  const { registeredArguments } = command;
  const last = registeredArguments.at(-1);
  return registeredArguments[index] ?? (last?.variadic === true ? last : undefined);
}

function isNameKind(text: string): text is NameKind {
  return NAME_KINDS.some((kind) => kind === text);
}

/** Line form that the shell scripts read: value, tab, description; `:files` alone asks for file names. */
export function formatCompletion(completion: Completion): string {
  if (completion === "files") return ":files\n";
  return completion
    .map(({ value, description }) => `${value}\t${description.replaceAll(/[\t\r\n]+/g, " ")}\n`)
    .join("");
}
