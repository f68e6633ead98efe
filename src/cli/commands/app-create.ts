import type { Command } from "commander";
import type { DeploymentRefJson } from "../../api/native/shapes.ts";
import { type CliContext, clientOptions, examples, openSession } from "../cli-context.ts";
import { appPath } from "../client.ts";
import { withApp } from "../find-named.ts";
import { readAppFile } from "../read-app-file.ts";
import { deploy, type DeployFlags, deployOptions, forceQuery } from "./app-deploy.ts";

const FILE_HELP = "app in Marathon's JSON form; - reads it from standard input";

/** create and update: the commands that take a file. */
export function addAppCreateCommands(app: Command, context: CliContext): void {
  addCreate(app, context);
  addUpdate(app, context);
}

function addCreate(app: Command, context: CliContext): void {
  const command = app
    .command("create")
    .argument("<file>", FILE_HELP)
    .description("create an app and wait until it is healthy");
  clientOptions(deployOptions(command, { force: false })).action(async (path: string) => {
    const session = openSession<DeployFlags>(context, command);
    const { id, value } = await readAppFile(path, context);
    const start = (): Promise<DeploymentRefJson> => session.client.request("POST", "/api/apps", { body: value });
    await deploy(context, session, { app: () => id, goal: "running", done: "Created", start });
  });
  examples(command, [
    ["Create and wait", "apollo app create nodejs-rest-api.json"],
    ["From another program, without waiting", "generate-app | apollo app create - --detach"],
  ]);
}

function addUpdate(app: Command, context: CliContext): void {
  const command = app
    .command("update")
    .argument("<file>", FILE_HELP)
    .description("change an app to what the file says; what it leaves out stays as it is");
  clientOptions(deployOptions(command)).action(async (path: string) => {
    const session = openSession<DeployFlags>(context, command);
    const { client, flags } = session;
    const { id, value } = await readAppFile(path, context);
    const start = (): Promise<DeploymentRefJson> =>
      withApp(client, id, () => client.request("PUT", appPath(id, forceQuery(flags)), { body: value }));
    await deploy(context, session, { app: () => id, goal: "running", done: "Updated", start });
  });
  examples(command, [
    ["Change what the file says", "apollo app update nodejs-rest-api.json"],
    ["Edit what runs", "apollo app export web > web.json; $EDITOR web.json; apollo app update web.json"],
  ]);
}
