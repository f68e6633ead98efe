import type { Command } from "commander";
import type { DeploymentJson, DeploymentRefJson } from "../../api/native/shapes.ts";
import { AppError } from "../../model/error.ts";
import { type CliContext, type ClientFlags, clientOptions, examples, openSession } from "../cli-context.ts";
import type { ApolloClient } from "../client.ts";
import { notFound, shownApp } from "../find-named.ts";
import { formatTable } from "../format-table.ts";
import { formatAgo } from "../format-time.ts";
import type { Paint } from "../style.ts";

export function addDeploymentCommands(program: Command, context: CliContext): void {
  const group = program.command("deployment").description("see and cancel changes that are under way");
  const list = clientOptions(group.command("list").alias("ls").description("list deployments under way")).action(
    async () => {
      const { client, paint, nowMs, show } = openSession(context, list);
      const deployments = await client.get<readonly DeploymentJson[]>("/api/deployments");
      show(deployments, () => formatDeployments(deployments, paint, nowMs));
    },
  );
  examples(list, [["What is going on", "apollo deployment list"]]);

  const cancel = clientOptions(
    group
      .command("cancel")
      .argument("<deployment>", "its id, or the unique start of it")
      .description("go back to how the apps were before the deployment")
      .option("--force", "do not go back: leave everything as it is now"),
  );
  cancel.action(async (text: string) => {
    const { client, flags, show } = openSession<ClientFlags & { readonly force?: boolean }>(context, cancel);
    const id = await findDeployment(client, text);
    const query = flags.force === true ? "?force=true" : "";
    const ref = await client.request<DeploymentRefJson | null>(
      "DELETE",
      `/api/deployments/${encodeURIComponent(id)}${query}`,
    );
    show(ref ?? { cancelled: id }, () =>
      ref === null || flags.force === true
        ? `Dropped deployment ${id}; everything stays as it is now\n`
        : `Cancelled deployment ${id}; deployment ${ref.deploymentId} goes back\n`,
    );
  });
  examples(cancel, [
    ["Go back", "apollo deployment cancel 5ed4c0c5"],
    ["Just stop", "apollo deployment cancel 5ed4c0c5 --force"],
  ]);
}

async function findDeployment(client: ApolloClient, text: string): Promise<string> {
  const deployments = await client.get<readonly DeploymentJson[]>("/api/deployments");
  const ids = deployments.map((one) => one.id);
  const matches = ids.includes(text) ? [text] : ids.filter((id) => id.startsWith(text));
  if (matches.length > 1) {
    throw new AppError("invalid", `Cannot tell which deployment "${text}" is: ${matches.length} begin so`, {
      hint: "Type more of it",
    });
  }
  const [id] = matches;
  if (id === undefined) throw notFound("deployment", text, ids);
  return id;
}

/** The table of `apollo deployment list`. */
export function formatDeployments(deployments: readonly DeploymentJson[], paint: Paint, nowMs: number): string {
  if (deployments.length === 0) return "No deployment is under way.\n";
  return formatTable<DeploymentJson>(
    [
      { title: "DEPLOYMENT", value: (one) => one.id },
      { title: "APPS", value: (one) => paint("bold", one.apps.map(shownApp).join(", ")) },
      { title: "STEP", value: (one) => `${Math.min(one.step + 1, one.steps)}/${one.steps}`, align: "right" },
      { title: "DOING", value: (one) => one.actions.map(({ action, app }) => `${action} ${shownApp(app)}`).join(", ") },
      { title: "STARTED", value: (one) => formatAgo(one.startedAtMs, nowMs) },
    ],
    deployments,
  );
}
