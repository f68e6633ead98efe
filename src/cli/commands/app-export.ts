import type { Command } from "commander";
import { AppError } from "../../model/error.ts";
import { type CliContext, clientOptions, examples, openSession } from "../cli-context.ts";
import { shownApp, withApp } from "../find-named.ts";

/** What Marathon's form says of an app beside its definition: not wanted in a file. */
const OBSERVED = new Set([
  "tasks",
  "deployments",
  "version",
  "versionInfo",
  "tasksStaged",
  "tasksRunning",
  "tasksHealthy",
  "tasksUnhealthy",
  "lastTaskFailure",
  "taskStats",
  "readinessCheckResults",
]);

export function addAppExportCommand(app: Command, context: CliContext): void {
  const command = clientOptions(
    app.command("export").argument("<app>").description("print an app's definition, as create and update take it"),
    { json: false },
  );
  command.action(async (id: string) => {
    const { client } = openSession(context, command);
    const path = shownApp(id).split("/").map(encodeURIComponent).join("/");
    const answer = await withApp(client, id, () => client.get<unknown>(`/v2/apps//${path}`));
    context.stdout.write(`${JSON.stringify(definitionOf(answer), null, 2)}\n`);
  });
  examples(command, [["Keep it in a file", "apollo app export nodejs-rest-api > nodejs-rest-api.json"]]);
}

/** The definition in the answer of GET /v2/apps/ID. */
export function definitionOf(answer: unknown): Readonly<Record<string, unknown>> {
  const app: unknown = typeof answer === "object" && answer !== null && "app" in answer ? answer.app : null;
  if (typeof app !== "object" || app === null) {
    throw new AppError("unavailable", "Cannot read the server's answer: it holds no app");
  }
  return Object.fromEntries(Object.entries(app).filter(([key, value]) => !OBSERVED.has(key) && value !== null));
}
