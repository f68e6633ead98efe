import type { Command } from "commander";
import type { DeploymentRefJson } from "../../api/native/shapes.ts";
import { type CliContext, clientOptions, examples, openSession } from "../cli-context.ts";
import { appPath } from "../client.ts";
import { withApp } from "../find-named.ts";
import { readCount } from "../read-count.ts";
import { deploy, type DeployFlags, deployOptions, forceQuery } from "./app-deploy.ts";

/** scale, restart, rollback, destroy: the commands that change an app by its name. */
export function addAppChangeCommands(app: Command, context: CliContext): void {
  addScale(app, context);
  addRestart(app, context);
  addRollback(app, context);
  addDestroy(app, context);
}

interface Change {
  readonly id: string;
  readonly method: "POST" | "DELETE";
  readonly path: (flags: DeployFlags) => string;
  readonly body?: unknown;
  readonly goal: "running" | "gone";
  readonly done: string;
}

async function change(context: CliContext, command: Command, what: Change): Promise<void> {
  const session = openSession<DeployFlags>(context, command);
  const { client, flags } = session;
  const options = what.body === undefined ? {} : { body: what.body };
  let id = what.id;
  const start = (): Promise<DeploymentRefJson> =>
    withApp(client, what.id, (found) => {
      // What is to be destroyed has to be named exactly.
      if (what.goal === "running") id = found;
      return client.request(what.method, appPath(id, what.path(flags)), options);
    });
  await deploy(context, session, { app: () => id, goal: what.goal, done: what.done, start });
}

function addScale(app: Command, context: CliContext): void {
  const command = app
    .command("scale")
    .argument("<app>")
    .argument("<n>", "instances wanted")
    .description("change the number of instances");
  clientOptions(deployOptions(command, { force: false })).action(async (id: string, n: string) => {
    const instances = readCount(n, "number of instances");
    const done = `Scaled to ${instances}:`;
    await change(context, command, {
      id,
      method: "POST",
      path: () => "/scale",
      body: { instances },
      goal: "running",
      done,
    });
  });
  examples(command, [
    ["Four instances", "apollo app scale nodejs-rest-api 4"],
    ["None, but keep the app", "apollo app scale nodejs-rest-api 0"],
  ]);
}

function addRestart(app: Command, context: CliContext): void {
  const command = app
    .command("restart")
    .argument("<app>")
    .description("replace all instances, as the app's upgrade strategy says");
  clientOptions(deployOptions(command, { force: false })).action(async (id: string) => {
    await change(context, command, { id, method: "POST", path: () => "/restart", goal: "running", done: "Restarted" });
  });
  examples(command, [["New instances, one after another", "apollo app restart nodejs-rest-api"]]);
}

function addRollback(app: Command, context: CliContext): void {
  const command = app
    .command("rollback")
    .argument("<app>")
    .argument("[version]", 'one of "apollo app versions"; default: the one before')
    .description("go back to an earlier definition");
  clientOptions(deployOptions(command, { force: false })).action(async (id: string, version?: string) => {
    const body = version === undefined ? {} : { version };
    await change(context, command, {
      id,
      method: "POST",
      path: () => "/rollback",
      body,
      goal: "running",
      done: "Rolled back",
    });
  });
  examples(command, [
    ["To the definition before", "apollo app rollback nodejs-rest-api"],
    ["To a certain one", "apollo app rollback nodejs-rest-api 2026-11-24T07:24:04.000Z"],
  ]);
}

function addDestroy(app: Command, context: CliContext): void {
  const command = app.command("destroy").argument("<app>").description("stop all instances and forget the app");
  clientOptions(deployOptions(command)).action(async (id: string) => {
    await change(context, command, { id, method: "DELETE", path: forceQuery, goal: "gone", done: "Destroyed" });
  });
  examples(command, [
    ["Wait until all is gone", "apollo app destroy nodejs-rest-api"],
    ["Although a deployment is under way", "apollo app destroy nodejs-rest-api --force"],
  ]);
}
