import type { Command } from "commander";
import type { WhyJson } from "../../api/native/shapes.ts";
import { type CliContext, clientOptions, examples, openSession } from "../cli-context.ts";
import { appPath } from "../client.ts";
import { shownApp, shownInstance, withApp } from "../find-named.ts";
import { formatTable, oneLine } from "../format-table.ts";
import { formatAgo, formatIn } from "../format-time.ts";
import type { Paint } from "../style.ts";

export function addWhyCommand(program: Command, context: CliContext): void {
  const command = clientOptions(
    program.command("why").argument("<app>").description("say what an app waits for, host by host"),
  );
  command.action(async (id: string) => {
    const { client, paint, nowMs, show } = openSession(context, command);
    const why = await withApp(client, id, (found) => client.get<WhyJson>(appPath(found, "/why")));
    show(why, () => formatWhy(why, paint, nowMs));
  });
  examples(command, [["Why are there fewer instances than wanted?", "apollo why nodejs-rest-api"]]);
}

/** Text of `apollo why`. */
export function formatWhy(why: WhyJson, paint: Paint, nowMs: number): string {
  const lines = [
    `${paint("bold", shownApp(why.app))}: ${oneLine(why.summary)} (${why.running} of ${why.wanted} run)\n`,
  ];
  if (why.hosts.length > 0) {
    const table = formatTable(
      [
        { title: "HOST", value: (row: WhyJson["hosts"][number]) => row.host },
        { title: "WHY NOT THERE", value: (row) => row.reason },
      ],
      why.hosts,
    );
    lines.push(`\n${table}`);
  }
  if (why.retryAtMs !== null) lines.push(`\nNext try ${formatIn(why.retryAtMs, nowMs)}.\n`);
  const { lastFailure } = why;
  if (lastFailure !== null) {
    const { instance, host, message, atMs } = lastFailure;
    lines.push(
      `\nLast failure: ${shownInstance(instance)} on ${host}, ${formatAgo(atMs, nowMs)}: ${oneLine(message)}\n`,
    );
  }
  return lines.join("");
}
