import type { Command } from "commander";
import type { InfoJson } from "../../api/native/shapes.ts";
import { AppError, describeError } from "../../model/error.ts";
import { type CliContext, type ClientFlags, clientOptions, examples, openSession } from "../cli-context.ts";
import { VERSION } from "../version.ts";

/** The server may be far or gone: the version of this binary is known without it. */
const SERVER_TIMEOUT_MS = 3000;

export function addVersionOption(program: Command): void {
  program.version(VERSION, "-V, --version", "print the version of this binary");
}

export function addVersionCommand(program: Command, context: CliContext): void {
  const command = clientOptions(
    program.command("version").description("print the versions of this binary and of the server"),
  );
  command.action(async () => {
    const server = await serverVersion(context, command);
    const { json } = command.optsWithGlobals<ClientFlags>();
    context.stdout.write(
      json === true
        ? `${JSON.stringify({ client: VERSION, server: server.version }, null, 2)}\n`
        : `apollo ${VERSION}\nserver ${server.version ?? `unknown (${server.why})`}\n`,
    );
  });
  examples(command, [["Both versions", "apollo version"]]);
}

async function serverVersion(
  context: CliContext,
  command: Command,
): Promise<{ readonly version: string | null; readonly why: string }> {
  try {
    const { client } = openSession(context, command);
    const info = await client.get<InfoJson>("/api/info", { timeoutMs: SERVER_TIMEOUT_MS });
    return { version: info.version, why: "" };
  } catch (error) {
    if (error instanceof AppError) return { version: null, why: describeError(error) };
    throw error;
  }
}
