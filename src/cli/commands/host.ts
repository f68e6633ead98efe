import type { Command } from "commander";
import type { HostJson } from "../../api/native/shapes.ts";
import { type CliContext, type ClientFlags, clientOptions, examples, openSession } from "../cli-context.ts";
import { withHost } from "../find-named.ts";
import { formatTable } from "../format-table.ts";
import { formatAgo } from "../format-time.ts";
import { type Paint, paintState } from "../style.ts";

export function addHostCommands(program: Command, context: CliContext): void {
  const host = program.command("host").description("see, add and remove hosts");
  addList(host, context);
  addCordon(host, context, "cordon");
  addCordon(host, context, "uncordon");
  addRemove(host, context);
  addToken(host, context);
}

function addList(host: Command, context: CliContext): void {
  const command = clientOptions(host.command("list").alias("ls").description("list hosts")).action(async () => {
    const { client, paint, nowMs, show } = openSession(context, command);
    const hosts = await client.get<readonly HostJson[]>("/api/hosts");
    show(hosts, () => formatHosts(hosts, paint, nowMs));
  });
  examples(command, [["All hosts with what is free", "apollo host list"]]);
}

/** The table of `apollo host list`, and under it what is wrong with hosts. */
export function formatHosts(hosts: readonly HostJson[], paint: Paint, nowMs: number): string {
  if (hosts.length === 0) return 'No hosts yet. Run "apollo host token" to see how to add one.\n';
  const table = formatTable<HostJson>(
    [
      { title: "HOST", value: (one) => paint("bold", one.name) },
      {
        title: "STATE",
        value: (one) => paintState(paint, one.phase) + (one.cordoned ? paint("yellow", ", cordoned") : ""),
      },
      { title: "ADDRESS", value: (one) => one.address },
      { title: "BLOCKS", value: (one) => one.blocks.join(", ") || "-" },
      { title: "CPUS", value: (one) => `${round(one.cpus.used)}/${round(one.cpus.total)}`, align: "right" },
      { title: "MEMORY", value: (one) => `${one.memoryMiB.used}/${one.memoryMiB.total} MiB`, align: "right" },
      { title: "INSTANCES", value: (one) => String(one.instances), align: "right" },
      { title: "SEEN", value: (one) => formatAgo(one.lastSeenMs, nowMs) },
      { title: "VERSION", value: (one) => one.agentVersion ?? "-" },
    ],
    hosts,
  );
  return (
    table +
    hosts.flatMap((one) => one.conditions.map((condition) => formatCondition(one.name, condition, paint))).join("")
  );
}

/** "host-1: error: port 80 is taken (hint)". */
export function formatCondition(host: string | null, condition: HostJson["conditions"][number], paint: Paint): string {
  const { severity, text, hint } = condition;
  return `${host === null ? "" : `${paint("bold", host)}: `}${paintState(paint, severity)}: ${text}${hint === "" ? "" : ` ${paint("dim", `(${hint})`)}`}\n`;
}

function round(value: number): string {
  return String(Math.round(value * 100) / 100);
}

function addCordon(host: Command, context: CliContext, verb: "cordon" | "uncordon"): void {
  const what =
    verb === "cordon"
      ? "place no new instances on a host; those there stay"
      : "let new instances be placed on a host again";
  const command = clientOptions(host.command(verb).argument("<host>").description(what));
  command.action(async (name: string) => {
    const { client, show } = openSession(context, command);
    const changed = await withHost(client, name, () =>
      client.request<HostJson>("POST", `/api/hosts/${encodeURIComponent(name)}/${verb}`),
    );
    show(changed, () => `Host ${changed.name} is ${changed.cordoned ? "cordoned" : "open for new instances"}\n`);
  });
  examples(command, [
    [verb === "cordon" ? "Before work on a host" : "When the work is done", `apollo host ${verb} host-2`],
  ]);
}

function addRemove(host: Command, context: CliContext): void {
  const command = clientOptions(
    host
      .command("remove")
      .argument("<host>")
      .description("forget a host and free its block of addresses")
      .option("--force", "although it is up: its instances are replaced elsewhere"),
  );
  command.action(async (name: string) => {
    const { client, flags, show } = openSession<ClientFlags & { readonly force?: boolean }>(context, command);
    const query = flags.force === true ? "?force=true" : "";
    await withHost(client, name, () =>
      client.request<null>("DELETE", `/api/hosts/${encodeURIComponent(name)}${query}`),
    );
    show({ removed: name }, () => `Removed host ${name}\n`);
  });
  examples(command, [["A host that will not come back", "apollo host remove host-3"]]);
}

function addToken(host: Command, context: CliContext): void {
  const command = clientOptions(host.command("token").description("print the token that lets hosts join"));
  command.action(async () => {
    const { client, show } = openSession(context, command);
    const answer = await client.get<{ readonly token: string }>("/api/join-token");
    show(answer, () => `${answer.token}\n`);
    const { hostname, port } = new URL(client.connection.url);
    const address = hostname.startsWith("127.") || hostname === "localhost" ? "SERVER" : hostname;
    if (context.stderr.isTty) {
      context.stderr.write(
        `\nOn the new host, as root:\n  apollo agent --server https://${address}:${port || "443"} --token ${answer.token}\n`,
      );
    }
  });
  examples(command, [["For a new host", "apollo host token"]]);
}
