import type { Command } from "commander";
import type { StatusJson } from "../../api/native/shapes.ts";
import { type CliContext, clientOptions, examples, openSession } from "../cli-context.ts";
import { formatFields } from "../format-table.ts";
import { formatDuration } from "../format-time.ts";
import type { Paint } from "../style.ts";
import { formatCondition } from "./host.ts";

export function addStatusCommand(program: Command, context: CliContext): void {
  const command = clientOptions(program.command("status").description("show how the cluster is, on one screen")).action(
    async () => {
      const { client, paint, show } = openSession(context, command);
      const status = await client.get<StatusJson>("/api/status");
      show(status, () => formatStatus(status, client.connection.url, paint));
    },
  );
  examples(command, [["Is all well?", "apollo status"]]);
}

/** Text of `apollo status`: figures, settings, then what is wrong. */
export function formatStatus(status: StatusJson, url: string, paint: Paint): string {
  const { hosts, instances, settings, conditions } = status;
  const of = (good: number, all: number): string => paint(good < all ? "yellow" : "green", `${good} of ${all}`);
  const fields = formatFields([
    ["Server", `${url}, version ${status.version}, up ${formatDuration(status.uptimeMs)}`],
    ["Console", `${url}/ui/`],
    ["Hosts", `${of(hosts.up, hosts.total)} up`],
    ["Apps", String(status.apps)],
    ["Instances", `${of(instances.running, instances.wanted)} running, ${instances.healthy} healthy`],
    ["Services", String(status.services)],
    ["Deployments", status.deployments === 0 ? "none under way" : `${status.deployments} under way`],
    ["Range", `${settings.range}, a /${settings.blockPrefix} each host`],
    ["DNS", `*.service.${settings.dnsDomain}`],
    ["Ingress", `http://SERVICE.${settings.ingressDomain}/ on port 80 of every host`],
  ]);
  const problems = conditions.map((condition) => formatCondition(condition.host, condition, paint)).join("");
  return `${fields}\n${problems === "" ? `${paint("green", "No problems known.")}\n` : problems}`;
}
