import type { Command } from "commander";
import type { HostJson } from "../../api/native/shapes.ts";
import { AppError } from "../../model/error.ts";
import type { ApolloClient } from "../client.ts";
import { type CliContext, type ClientFlags, clientOptions, examples, openSession } from "../cli-context.ts";
import { withHost } from "../find-named.ts";

interface RotateFlags extends ClientFlags {
  readonly host?: string;
  readonly leaked?: boolean;
}

interface Rotation {
  readonly host: string;
  /** Null when it failed. */
  readonly publicKey: string | null;
  readonly error: string | null;
}

export function addRotateKeys(net: Command, context: CliContext): void {
  const command = clientOptions(
    net
      .command("rotate-keys")
      .description("change the hosts' WireGuard keys; connections go on")
      .option("--host <host>", "only this one")
      .option("--leaked", "also pass over the next key, which lies beside the one in use"),
  );
  command.action(async () => {
    const { client, flags, show } = openSession<RotateFlags>(context, command);
    const names =
      flags.host === undefined ? (await client.get<readonly HostJson[]>("/api/hosts")).map(nameOf) : [flags.host];
    const rotations: Rotation[] = [];
    // One after the other: a link whose two ends change at once has to find itself anew.
    for (const name of names) rotations.push(await rotateKeys(client, name, flags));
    show(rotations, () => rotations.map(formatRotation).join("") || "No hosts yet\n");
    if (rotations.some(({ error }) => error !== null)) context.setExitCode(1);
  });
  examples(command, [
    ["New keys on every host", "apollo net rotate-keys"],
    ["Somebody may have read a host's disk", "apollo net rotate-keys --host host-2 --leaked"],
  ]);
}

/** With one host named its failure is the command's; of many, the others go on. */
async function rotateKeys(client: ApolloClient, host: string, flags: RotateFlags): Promise<Rotation> {
  const question = { kind: "rotate-keys", leaked: flags.leaked === true };
  try {
    const { publicKey } = await withHost(client, host, () =>
      client.request<{ readonly publicKey: string }>("POST", `/api/hosts/${encodeURIComponent(host)}/query`, {
        body: question,
      }),
    );
    return { host, publicKey, error: null };
  } catch (error) {
    if (!(error instanceof AppError) || flags.host !== undefined) throw error;
    return { host, publicKey: null, error: error.message };
  }
}

function formatRotation({ host, publicKey, error }: Rotation): string {
  return error === null ? `${host}: new key ${publicKey}\n` : `${host}: ${error}\n`;
}

function nameOf({ name }: HostJson): string {
  return name;
}
