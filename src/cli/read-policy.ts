import { AppError } from "../model/error.ts";
import type { ClientFlags } from "./cli-context.ts";
import type { ConfigFiles } from "./connection.ts";
import { parsePorts, parseSelector } from "./parse-policy-flags.ts";

export interface PutFlags extends ClientFlags {
  readonly from: readonly string[];
  readonly to: readonly string[];
  readonly port: readonly string[];
  readonly network: string;
  readonly file?: string;
}

const FILE_BYTES_MAX = 1024 * 1024;

/** The body of `apollo policy put`: the flags, or a file. @throws AppError `invalid`. */
export function readPolicy(name: string, flags: PutFlags, files: ConfigFiles): object {
  const { from, to, port, network, file } = flags;
  if (file === undefined) {
    return { name, network, from: from.map(parseSelector), to: to.map(parseSelector), ports: port.map(parsePorts) };
  }
  if (from.length + to.length + port.length > 0) {
    throw new AppError("invalid", "Cannot use --file together with --from, --to or --port: the file says it all");
  }
  const text = files.read(file)?.text;
  if (text === undefined) throw new AppError("invalid", `Cannot read ${file}: it does not exist`);
  if (text.length > FILE_BYTES_MAX) throw new AppError("invalid", `Cannot read ${file}: it is longer than 1 MiB`);
  const value = parseText(file, text);
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  throw new AppError("invalid", `Cannot use ${file}: it must hold one rule, as an object`);
}

/** JSON is YAML, so one reader does for both. */
function parseText(file: string, text: string): unknown {
  try {
    return Bun.YAML.parse(text);
  } catch (cause) {
    throw new AppError("invalid", `Cannot read ${file}: it is neither JSON nor YAML`, { cause });
  }
}
