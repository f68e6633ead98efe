/** `apollo kv export` and `import`, in the form of `consul kv export`. */
import type { Command } from "commander";
import { AppError } from "../../model/error.ts";
import { parseExactJson, renderExactJson } from "../../model/exact-json.ts";
import { type CliContext, clientOptions, examples } from "../cli-context.ts";
import type { ConsulClient } from "../consul-client.ts";
import { readInput } from "../read-input.ts";
import { type KeyJson, keyPath, openKv } from "../kv-keys.ts";

interface Exported {
  readonly key: string;
  readonly flags: number | bigint;
  /** Base64. */
  readonly value: string;
}

const FILE_BYTES_MAX = 256 * 1024 * 1024;
/** Keys that go in one transaction: what fits a request however long the values are. */
const BATCH_BYTES_MAX = 256 * 1024;
const BATCH_KEYS_MAX = 64;

export function addKvFileCommands(kv: Command, context: CliContext): void {
  const out = clientOptions(
    kv.command("export").argument("[key]", "only what begins so", "").description("print keys and values as JSON"),
    { json: false },
  );
  out.action(async (prefix: string) => {
    const { consul, print } = openKv(context, out);
    const rows = (await consul.find<readonly KeyJson[]>(keyPath(prefix), { query: { recurse: "" } })) ?? [];
    print(rows.map(({ Key, Flags, Value }): Exported => ({ key: Key, flags: Flags, value: Value ?? "" })));
  });
  examples(out, [["Keep a folder in a file", "apollo kv export app/ > app.json"]]);

  const load = clientOptions(
    kv
      .command("import")
      .argument("<file>", "what export printed, of Consul's as well; - reads standard input")
      .description("set all keys of a file")
      .option("--prefix <key>", "put in front of every key"),
  );
  load.action(async (file: string) => {
    const { consul, flags, print } = openKv<{ readonly prefix?: string; readonly json?: boolean }>(context, load);
    const rows = parseExported(await readFile(context, file), file);
    for (const batch of batches(rows)) await putAll(consul, batch, flags.prefix ?? "");
    if (flags.json === true) print({ imported: rows.length });
    else context.stdout.write(`Imported ${rows.length} keys\n`);
  });
  examples(load, [
    ["From a file", "apollo kv import app.json"],
    ["From a Consul", "consul kv export | apollo kv import -"],
  ]);
}

async function readFile({ files, stdin }: CliContext, path: string): Promise<string> {
  if (path === "-") return new TextDecoder().decode(await readInput(stdin(), FILE_BYTES_MAX));
  const text = files.read(path)?.text;
  if (text === undefined) throw new AppError("invalid", `Cannot read ${path}: it does not exist`);
  return text;
}

/** @throws AppError `invalid` that names the first entry that is none; nothing was sent then. */
export function parseExported(text: string, path: string): readonly Exported[] {
  let value: unknown;
  try {
    value = parseExactJson(text);
  } catch (cause) {
    throw new AppError("invalid", `Cannot read ${path}: it is not JSON`, { cause });
  }
  if (!Array.isArray(value)) throw new AppError("invalid", `Cannot import ${path}: it must hold a list of keys`);
  return value.map((entry: unknown, at): Exported => {
    const { key, flags = 0, value: base64 = "" } = (entry ?? {}) as Partial<Record<keyof Exported, unknown>>;
    const isNumber =
      typeof flags === "bigint" || (typeof flags === "number" && Number.isSafeInteger(flags) && flags >= 0);
    if (typeof key !== "string" || key === "" || !isNumber || typeof base64 !== "string" || !isBase64(base64))
      throw new AppError(
        "invalid",
        `Cannot import ${path}: entry ${at + 1} is not {"key", "flags", "value" in base64}`,
      );
    return { key, flags, value: base64 };
  });
}

function isBase64(text: string): boolean {
  try {
    Uint8Array.fromBase64(text);
    return true;
  } catch {
    return false;
  }
}

function batches(rows: readonly Exported[]): readonly (readonly Exported[])[] {
  const all: Exported[][] = [];
  let bytes = Infinity;
  for (const row of rows) {
    const last = all.at(-1);
    bytes += row.value.length;
    if (last === undefined || bytes > BATCH_BYTES_MAX || last.length === BATCH_KEYS_MAX) {
      all.push([row]);
      bytes = row.value.length;
    } else {
      last.push(row);
    }
  }
  return all;
}

/** A value of half a megabyte does not fit a transaction once it is base64. */
async function putAll(consul: ConsulClient, rows: readonly Exported[], prefix: string): Promise<void> {
  const [first] = rows;
  if (rows.length === 1 && first !== undefined) {
    const query = { flags: String(first.flags) };
    await consul.change("PUT", keyPath(prefix + first.key), { query, body: Uint8Array.fromBase64(first.value) });
    return;
  }
  const ops = rows.map(({ key, flags, value }) => ({
    KV: { Verb: "set", Key: prefix + key, Value: value, Flags: flags },
  }));
  await consul.change("PUT", "txn", { body: new TextEncoder().encode(renderExactJson(ops)) });
}
