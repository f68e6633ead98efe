import type { Command } from "commander";
import type { DeploymentRefJson } from "../../api/native/shapes.ts";
import type { CliContext, ClientFlags, Session } from "../cli-context.ts";
import { shownApp } from "../find-named.ts";
import { formatDuration } from "../format-time.ts";
import { createProgressLine } from "../progress-line.ts";
import { readDuration } from "../read-count.ts";
import { waitForDeployment } from "../wait-deployment.ts";

export interface DeployFlags extends ClientFlags {
  readonly detach?: boolean;
  readonly timeout: string;
  readonly force?: boolean;
}

/** Options of all commands that start a deployment. */
export function deployOptions(command: Command, { force = true }: { readonly force?: boolean } = {}): Command {
  command
    .option("-d, --detach", "do not wait for the deployment")
    .option("--timeout <time>", "stop waiting after this long, like 90s or 10m; the deployment goes on", "5m");
  if (force) command.option("--force", "take over from a deployment that is under way for this app");
  return command;
}

export interface Deploy {
  /** Asked for after `start`, which may have found out which app is meant. */
  readonly app: () => string;
  readonly goal: "running" | "gone";
  /** "Created", for the last line. */
  readonly done: string;
  /** Sends the change. */
  readonly start: () => Promise<DeploymentRefJson>;
}

/** Starts a deployment and, unless detached, waits until it is done, with a line that tells how it goes. */
export async function deploy(context: CliContext, session: Session<DeployFlags>, what: Deploy): Promise<void> {
  const { flags, client, paint, show } = session;
  // A wrong --timeout must not be found after the change was made.
  const timeoutMs = readDuration(flags.timeout, "--timeout");
  const ref = await what.start();
  const app = what.app();
  const name = paint("bold", shownApp(app));
  if (flags.detach === true) {
    show({ ...ref, app, done: false }, () => `${what.done} ${name}: deployment ${ref.deploymentId} is under way\n`);
    return;
  }
  const tookMs = await waitForDeployment(
    { app, ref, goal: what.goal },
    { client, clock: context.clock, signal: context.signal, progress: createProgressLine(context.stderr), timeoutMs },
  );
  show(
    { ...ref, app, done: true, tookMs: Math.round(tookMs) },
    () => `${what.done} ${name} in ${formatDuration(tookMs)}\n`,
  );
}

/** `?force=true` where it was asked for. */
export function forceQuery(flags: DeployFlags): string {
  return flags.force === true ? "?force=true" : "";
}
