import type { Command } from "commander";
import { type CliContext, examples } from "../cli-context.ts";
import type { AgentFlags } from "../../agent/agent-config.ts";
import type { LeaveFlags } from "../../agent/leave-command.ts";
import type { ServerFlags } from "../../server/main.ts";
import type { UpFlags } from "../../up/main.ts";
import type { DemoFlags } from "../programs.ts";

const SCRIPT_CHECKS = "run scripts that clients register as health checks on this host (APOLLO_SCRIPT_CHECKS=on)";

/** demo, up, server, agent, lab: the programs that the same binary holds. */
export function addProgramCommands(program: Command, context: CliContext): void {
  addDemo(program, context);
  addUp(program, context);
  addServer(program, context);
  addAgent(program, context);
  addLab(program, context);
}

function addDemo(program: Command, { programs, signal, setExitCode }: CliContext): void {
  const command = program
    .command("demo")
    .summary("bring up a cluster of three hosts on this machine and show what it does")
    .description(
      "Brings up a lab of one server and three hosts on this machine, gives a tour that checks itself, and leaves the cluster up until Ctrl-C. Needs root.",
    )
    .option("--once", "end after the tour, with exit code 1 if a step did not hold")
    .option("--hosts <n>", "number of hosts")
    .action(async (flags: DemoFlags) => setExitCode(await programs.runDemo(flags, signal)));
  examples(command, [
    ["Take the tour and keep the cluster", "apollo demo"],
    ["Check that everything works, and clean up", "apollo demo --once"],
  ]);
}

function addUp(program: Command, { programs, signal }: CliContext): void {
  const command = serverOptions(
    program
      .command("up")
      .summary("run a whole cluster on this host: server and agent in one process")
      .description(
        'Runs server and agent in one process. More hosts can join it with the token of "apollo host token".',
      ),
  );
  hostOptions(command).action(async (flags: UpFlags) => await programs.runUp(flags, signal));
  examples(command, [
    ["A cluster of one host", "apollo up"],
    ["With another range for containers", "apollo up --range 10.80.0.0/16"],
  ]);
}

function addServer(program: Command, { programs, signal }: CliContext): void {
  const command = serverOptions(
    program
      .command("server")
      .summary("run the server: it holds the wanted state and decides")
      .description(
        "Runs the server. Its first start creates the cluster's CA, admin.json (address, token and CA, for the CLI) and the join token in the data directory.",
      ),
  ).action(async (flags: ServerFlags) => await programs.runServer(flags, signal));
  examples(command, [
    ["On a machine that hosts reach as 10.0.0.1", "apollo server --advertise 10.0.0.1"],
    ["Keep its state elsewhere", "apollo server --data-dir /srv/apollo"],
  ]);
}

function addAgent(program: Command, context: CliContext): void {
  const { programs, signal } = context;
  const command = program
    .command("agent")
    .summary("run the agent that makes this machine a host")
    .description(
      "Runs the agent: containers, network, DNS and ingress of this host. The first start needs the server's address and a join token, later ones nothing.",
    )
    .option("--server <url>", "server to join, as https://ADDRESS:PORT")
    .option("--token <token>", 'join token, from "apollo host token" (APOLLO_TOKEN)')
    .option("--token-file <file>", "file that holds the token, so that it is in nobody's process list")
    .option("--force", "join in spite of a wrong clock, a doubled address, or what is wrong with this machine");
  hostOptions(command)
    .option("--enable-script-checks", SCRIPT_CHECKS)
    .option(
      "--service-tags <tags>",
      "tags for all services of this host's containers, with commas (APOLLO_SERVICE_TAGS)",
    )
    .option("--data-dir <dir>", "where the agent keeps what it knows")
    .action(async (flags: AgentFlags) => await programs.runAgent(flags, signal));
  addLeave(command, context);
  examples(command, [
    ["Join", "apollo agent --server https://10.0.0.1:8443 --token apollo1.…"],
    ["Join without showing the token", "apollo agent --server https://10.0.0.1:8443 --token-file join-token"],
    [
      "Join with a name and labels for constraints",
      "apollo agent --server https://10.0.0.1:8443 --token apollo1.… --name db-1 --label disk=ssd",
    ],
  ]);
}

function addLeave(agent: Command, { programs, stdout, env }: CliContext): void {
  const command = agent
    .command("leave")
    .summary("take this machine out of its cluster and remove all that the agent made on it")
    .description(
      "Undoes a join, on the host itself, with its agent stopped: tells the server (its instances are replaced elsewhere), stops HAProxy, " +
        "restores /etc/resolv.conf, removes the instances' containers, the Docker network, bridge, tunnel, routes, rules and the membership. " +
        "Refuses while instances run, unless --containers is given, and while other containers use the network. Images and volumes stay. " +
        "It can be repeated; a server that is away is told later with: apollo host remove NAME.",
    )
    .option("--containers", "also stop and remove the instances that run here")
    .option("--data-dir <dir>", "where the agent keeps what it knows")
    .action(async () => {
      const say = (line: string): void => stdout.write(`${line}\n`);
      await programs.leaveHost(command.optsWithGlobals<LeaveFlags>(), env, say);
    });
  examples(command, [
    ["After its instances were moved away", "apollo agent leave"],
    ["At once", "systemctl stop apollo-agent && apollo agent leave --containers"],
  ]);
}

function addLab(program: Command, { programs, signal, setExitCode }: CliContext): void {
  const command = program
    .command("lab")
    .summary("hosts on this machine for development: up, down, status, exec, stop, start, cut, heal")
    .description(
      "Runs N hosts on this machine, each with its own root, network, Docker engine, HAProxy and agent. Needs root.",
    )
    .argument("[words...]", "what to do; without it, a list")
    .passThroughOptions()
    .allowUnknownOption()
    .helpOption(false)
    .action(async (words: readonly string[]) => setExitCode(await programs.runLab(words, signal)));
  examples(command, [
    ["A cluster of three hosts", "apollo lab up --hosts 3"],
    ["A shell on one of them", "apollo lab exec host-1 -- bash"],
  ]);
}

function serverOptions(command: Command): Command {
  return command
    .option("--data-dir <dir>", "where the server keeps its state")
    .option("--config <file>", "configuration file")
    .option("--listen <address:port>", "where the one HTTPS port listens")
    .option("--advertise <address>", "address that hosts reach this server by")
    .option("--range <cidr>", "range of container addresses; only at the first start")
    .option("--range6 <cidr>", "range of IPv6 addresses, a /64, auto or off; only while the cluster has none")
    .option("--virtual-range <cidr>", "range of services' own addresses; only at the first start")
    .option("--block-prefix <length>", "prefix length of the block each host gets; only at the first start")
    .option("--datacenter <name>", "name in DNS; only at the first start")
    .option("--dns-domain <name>", "domain of services; only at the first start")
    .option("--container-domain <name>", "domain of container names; only at the first start")
    .option("--ingress-domain <name>", "base domain of the ingress; only at the first start")
    .option("--encryption <when>", "of packets between hosts: auto, required or off; only at the first start")
    .option("--trusted-ranges <cidrs>", "networks where auto does not encrypt, with commas; only at the first start")
    .option("--anonymous", "serve the API without a token, on loopback only")
    .option(
      "--consul-listen <address:port>",
      "where Consul's API listens in plain HTTP, or off; default: 127.0.0.1:8500",
    )
    .option("--consul-acl <mode>", "Consul's ACLs: off, or allow or deny for what no rule names")
    .option("--enable-script-checks", SCRIPT_CHECKS);
}

function hostOptions(command: Command): Command {
  return command
    .option("--name <name>", "name of this host; default: its hostname")
    .option("--address <address>", "address that other hosts reach this one by; default: that of the default route")
    .option(
      "--label <key=value>",
      "label for constraints; may be given several times",
      (value, all: string[] | undefined) => [...(all ?? []), value],
    )
    .option(
      "--consul <whom>",
      "serve Consul's API on port 8500: off, host, or read or write for containers as well; default: read",
    )
    .option("--no-fast-path", "send all container packets the kernel's own way, without the BPF fast path");
}
