import type { Command } from "commander";
import { AppError } from "../../model/error.ts";
import { type CliContext, type ClientFlags, clientOptions, examples } from "../cli-context.ts";
import type { ConsulClient } from "../consul-client.ts";
import { formatFields } from "../format-table.ts";
import { type KeyJson, keyPath, openKv, valueOf } from "../kv-keys.ts";
import { readInput } from "../read-input.ts";
import { addKvFileCommands } from "./kv-files.ts";

/** The API takes no longer value. */
const VALUE_BYTES_MAX = 512 * 1024;

export function addKvCommands(program: Command, context: CliContext): void {
  const kv = program.command("kv").description("keys and values, as Consul keeps them");
  addGet(kv, context);
  addPut(kv, context);
  addDelete(kv, context);
  addList(kv, context);
  addWatch(kv, context);
  addKvFileCommands(kv, context);
}

function addGet(kv: Command, context: CliContext): void {
  const command = clientOptions(
    kv
      .command("get")
      .argument("<key>")
      .description("print a key's value, byte for byte")
      .option("--recurse", "all keys below it, as KEY:VALUE lines")
      .option("--detailed", "also flags, indexes and who holds the lock"),
  );
  command.action(async (key: string) => {
    type Flags = ClientFlags & { readonly recurse?: boolean; readonly detailed?: boolean };
    const { consul, flags, print } = openKv<Flags>(context, command);
    const rows = await consul.find<readonly KeyJson[]>(keyPath(key), {
      query: flags.recurse === true ? { recurse: "" } : {},
    });
    if (rows === null) throw await missing(consul, key);
    if (flags.json === true) return print(flags.recurse === true ? rows : rows[0]);
    for (const row of rows) printRow(context, row, flags);
  });
  examples(command, [
    ["A value into a file", "apollo kv get app/config > config.yaml"],
    ["Everything below a folder", "apollo kv get app/ --recurse"],
  ]);
}

function printRow(
  { stdout }: CliContext,
  row: KeyJson,
  { recurse, detailed }: { readonly recurse?: boolean; readonly detailed?: boolean },
): void {
  if (detailed === true) {
    const text = new TextDecoder().decode(valueOf(row));
    return stdout.write(
      formatFields([
        ["Key", row.Key],
        ["Value", text],
        ["Flags", String(row.Flags)],
        ["Created", String(row.CreateIndex)],
        ["Changed", String(row.ModifyIndex)],
        ["Lock", row.Session ?? ""],
      ]) + (recurse === true ? "\n" : ""),
    );
  }
  if (recurse === true) stdout.write(`${row.Key}:`);
  stdout.write(valueOf(row));
  // A person's prompt starts on a line of its own; a file gets the value and nothing else.
  if (recurse === true || stdout.isTty) stdout.write("\n");
}

function addPut(kv: Command, context: CliContext): void {
  const command = clientOptions(
    kv
      .command("put")
      .argument("<key>")
      .argument("[value]", "the value; - reads it from standard input", "")
      .description("set a key")
      .option("--cas <index>", "only when it was last changed at that index; 0: only when it is not there")
      .option("--flags <number>", "64 bits of the client's own"),
  );
  command.action(async (key: string, value: string) => {
    type Flags = ClientFlags & { readonly cas?: string; readonly flags?: string };
    const { consul, flags, print } = openKv<Flags>(context, command);
    const body = value === "-" ? await readInput(context.stdin(), VALUE_BYTES_MAX) : new TextEncoder().encode(value);
    const query = { ...(flags.cas === undefined ? {} : { cas: flags.cas }), ...flagsOf(flags.flags) };
    const done = await consul.change("PUT", keyPath(key), { query, body });
    if (!done) throw changedMeanwhile(key, flags.cas);
    if (flags.json === true) print({ key, bytes: body.byteLength });
    else context.stdout.write(`Set ${key}\n`);
  });
  examples(command, [
    ["A text", "apollo kv put app/color blue"],
    ["A file, whatever bytes it holds", "apollo kv put app/logo - < logo.png"],
    ["Only when nobody has it yet", "apollo kv put app/owner me --cas 0"],
  ]);
}

function flagsOf(text: string | undefined): Readonly<Record<string, string>> {
  if (text === undefined) return {};
  if (/^\d{1,20}$/.test(text) && BigInt(text) < 2n ** 64n) return { flags: text };
  throw new AppError("invalid", `Cannot use flags "${text}": it must be a number from 0 to 2^64-1`);
}

function changedMeanwhile(key: string, cas: string | undefined): AppError {
  return new AppError("conflict", `Cannot change ${key}: it is not at index ${cas ?? ""} any more`, {
    hint: `See its index: apollo kv get ${key} --detailed`,
  });
}

function addDelete(kv: Command, context: CliContext): void {
  const command = clientOptions(
    kv
      .command("delete")
      .alias("rm")
      .argument("<key>")
      .description("remove a key, or all below it")
      .option("--recurse", "all keys that begin so")
      .option("--cas <index>", "only when it was last changed at that index"),
  );
  command.action(async (key: string) => {
    type Flags = ClientFlags & { readonly recurse?: boolean; readonly cas?: string };
    const { consul, flags, print } = openKv<Flags>(context, command);
    const query = {
      ...(flags.recurse === true ? { recurse: "" } : {}),
      ...(flags.cas === undefined ? {} : { cas: flags.cas }),
    };
    const all =
      flags.recurse === true
        ? ((await consul.find<readonly string[]>(keyPath(key), { query: { keys: "" } })) ?? [])
        : [key];
    if (all.length === 0 || (flags.recurse !== true && (await consul.find(keyPath(key))) === null))
      throw await missing(consul, key);
    if (!(await consul.change("DELETE", keyPath(key), { query }))) throw changedMeanwhile(key, flags.cas);
    if (flags.json === true) print({ removed: all });
    else
      context.stdout.write(flags.recurse === true ? `Removed ${all.length} keys below ${key}\n` : `Removed ${key}\n`);
  });
  examples(command, [
    ["One key", "apollo kv delete app/color"],
    ["A whole folder", "apollo kv delete app/ --recurse"],
  ]);
}

function addList(kv: Command, context: CliContext): void {
  const command = clientOptions(
    kv
      .command("list")
      .alias("ls")
      .argument("[key]", "only what begins so", "")
      .description("list keys, folder by folder")
      .option("--recurse", "all keys, however deep"),
  );
  command.action(async (prefix: string) => {
    const { consul, flags, print } = openKv<ClientFlags & { readonly recurse?: boolean }>(context, command);
    const query = flags.recurse === true ? { keys: "" } : { keys: "", separator: "/" };
    const keys = (await consul.find<readonly string[]>(keyPath(prefix), { query })) ?? [];
    if (flags.json === true) return print(keys);
    if (keys.length === 0)
      return context.stderr.write(prefix === "" ? "No keys yet.\n" : `No key begins with ${prefix}\n`);
    context.stdout.write(keys.map((key) => `${key}\n`).join(""));
  });
  examples(command, [
    ["Folders and keys at the top", "apollo kv list"],
    ["Every key of a folder", "apollo kv list app/ --recurse"],
  ]);
}

function addWatch(kv: Command, context: CliContext): void {
  const command = clientOptions(
    kv
      .command("watch")
      .argument("<key>")
      .description("print a key's value now and after each change, until Ctrl-C")
      .option("--recurse", "all keys below it"),
  );
  command.action(async (key: string) => {
    const { consul, flags } = openKv<ClientFlags & { readonly recurse?: boolean }>(context, command);
    let seen = new Map<string, number>();
    await consul.watch(keyPath(key), flags.recurse === true ? { recurse: "" } : {}, ({ status, bytes }) => {
      const rows = status === 404 ? [] : (JSON.parse(new TextDecoder().decode(bytes)) as readonly KeyJson[]);
      for (const row of rows) if (seen.get(row.Key) !== row.ModifyIndex) tell(row.Key, row);
      const now = new Map(rows.map((row) => [row.Key, row.ModifyIndex]));
      for (const gone of seen.keys()) if (!now.has(gone)) tell(gone, null);
      seen = now;
    });
    function tell(name: string, row: KeyJson | null): void {
      const text = row === null ? null : new TextDecoder().decode(valueOf(row));
      if (flags.json === true) context.stdout.write(`${JSON.stringify({ key: name, value: text })}\n`);
      else context.stdout.write(text === null ? `${name} is gone\n` : `${name}: ${text}\n`);
    }
  });
  examples(command, [
    ["One key", "apollo kv watch app/color"],
    ["A folder, a line of JSON for each change", "apollo kv watch app/ --recurse --json"],
  ]);
}

async function missing(consul: ConsulClient, key: string): Promise<AppError> {
  const below = await consul.find<readonly string[]>(keyPath(key), { query: { keys: "" } });
  if (below !== null && below.length > 0)
    return new AppError("not-found", `Cannot find key "${key}"`, {
      hint: `There are keys below it: apollo kv list ${key} --recurse`,
    });
  return new AppError("not-found", `Cannot find key "${key}"`, { hint: "See what there is: apollo kv list --recurse" });
}
