import { Argument, type Command } from "commander";
import type { AppJson, PolicyCountersJson, ServiceJson } from "../../api/native/shapes.ts";
import { DEFAULT_NETWORK } from "../../model/network-config.ts";
import type { ContainerNetwork, PolicyRule } from "../../model/network-config.ts";
import { askAllHosts } from "../ask-hosts.ts";
import { type CliContext, clientOptions, examples, openSession } from "../cli-context.ts";
import { notFound, shownApp } from "../find-named.ts";
import { formatTable } from "../format-table.ts";
import { formatPorts, formatSelector } from "../parse-policy-flags.ts";
import { readPolicy, type PutFlags } from "../read-policy.ts";
import type { ApolloClient } from "../client.ts";

export function addPolicyCommands(program: Command, context: CliContext): void {
  const policy = program.command("policy").description("say who may connect to whom");
  addList(policy, context);
  addShow(policy, context);
  addPut(policy, context);
  addDelete(policy, context);
  addDefault(policy, context);
}

function addList(policy: Command, context: CliContext): void {
  const command = clientOptions(policy.command("list").alias("ls").description("list the rules")).action(async () => {
    const { client, show } = openSession(context, command);
    const [rules, networks] = await Promise.all([
      client.get<readonly PolicyRule[]>("/api/policies"),
      client.get<readonly ContainerNetwork[]>("/api/networks"),
    ]);
    const closed = networks.filter((network) => network.policy === "deny").map(({ name }) => name);
    show(rules, () => formatRules(rules, closed));
  });
  examples(command, [["All rules", "apollo policy list"]]);
}

function formatRules(rules: readonly PolicyRule[], closed: readonly string[]): string {
  const without = closed.includes(DEFAULT_NETWORK)
    ? `Where no rule says anything, network ${DEFAULT_NETWORK} is closed.\n`
    : `Where no rule says anything, network ${DEFAULT_NETWORK} is open.\n`;
  if (rules.length === 0) return `No rules. ${without}`;
  const table = formatTable<PolicyRule>(
    [
      { title: "RULE", value: (rule) => rule.name },
      { title: "NETWORK", value: (rule) => rule.network },
      { title: "FROM", value: ({ from }) => from.map(formatSelector).join(" or ") || "anyone" },
      { title: "TO", value: ({ to }) => to.map(formatSelector).join(" or ") || "every container" },
      { title: "PORTS", value: ({ ports }) => ports.map(formatPorts).join(", ") || "all" },
    ],
    rules,
  );
  return `${table}\n${without}`;
}

function addShow(policy: Command, context: CliContext): void {
  const command = clientOptions(
    policy.command("show").argument("<policy>").description("show a rule, and what was refused where it closes"),
  );
  command.action(async (name: string) => {
    const { client, show } = openSession(context, command);
    const rules = await client.get<readonly PolicyRule[]>("/api/policies");
    const rule = rules.find((one) => one.name === name);
    if (rule === undefined) {
      throw notFound(
        "policy",
        name,
        rules.map((one) => one.name),
      );
    }
    const { answers, silent } = await askAllHosts<PolicyCountersJson>(client, { kind: "policy-counters" });
    const refused = answers
      .map(({ host, refused: counts }) => ({ host, packets: counts[name] ?? 0 }))
      .toSorted((a, b) => (a.host < b.host ? -1 : 1));
    show({ ...rule, refused, silent }, () => formatRules([rule], []).split("\n\n")[0] + formatRefused(refused, silent));
  });
  examples(command, [["A rule and what it refused", "apollo policy show db"]]);
}

function formatRefused(
  refused: readonly { readonly host: string; readonly packets: number }[],
  silent: readonly { readonly host: string; readonly why: string }[],
): string {
  const total = refused.reduce((sum, { packets }) => sum + packets, 0);
  const where = refused.filter(({ packets }) => packets > 0).map(({ host, packets }) => `${packets} on ${host}`);
  const lines = [
    `\nRefused at the containers that it closes: ${total} packets${where.length > 0 ? ` (${where.join(", ")})` : ""}`,
    ...silent.map(({ host, why }) => `Not counted: host ${host} (${why})`),
  ];
  return `\n${lines.join("\n")}\n`;
}

function addPut(policy: Command, context: CliContext): void {
  const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];
  const command = clientOptions(
    policy
      .command("put")
      .argument("<name>")
      .description(
        "add or replace a rule: who may connect to whom; its containers are closed to all that no rule allows",
      )
      .option("--from <selector>", "who may connect; again for more; none is anyone", collect, [])
      .option("--to <selector>", "to whom; none is every container of the network", collect, [])
      .option("--port <port>", "such as 80, 53/udp or 8000-8080/tcp; again for more; none is all", collect, [])
      .option("--network <network>", "network that it holds in", DEFAULT_NETWORK)
      .option("--file <file>", "read the rule from a JSON or YAML file instead"),
  );
  command.action(async (name: string) => {
    const { client, flags, show } = openSession<PutFlags>(context, command);
    const rule = readPolicy(name, flags, context.files);
    const stored = await client.request<PolicyRule>("PUT", `/api/policies/${encodeURIComponent(name)}`, { body: rule });
    for (const note of await findUnknown(client, stored)) context.stderr.write(`Note: ${note}\n`);
    show(stored, () => formatRules([stored], []).split("\n\n")[0] + "\n");
  });
  examples(command, [
    ["Only web may use the database", "apollo policy put db --from app=web --to service=db --port 5432/tcp"],
    [
      "By label, or from an address range",
      "apollo policy put api --from label.tier=front --from cidr=192.0.2.0/24 --to app=api",
    ],
    ["Ingress and agents of the hosts", "apollo policy put hosts --from host=any"],
  ]);
}

/** Names in a rule that nothing has, yet or by mistake. */
async function findUnknown(client: ApolloClient, { from, to }: PolicyRule): Promise<readonly string[]> {
  const selectors = [...from, ...to];
  if (!selectors.some(({ app, service }) => app !== undefined || service !== undefined)) return [];
  const [apps, services] = await Promise.all([
    client.get<readonly AppJson[]>("/api/apps"),
    client.get<readonly ServiceJson[]>("/api/services"),
  ]);
  const knownApps = new Set(apps.map(({ id }) => shownApp(id)));
  const knownServices = new Set(services.map(({ name }) => name));
  return selectors.flatMap(({ app, service }) => [
    ...(app === undefined || knownApps.has(shownApp(app)) ? [] : [`there is no app "${shownApp(app)}" yet`]),
    ...(service === undefined || knownServices.has(service.toLowerCase())
      ? []
      : [`there is no service "${service}" yet`]),
  ]);
}

function addDelete(policy: Command, context: CliContext): void {
  const command = clientOptions(policy.command("delete").alias("rm").argument("<policy>").description("remove a rule"));
  command.action(async (name: string) => {
    const { client, show } = openSession(context, command);
    await client.request<null>("DELETE", `/api/policies/${encodeURIComponent(name)}`);
    show({ deleted: name }, () => `Deleted rule ${name}\n`);
  });
  examples(command, [["A rule that is not needed any more", "apollo policy delete db"]]);
}

function addDefault(policy: Command, context: CliContext): void {
  const command = clientOptions(
    policy
      .command("default")
      .addArgument(new Argument("<policy>").choices(["open", "deny"]))
      .description("say what holds in the default network where no rule says anything"),
  );
  command.action(async (wanted: string) => {
    const { client, show } = openSession(context, command);
    const network = await client.request<ContainerNetwork>("PUT", `/api/networks/${DEFAULT_NETWORK}`, {
      body: { policy: wanted },
    });
    show(network, () => `Network ${network.name}: ${network.policy} where no rule says anything\n`);
  });
  examples(command, [["Close all that no rule opens", "apollo policy default deny"]]);
}
