import type { Command } from "commander";
import type { InstanceJson } from "../../api/native/shapes.ts";
import { AppError } from "../../model/error.ts";
import { openChannel } from "../channel.ts";
import {
  type CliContext,
  type ClientFlags,
  clientOptions,
  examples,
  openSession,
  type Session,
} from "../cli-context.ts";
import { findInstances, shownInstance } from "../find-named.ts";
import { LinePrefixer } from "../line-prefixer.ts";
import { readCount } from "../read-count.ts";
import { type Color, paintFor } from "../style.ts";

interface LogsFlags extends ClientFlags {
  readonly follow?: boolean;
  readonly tail?: string;
}

/** While following an app, instances that came meanwhile are found within this. */
const NEW_INSTANCE_POLL_MS = 2000;
const COLORS: readonly Color[] = ["cyan", "green", "magenta", "yellow", "blue"];

export function addLogsCommand(program: Command, context: CliContext): void {
  const command = program
    .command("logs")
    .argument("<app|instance>", "of an app, the output of all its instances is mixed, each line with its instance")
    .description("show what instances wrote to standard output and standard error")
    .option("-f, --follow", "go on until Ctrl-C, with new instances of the app as they come")
    .option("-n, --tail <n>", "only the last N lines of each instance");
  clientOptions(command, { json: false }).action(async (name: string) => {
    const session = openSession<LogsFlags>(context, command);
    const { flags, client } = session;
    const tail = flags.tail === undefined ? null : readCount(flags.tail, "--tail");
    const { app, instances } = await findInstances(client, name);
    const stream = new LogStream(context, session, app !== null);
    const open = instances.map((instance) => stream.open(instance, tail));
    if (app !== null && flags.follow === true)
      open.push(stream.openNew(`/api/instances?app=${encodeURIComponent(app)}`));
    await Promise.all(open);
  });
  examples(command, [
    ["All instances of an app, as they write", "apollo logs -f nodejs-rest-api"],
    ["The last lines of one instance", "apollo logs --tail 20 3f2a9c11"],
  ]);
}

/** Output of several instances on one terminal. */
class LogStream {
  readonly #context: CliContext;
  readonly #session: Session<LogsFlags>;
  readonly #prefixed: boolean;
  readonly #opened = new Set<string>();

  constructor(context: CliContext, session: Session<LogsFlags>, prefixed: boolean) {
    this.#context = context;
    this.#session = session;
    this.#prefixed = prefixed;
  }

  /** Resolves when the instance's output ended, or at Ctrl-C. */
  async open(instance: InstanceJson, tail: number | null): Promise<void> {
    const { client, flags } = this.#session;
    const { signal } = this.#context;
    const paint = paintFor(this.#context.stdout);
    const color = COLORS[this.#opened.size % COLORS.length] ?? "cyan";
    this.#opened.add(instance.id);
    const prefix = this.#prefixed ? `${paint(color, shownInstance(instance.id))} | ` : "";
    const outputs = {
      stdout: new LinePrefixer(prefix, (output) => this.#context.stdout.write(output)),
      stderr: new LinePrefixer(prefix, (output) => this.#context.stderr.write(output)),
    };
    const query = new URLSearchParams({
      follow: String(flags.follow === true),
      ...(tail === null ? {} : { tail: String(tail) }),
    });
    const path = `/api/instances/${encodeURIComponent(instance.id)}/logs?${query.toString()}`;
    const channel = openChannel(client, path, (stream, bytes) => outputs[stream].write(bytes));
    const stop = (): void => channel.close();
    signal.addEventListener("abort", stop);
    try {
      const { error } = await channel.done;
      if (error !== null)
        throw new AppError("unavailable", `Cannot show logs of ${shownInstance(instance.id)}: ${error}`);
    } finally {
      signal.removeEventListener("abort", stop);
      outputs.stdout.end();
      outputs.stderr.end();
    }
  }

  /** Opens instances as they appear in the list at `path`, until Ctrl-C. */
  async openNew(path: string): Promise<void> {
    const { clock, signal, stderr } = this.#context;
    const { client } = this.#session;
    while (!signal.aborted) {
      await clock.sleep(NEW_INSTANCE_POLL_MS, signal);
      if (signal.aborted) return;
      const instances = await client.get<readonly InstanceJson[]>(path);
      for (const instance of instances) {
        if (this.#opened.has(instance.id) || instance.phase !== "running") continue;
        // One instance that cannot be read must not end the output of the others.
        this.open(instance, null).catch((error: unknown) => stderr.write(`${String(error)}\n`));
      }
    }
  }
}
