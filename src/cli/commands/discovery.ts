import type { Command } from "commander";
import { AppError, describeError } from "../../model/error.ts";
import { type CliContext, examples } from "../cli-context.ts";
import { formatTable } from "../format-table.ts";
import type { DiscoveryFlags } from "../../discovery-agent/discovery-config.ts";

/** discovery: service discovery alone, without containers; the commands speak Consul's API to a node of it. */
export function addDiscoveryCommands(program: Command, context: CliContext): void {
  const discovery = program
    .command("discovery")
    .description(
      "service discovery alone: a catalog, health checks, keys and DNS as Consul's, without root and Docker",
    );
  addAgent(discovery, context);
  addMembers(discovery, context);
  addChange(discovery, context, {
    name: "join <address>",
    what: "let a node join the cluster of another",
    path: (address) => `/v1/agent/join/${encodeURIComponent(address)}`,
    example: ["Whether the node has joined", "apollo discovery join 127.0.0.1"],
  });
  addChange(discovery, context, {
    name: "leave",
    what: "take the node out of the cluster and end its process",
    path: () => "/v1/agent/leave",
    example: ["The node at 127.0.0.2", "apollo discovery leave --http-addr 127.0.0.2:8500"],
  });
  addChange(discovery, context, {
    name: "force-leave <node>",
    what: "take a dead node out of the cluster",
    path: (node) => `/v1/agent/force-leave/${encodeURIComponent(node)}`,
    example: ["One that will not come back", "apollo discovery force-leave node-3"],
  });
}

function addAgent(discovery: Command, { programs, signal }: CliContext): void {
  const many = (value: string, all: string[] | undefined): string[] => [...(all ?? []), value];
  const command = discovery
    .command("agent")
    .summary("run a node: a server of a cluster, or a client")
    .description(
      "Runs one node. Each serves Consul's HTTP API and DNS; servers keep the state, and of several one leads. Several can run on one machine on 127.0.0.1, 127.0.0.2 and so on: " +
        "processes of one user on loopback join without a token, others with the file join-token (for a server server-token) of a server's data directory.",
    )
    .option("--node <name>", "name of the node; default: the machine's")
    .option("--datacenter <name>", "name in DNS; of the server, at its first start")
    .option("--domain <name>", "domain of names; of the server, at its first start")
    .option("--bind <address>", "address that other nodes reach this one by; default: 127.0.0.1")
    .option("--client <address>", "address that HTTP and DNS listen on; default: 127.0.0.1")
    .option("--server", "be a server of the cluster; several need Debian's etcd-server")
    .option("--bootstrap", "begin a cluster: what a server does whose data directory is empty and that joins nobody")
    .option(
      "--bootstrap-expect <n>",
      "how many servers there are to be: there is no leader before all of them are there",
    )
    .option("--join <address>", "server to join, ADDRESS or ADDRESS:PORT; may be given several times", many)
    .option("--retry-join <address>", "the same: a server that is not there yet is always waited for", many)
    .option("--data-dir <dir>", "where the node keeps what it knows")
    .option("--cluster-port <port>", "port of the cluster's own protocol on --bind; default: 8301")
    .option("--server-port <port>", "port that several servers agree over, on --bind; default: 8300")
    .option("--http-port <port>", "default: 8500")
    .option("--dns-port <port>", "default: 8600")
    .option("--config-file <file>", "configuration of Consul's agent in HCL (.hcl) or JSON", many)
    .option("--config-dir <dir>", "directory of such files", many)
    .option("--token <token>", "join token (APOLLO_TOKEN)")
    .option("--token-file <file>", "file that holds it, so that it is in nobody's process list")
    .option("--enable-script-checks", "run scripts that clients register as health checks")
    .option("--enable-local-script-checks", "run those of configuration files only")
    .option("--leave-on-terminate", "leave the cluster when the process ends")
    .option("--log-level <level>", "debug, info, warn or error")
    .action(async (flags: DiscoveryFlags & { readonly retryJoin?: readonly string[] }) => {
      const { retryJoin, ...rest } = flags;
      const join = [...(flags.join ?? []), ...(retryJoin ?? [])];
      await programs.runDiscoveryAgent(join.length === 0 ? rest : { ...rest, join }, signal);
    });
  examples(command, [
    ["A server", "apollo discovery agent --server --bootstrap --node s1 --data-dir /tmp/s1"],
    ["One of three that are started together", "apollo discovery agent --server --bootstrap-expect 3 --join 10.0.0.1"],
    [
      "A further server",
      "apollo discovery agent --server --node s3 --bind 127.0.0.3 --client 127.0.0.3 --join 127.0.0.1 --data-dir /tmp/s3",
    ],
    [
      "A client beside it",
      "apollo discovery agent --node c1 --bind 127.0.0.2 --client 127.0.0.2 --join 127.0.0.1 --data-dir /tmp/c1",
    ],
  ]);
}

interface MemberJson {
  readonly Name: string;
  readonly Addr: string;
  readonly Status: number;
  readonly Tags: Readonly<Record<string, string>>;
}

const STATUS: Readonly<Record<number, string>> = { 1: "alive", 2: "leaving", 3: "left", 4: "failed" };

function addMembers(discovery: Command, context: CliContext): void {
  const command = nodeOption(discovery.command("members").description("list the nodes of the cluster"))
    .option("--json", "print JSON for programs")
    .action(async () => {
      const flags = command.opts<NodeFlags & { readonly json?: boolean }>();
      const members = JSON.parse(await ask(context, flags, "GET", "/v1/agent/members")) as readonly MemberJson[];
      const table = formatTable<MemberJson>(
        [
          { title: "NODE", value: ({ Name }) => Name },
          { title: "ADDRESS", value: ({ Addr }) => Addr },
          { title: "STATUS", value: ({ Status }) => STATUS[Status] ?? String(Status) },
          { title: "TYPE", value: ({ Tags }) => (Tags["role"] === "consul" ? "server" : "client") },
          { title: "DC", value: ({ Tags }) => Tags["dc"] ?? "" },
        ],
        members,
      );
      context.stdout.write(flags.json === true ? `${JSON.stringify(members, null, 2)}\n` : table);
    });
  examples(command, [["Who is there", "apollo discovery members"]]);
}

interface Change {
  readonly name: string;
  readonly what: string;
  readonly path: (argument: string) => string;
  readonly example: readonly [string, string];
}

function addChange(discovery: Command, context: CliContext, { name, what, path, example }: Change): void {
  const command = nodeOption(discovery.command(name).description(what));
  command.action(async () => {
    await ask(context, command.opts<NodeFlags>(), "PUT", path(command.args[0] ?? ""));
  });
  examples(command, [example]);
}

interface NodeFlags {
  readonly httpAddr?: string;
}

const TIMEOUT_MS = 10_000;
const NO_LEADER_HINT =
  "A majority of the servers has to be there: apollo discovery members shows who failed, each server's log what it waits for";

function nodeOption(command: Command): Command {
  return command.option("--http-addr <address:port>", "node to ask; default: 127.0.0.1:8500 (CONSUL_HTTP_ADDR)");
}

/** @throws AppError with the node's own words. */
async function ask({ env }: CliContext, { httpAddr }: NodeFlags, method: string, path: string): Promise<string> {
  const given = (httpAddr ?? env["CONSUL_HTTP_ADDR"]) || "127.0.0.1:8500";
  const base = /^https?:\/\//.test(given) ? given : `http://${given}`;
  let answer: Response;
  try {
    answer = await fetch(new URL(path, base), { method, signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch (cause) {
    throw new AppError("unavailable", `Cannot reach the node at ${given}: ${describeError(cause)}`, {
      cause,
      hint: "Check that it runs: apollo discovery agent; --http-addr names another",
    });
  }
  const text = await answer.text();
  if (answer.ok) return text;
  const hint = text.trim() === "No cluster leader" ? { hint: NO_LEADER_HINT } : {};
  throw new AppError(answer.status === 404 ? "not-found" : "unavailable", `Cannot do it: ${text.trim()}`, hint);
}
