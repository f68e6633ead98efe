import { type Command, Option } from "commander";
import type { AppJson, HostJson, StatusJson } from "../../api/native/shapes.ts";
import { DEFAULT_NETWORK } from "../../model/network-config.ts";
import type { ContainerNetwork } from "../../model/network-config.ts";
import { type CliContext, type ClientFlags, clientOptions, examples, openSession } from "../cli-context.ts";
import type { ApolloClient } from "../client.ts";
import { notFound, shownApp } from "../find-named.ts";
import { formatTable } from "../format-table.ts";

/** What `list` and `show` print, also with --json. */
interface NetworkRow extends ContainerNetwork {
  readonly apps: readonly string[];
  /** Hosts with somebody on it, and what they hand out. */
  readonly hosts: readonly { readonly host: string; readonly blocks: readonly string[] }[];
}

interface CreateFlags extends ClientFlags {
  readonly range: string;
  readonly mode?: string;
  readonly blockPrefix?: string;
  readonly internal?: boolean;
  readonly policy?: string;
}

/** `apollo network …`: networks beside the default one. */
export function addNetworkCommands(program: Command, context: CliContext): void {
  const network = program.command("network").description("declare isolated networks for containers");
  addList(network, context);
  addShow(network, context);
  addCreate(network, context);
  addDelete(network, context);
}

function addList(network: Command, context: CliContext): void {
  const command = clientOptions(network.command("list").alias("ls").description("list the networks")).action(
    async () => {
      const { client, show } = openSession(context, command);
      const rows = await readNetworks(client);
      show(rows, () => formatRows(rows));
    },
  );
  examples(command, [["All networks", "apollo network list"]]);
}

function addShow(network: Command, context: CliContext): void {
  const command = clientOptions(
    network.command("show").argument("<network>").description("show a network, and who is on it"),
  );
  command.action(async (name: string) => {
    const { client, show } = openSession(context, command);
    const rows = await readNetworks(client);
    const row = rows.find((one) => one.name === name);
    if (row === undefined) {
      const names = rows.map((one) => one.name);
      throw notFound("network", name, names);
    }
    show(row, () => formatOne(row));
  });
  examples(command, [["Who is on it", "apollo network show blue"]]);
}

function addCreate(network: Command, context: CliContext): void {
  const command = clientOptions(
    network
      .command("create")
      .argument("<name>")
      .summary("declare a network")
      .description(
        "Declares a network on all hosts. Containers join it by apps (networks), docker run --network NAME, net attach --network NAME or " +
          "CNI. Networks do not reach each other, but where a policy rule names both. Said again it changes policy and way out.",
      )
      .requiredOption("--range <range>", "addresses of its containers, such as 10.50.0.0/16")
      .addOption(
        new Option(
          "--mode <mode>",
          "routed, or layer2: one Ethernet segment over all hosts, broadcast and multicast included; its range may overlap others",
        )
          .choices(["routed", "layer2"])
          .default("routed"),
      )
      .option("--block-prefix <bits>", "prefix length of what one host gets of the range; default: by its size")
      .option("--internal", "no way to the outside of the network")
      .addOption(
        new Option("--policy <policy>", "what holds where no policy rule says anything")
          .choices(["open", "deny"])
          .default("open"),
      ),
  );
  command.action(async (name: string) => {
    const { client, flags, show } = openSession<CreateFlags>(context, command);
    const { range, mode, blockPrefix, internal, policy } = flags;
    const body = {
      range,
      mode,
      policy,
      internal: internal === true,
      ...(blockPrefix === undefined ? {} : { blockPrefix: Number(blockPrefix) }),
    };
    const stored = await client.request<ContainerNetwork>("PUT", `/api/networks/${encodeURIComponent(name)}`, { body });
    show(stored, () => `Network ${stored.name}: ${stored.range}, ${stored.mode}\n`);
  });
  examples(command, [
    ["A network of its own for a team", "apollo network create blue --range 10.50.0.0/16"],
    ["Broadcast and multicast over all hosts", "apollo network create lab --range 10.9.0.0/24 --mode layer2"],
    [
      "Nobody out, and nobody in without a rule",
      "apollo network create vault --range 10.60.0.0/20 --internal --policy deny",
    ],
  ]);
}

function addDelete(network: Command, context: CliContext): void {
  const command = clientOptions(
    network.command("delete").alias("rm").argument("<network>").description("remove a network that nobody uses"),
  );
  command.action(async (name: string) => {
    const { client, show } = openSession(context, command);
    await client.request<null>("DELETE", `/api/networks/${encodeURIComponent(name)}`);
    show({ deleted: name }, () => `Deleted network ${name}\n`);
  });
  examples(command, [["A network that is not needed any more", "apollo network delete blue"]]);
}

/** The default network first: it is there whether declared or not. */
async function readNetworks(client: ApolloClient): Promise<readonly NetworkRow[]> {
  const [networks, hosts, apps, cluster] = await Promise.all([
    client.get<readonly ContainerNetwork[]>("/api/networks"),
    client.get<readonly HostJson[]>("/api/hosts"),
    client.get<readonly AppJson[]>("/api/apps"),
    client.get<StatusJson>("/api/status"),
  ]);
  const standing: ContainerNetwork = {
    name: DEFAULT_NETWORK,
    mode: "routed",
    range: cluster.settings.range,
    policy: "open",
    internal: false,
    ...networks.find(({ name }) => name === DEFAULT_NETWORK),
  };
  return [standing, ...networks.filter(({ name }) => name !== DEFAULT_NETWORK)].map((one) => ({
    ...one,
    apps: apps.filter((app) => app.network === one.name).map(({ id }) => shownApp(id)),
    hosts: hosts
      .map(({ name, blocks, networks: held = {} }) => ({
        host: name,
        blocks: one.name === DEFAULT_NETWORK ? blocks : (held[one.name] ?? []),
      }))
      .filter(({ blocks }) => blocks.length > 0),
  }));
}

function formatRows(rows: readonly NetworkRow[]): string {
  return formatTable<NetworkRow>(
    [
      { title: "NETWORK", value: (row) => row.name },
      { title: "MODE", value: (row) => row.mode },
      { title: "RANGE", value: (row) => row.range },
      { title: "POLICY", value: (row) => row.policy },
      { title: "OUTSIDE", value: (row) => formatOutside(row) },
      { title: "HOSTS", value: (row) => String(row.hosts.length), align: "right" },
      { title: "APPS", value: (row) => row.apps.join(", ") || "-" },
    ],
    rows,
  );
}

function formatOutside({ mode, internal }: ContainerNetwork): string {
  if (mode === "layer2") return "no";
  return internal ? "no (internal)" : "yes";
}

function formatOne(row: NetworkRow): string {
  const blocks = formatTable<NetworkRow["hosts"][number]>(
    [
      { title: "HOST", value: (one) => one.host },
      { title: "BLOCKS", value: (one) => one.blocks.join(", ") },
    ],
    row.hosts,
  );
  return `${formatRows([row])}\n${row.hosts.length === 0 ? "Nobody is on it.\n" : blocks}`;
}
