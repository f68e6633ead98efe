import type { Command } from "commander";
import type { DnsJson } from "../../api/native/shapes.ts";
import { AppError } from "../../model/error.ts";
import type { ApolloClient } from "../client.ts";
import { type CliContext, clientOptions, examples, openSession } from "../cli-context.ts";
import { formatTable } from "../format-table.ts";
import { type Paint, paintState } from "../style.ts";

/** `apollo dns NAME` is `apollo dns explain NAME`. */
export function addDnsCommands(program: Command, context: CliContext): void {
  const dns = program.command("dns").description("what names answer, and why");
  const lookup = nameCommand(dns.command("lookup").description("print what a name answers, a line each"));
  lookup.action(async (name: string, type: string) => {
    const { client, show } = openSession(context, lookup);
    const answer = await ask(client, name, type);
    if (answer.code !== "NOERROR") throw noAnswer(answer);
    show(answer.answers, () => answer.answers.map(({ data }) => `${data}\n`).join(""));
  });
  examples(lookup, [["Addresses for a script", "apollo dns lookup nodejs-rest-api.service.consul"]]);

  const explain = nameCommand(
    dns
      .command("explain", { isDefault: true })
      .description("say what a name answers, and which endpoints are left out and why; also: apollo dns NAME"),
  );
  explain.action(async (name: string, type: string) => {
    const { client, paint, show } = openSession(context, explain);
    const answer = await ask(client, name, type);
    show(answer, () => formatDns(answer, paint));
  });
  examples(explain, [
    ["Addresses", "apollo dns explain nodejs-rest-api.service.consul"],
    ["Addresses with ports", "apollo dns nodejs-rest-api.service.consul SRV"],
  ]);
}

function nameCommand(command: Command): Command {
  return clientOptions(command.argument("<name>").argument("[type]", "A, SRV, …", "A"));
}

async function ask(client: ApolloClient, name: string, type: string): Promise<DnsJson> {
  const query = new URLSearchParams({ name, type: type.toUpperCase() });
  return client.get<DnsJson>(`/api/dns?${query.toString()}`);
}

function noAnswer({ name, type, code }: DnsJson): AppError {
  if (code === "FORWARDED")
    return new AppError(
      "not-found",
      `Cannot look ${name} up: it is no name of the cluster, hosts ask their own resolvers`,
    );
  return new AppError("not-found", `Cannot find ${name}: there is no such name`, {
    hint: `See why: apollo dns explain ${name} ${type}`,
  });
}

/** Text of `apollo dns`. */
export function formatDns(dns: DnsJson, paint: Paint): string {
  const parts = [`${dns.name} ${dns.type}: ${paintState(paint, dns.code)}\n`];
  if (dns.code === "FORWARDED") parts.push("Not a name of the cluster: hosts ask their own resolvers.\n");
  if (dns.answers.length > 0) {
    const table = formatTable<DnsJson["answers"][number]>(
      [
        { title: "NAME", value: (one) => one.name },
        { title: "TTL", value: (one) => String(one.ttl), align: "right" },
        { title: "TYPE", value: (one) => one.type },
        { title: "DATA", value: (one) => one.data },
      ],
      dns.answers,
    );
    parts.push(`\n${table}`);
  }
  if (dns.excluded.length > 0) {
    const table = formatTable<DnsJson["excluded"][number]>(
      [
        { title: "LEFT OUT", value: (one) => one.endpoint },
        { title: "WHY", value: (one) => one.reason },
      ],
      dns.excluded,
    );
    parts.push(`\n${table}`);
  }
  return parts.join("");
}
