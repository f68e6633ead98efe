import type { Command } from "commander";
import type { InstanceJson } from "../../api/native/shapes.ts";
import { AppError } from "../../model/error.ts";
import { type Channel, openChannel } from "../channel.ts";
import { type CliContext, type ClientFlags, clientOptions, examples, openSession } from "../cli-context.ts";
import { findInstances, shownInstance } from "../find-named.ts";
import { Interrupted } from "../format-error.ts";

interface ExecFlags extends ClientFlags {
  readonly interactive?: boolean;
  readonly tty?: boolean;
}

/** How long input waits when the connection is full, before it looks again. */
const FULL_POLL_MS = 10;

export function addExecCommand(program: Command, context: CliContext): void {
  const command = program
    .command("exec")
    .argument("<instance|app>", "of an app, its first healthy instance is taken")
    .argument("<command...>", "what to run in the container")
    .description("run a command in an instance; ends with its exit code")
    // Everything after the instance belongs to the command that is run.
    .passThroughOptions()
    .option("-i, --interactive", "pass standard input on")
    .option("-t, --tty", "give the command a terminal");
  clientOptions(command, { json: false }).action(async (name: string, argv: readonly string[]) => {
    const { client, flags } = openSession<ExecFlags>(context, command);
    const { app, instances } = await findInstances(client, name);
    const instance = chooseRunning(name, instances);
    if (app !== null && instances.length > 1)
      context.stderr.write(`Instance ${shownInstance(instance.id)} on ${instance.host}\n`);
    const tty = flags.tty === true;
    if (tty && !context.stdin().isTTY) {
      throw new AppError("invalid", "Cannot give the command a terminal: standard input is none", {
        hint: "Leave out -t",
      });
    }
    const query = new URLSearchParams({
      argv: JSON.stringify(argv),
      tty: String(tty),
      stdin: String(flags.interactive === true),
    });
    const path = `/api/instances/${encodeURIComponent(instance.id)}/exec?${query.toString()}`;
    const channel = openChannel(client, path, (stream, bytes) => context[stream].write(bytes));
    context.setExitCode(await attach(context, channel, { tty, stdin: flags.interactive === true }));
  });
  examples(command, [
    ["Look into a container", "apollo exec nodejs-rest-api -- ls -l /"],
    ["A shell", "apollo exec -it nodejs-rest-api -- sh"],
    ["Send a file in", "apollo exec -i 3f2a9c11 -- tee /tmp/data < data"],
  ]);
}

/** The first that runs, healthy ones before others. @throws AppError `conflict` when none does. */
export function chooseRunning(name: string, instances: readonly InstanceJson[]): InstanceJson {
  const running = instances.filter((one) => one.phase === "running");
  const chosen = running.find((one) => one.health === "healthy" || one.health === "none") ?? running[0];
  if (chosen !== undefined) return chosen;
  const states = [...new Set(instances.map((one) => one.phase))].toSorted().join(", ");
  throw new AppError("conflict", `Cannot run a command in "${name}": no instance of it runs (${states})`, {
    hint: `Run "apollo ps"; "apollo logs ${name}" shows what it said`,
  });
}

interface AttachOptions {
  readonly tty: boolean;
  readonly stdin: boolean;
}

/** Joins this terminal to the channel until the command ends; returns its exit code. */
async function attach(context: CliContext, channel: Channel, { tty, stdin }: AttachOptions): Promise<number> {
  const input = context.stdin();
  const resize = (): void => channel.resize(context.stdout.columns(), process.stdout.rows ?? 24);
  const stop = (): void => channel.close();
  context.signal.addEventListener("abort", stop);
  if (tty) {
    // Raw: Ctrl-C and all other keys go to the command, which has a terminal of its own.
    input.setRawMode(true);
    resize();
    process.stdout.on("resize", resize);
  }
  if (stdin) void pump(context, channel);
  try {
    const { exitCode, error } = await channel.done;
    if (context.signal.aborted) throw new Interrupted();
    if (error !== null) throw new AppError("unavailable", `Cannot run the command: ${error}`);
    return exitCode ?? 0;
  } finally {
    context.signal.removeEventListener("abort", stop);
    if (tty) {
      process.stdout.off("resize", resize);
      input.setRawMode(false);
    }
    if (stdin) input.pause();
  }
}

async function pump({ stdin, clock }: CliContext, channel: Channel): Promise<void> {
  for await (const chunk of stdin()) {
    channel.write(typeof chunk === "string" ? Buffer.from(chunk) : (chunk as Uint8Array));
    while (channel.isFull()) await clock.sleep(FULL_POLL_MS);
  }
  channel.endInput();
}
