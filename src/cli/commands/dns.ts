import type { Command } from "commander";
import type { DnsJson } from "../../api/native/shapes.ts";
import { type CliContext, clientOptions, examples, openSession } from "../cli-context.ts";
import { formatTable } from "../format-table.ts";
import { type Paint, paintState } from "../style.ts";

export function addDnsCommand(program: Command, context: CliContext): void {
  const command = clientOptions(
    program
      .command("dns")
      .argument("<name>")
      .argument("[type]", "A, SRV, …", "A")
      .description("say what a name answers, and which endpoints are left out and why"),
  );
  command.action(async (name: string, type: string) => {
    const { client, paint, show } = openSession(context, command);
    const query = new URLSearchParams({ name, type: type.toUpperCase() });
    const answer = await client.get<DnsJson>(`/api/dns?${query.toString()}`);
    show(answer, () => formatDns(answer, paint));
  });
  examples(command, [
    ["Addresses", "apollo dns nodejs-rest-api.service.consul"],
    ["Addresses with ports", "apollo dns nodejs-rest-api.service.consul SRV"],
  ]);
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
