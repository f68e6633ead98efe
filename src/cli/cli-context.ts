import type { Command } from "commander";
import type { Clock } from "../platform/ports/clock.ts";
import { ApolloClient } from "./client.ts";
import { type ConfigFiles, type ConnectionFlags, resolveConnection } from "./connection.ts";
import type { ProgramEntries } from "./programs.ts";
import { type Paint, paintFor } from "./style.ts";
import type { Terminal } from "./terminal.ts";

/** All that commands touch of the world outside the server. */
export interface CliContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly files: ConfigFiles;
  /** A function, since looking at stdin already opens it. */
  readonly stdin: () => NodeJS.ReadStream;
  readonly stdout: Terminal;
  readonly stderr: Terminal;
  readonly clock: Clock;
  /** Aborts at the first Ctrl-C or SIGTERM. */
  readonly signal: AbortSignal;
  readonly programs: ProgramEntries;
  /** Called by a command that ends well with another code than 0. */
  readonly setExitCode: (code: number) => void;
}

export interface ClientFlags extends ConnectionFlags {
  readonly json?: boolean;
}

/** What a command that talks to the server works with. */
export interface Session<Flags extends ClientFlags> {
  readonly client: ApolloClient;
  readonly flags: Flags;
  readonly paint: Paint;
  readonly nowMs: number;
  /** Prints `value` as JSON under --json, else the text. */
  readonly show: (value: unknown, text: () => string) => void;
}

/** Adds what every command has that talks to the server. Also accepted before the command's name. */
export function clientOptions(command: Command, { json = true }: { readonly json?: boolean } = {}): Command {
  if (json) command.option("--json", "print JSON for programs");
  command.optionsGroup("Connection:");
  command.option("--server <url>", "server to ask, as https://ADDRESS:PORT (APOLLO_SERVER)");
  command.option("--token <token>", "token; better in APOLLO_TOKEN, where other users of this machine do not see it");
  command.option("--ca <file>", "PEM file of the CA that signed the server's certificate");
  return command;
}

/** Reads flags and configuration. @throws AppError of `resolveConnection`. */
export function openSession<Flags extends ClientFlags>(context: CliContext, command: Command): Session<Flags> {
  const flags = command.optsWithGlobals<Flags>();
  const client = new ApolloClient(resolveConnection(flags, context.env, context.files), context.signal);
  return {
    client,
    flags,
    paint: paintFor(context.stdout),
    nowMs: context.clock.nowMs(),
    show: (value, text) => context.stdout.write(flags.json === true ? `${JSON.stringify(value, null, 2)}\n` : text()),
  };
}

/** Adds "Examples:" to a command's help: a line of what for, a line to type. */
export function examples(command: Command, lines: readonly (readonly [string, string])[]): Command {
  const text = lines.map(([what, line]) => `  # ${what}\n  ${line}`).join("\n");
  return command.addHelpText("after", `\nExamples:\n${text}`);
}
