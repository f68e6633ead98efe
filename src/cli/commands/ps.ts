import type { Command } from "commander";
import type { InstanceJson } from "../../api/native/shapes.ts";
import { type CliContext, clientOptions, examples, openSession } from "../cli-context.ts";
import { getApp, shownApp, shownInstance } from "../find-named.ts";
import { formatTable } from "../format-table.ts";
import { formatAgo } from "../format-time.ts";
import { type Paint, paintState } from "../style.ts";

export function addPsCommand(program: Command, context: CliContext): void {
  const command = clientOptions(
    program.command("ps").argument("[app]").description("list instances, of one app or of all"),
  );
  command.action(async (id?: string) => {
    const { client, paint, nowMs, show } = openSession(context, command);
    const app = id === undefined ? null : await getApp(client, id);
    const query = app === null ? "" : `?app=${encodeURIComponent(app.id)}`;
    const instances = await client.get<readonly InstanceJson[]>(`/api/instances${query}`);
    show(instances, () => formatInstances(instances, paint, nowMs));
  });
  examples(command, [
    ["All instances", "apollo ps"],
    ["Addresses of one app's instances", "apollo ps nodejs-rest-api --json | jq -r '.[].address'"],
  ]);
}

/** The table of `apollo ps`. The first column is what other commands take for the instance. */
export function formatInstances(instances: readonly InstanceJson[], paint: Paint, nowMs: number): string {
  if (instances.length === 0) return "No instances.\n";
  return formatTable<InstanceJson>(
    [
      { title: "INSTANCE", value: (one) => shownInstance(one.id) },
      { title: "APP", value: (one) => paint("bold", shownApp(one.app)) },
      { title: "HOST", value: (one) => one.host },
      { title: "ADDRESS", value: formatAddress },
      { title: "STATE", value: (one) => paintState(paint, formatState(one)) },
      { title: "HEALTH", value: (one) => paintState(paint, one.health) },
      { title: "STARTED", value: (one) => formatAgo(one.startedAtMs, nowMs) },
      {
        title: "",
        value: (one) =>
          [one.current ? "" : paint("dim", "old version"), one.message ?? ""].filter((text) => text !== "").join("; "),
      },
    ],
    instances,
  );
}

/** What is wanted of it counts more than what it does: a draining instance still runs. */
function formatState(instance: InstanceJson): string {
  return instance.goal === "draining" && instance.phase === "running" ? "draining" : instance.phase;
}

function formatAddress(instance: InstanceJson): string {
  if (instance.address === null) return "-";
  return instance.ports.length === 0 ? instance.address : `${instance.address}:${instance.ports.join(",")}`;
}
