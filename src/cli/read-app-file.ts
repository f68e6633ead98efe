import { AppError } from "../model/error.ts";
import type { CliContext } from "./cli-context.ts";
import { findJsonFault } from "./find-json-fault.ts";
import { readInput } from "./read-input.ts";

/** An app definition is a few kilobytes; what is longer is the wrong file. */
const FILE_BYTES_MAX = 4 * 1024 * 1024;

export interface AppFile {
  readonly id: string;
  /** As it stands in the file: the server knows the form and says what is wrong with it. */
  readonly value: unknown;
}

/** Reads an app from a JSON file or, for "-", from standard input. @throws AppError `invalid` with line and column. */
export async function readAppFile(
  path: string,
  { files, stdin }: Pick<CliContext, "files" | "stdin">,
): Promise<AppFile> {
  const text = path === "-" ? await readText(stdin()) : files.read(path)?.text;
  if (text === undefined) throw new AppError("invalid", `Cannot read ${path}: it does not exist`);
  const value = parseJsonFile(text, path === "-" ? "standard input" : path);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new AppError("invalid", `Cannot use ${path}: it must hold one app, as a JSON object`);
  }
  const id: unknown = "id" in value ? value.id : undefined;
  if (typeof id !== "string" || id === "") {
    throw new AppError("invalid", `Cannot use ${path}: the app has no "id"`, {
      fields: [{ path: "/id", message: "must be the name of the app" }],
    });
  }
  return { id, value };
}

function parseJsonFile(text: string, name: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const fault = findJsonFault(text);
    const where = fault === null ? "" : `, line ${fault.line}, column ${fault.column}: ${fault.expected} is expected`;
    throw new AppError("invalid", `Cannot read ${name}: it is not JSON${where}`, { cause });
  }
}

async function readText(stream: NodeJS.ReadStream): Promise<string> {
  return Buffer.from(await readInput(stream, FILE_BYTES_MAX)).toString("utf8");
}
