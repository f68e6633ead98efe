/** What people register by hand, over Consul's API: register, deregister, maintenance. */
import { Argument, type Command } from "commander";
import { AppError } from "../../model/error.ts";
import { type CliContext, type ClientFlags, clientOptions, examples, openSession } from "../cli-context.ts";
import { ConsulClient } from "../consul-client.ts";
import { findInstance, type InstanceFlags } from "../find-registered.ts";
import { readCount } from "../read-count.ts";

const PORT_MAX = 65_535;
const collect = (value: string, all: readonly string[] | undefined): readonly string[] => [...(all ?? []), value];

export function addRegisteredCommands(service: Command, context: CliContext): void {
  addRegister(service, context);
  addDeregister(service, context);
  addMaintenance(service, context);
}

interface RegisterFlags extends ClientFlags {
  readonly id?: string;
  readonly node?: string;
  readonly address?: string;
  readonly port?: string;
  readonly tag?: readonly string[];
  readonly meta?: readonly string[];
  readonly ttl?: string;
  readonly nodeAddress?: string;
}

function addRegister(service: Command, context: CliContext): void {
  const command = clientOptions(
    service
      .command("register")
      .argument("<name>", "name of the service")
      .description("put something that is no container into the catalog, until it is taken out again")
      .option("--id <id>", "tells instances of one node apart; default: the name")
      .option(
        "--node <name>",
        "node that it is on: a host of the cluster, or any other with --node-address; default: the server's",
      )
      .option("--node-address <address>", "makes or changes a node outside the cluster")
      .option("--address <address>", "where it is, when that is not the node's address")
      .option("--port <port>", "its port")
      .option("--tag <tag>", "tag; may be given several times", collect)
      .option("--meta <key=value>", "metadata; may be given several times", collect)
      .option("--ttl <duration>", "critical unless somebody reports it passing so often, as 30s"),
  );
  command.action(async (name: string) => {
    const { client, flags, show } = openSession<RegisterFlags>(context, command);
    const consul = new ConsulClient(client, context.signal);
    const node = flags.node ?? (await localNode(consul));
    const id = flags.id ?? name;
    await consul.change("PUT", "catalog/register", { body: registrationOf({ name, id, node }, flags) });
    show({ service: name, id, node }, () => `Registered ${name} as ${id} on ${node}\n`);
  });
  examples(command, [
    ["A database outside", "apollo service register postgres --node db-1 --node-address 192.0.2.7 --port 5432"],
    ["A program on a host", "apollo service register backup --node host-1 --port 8080 --tag nightly"],
  ]);
}

function registrationOf(
  { name, id, node }: { readonly name: string; readonly id: string; readonly node: string },
  flags: RegisterFlags,
): object {
  const meta = (flags.meta ?? []).map((text) => {
    const at = text.indexOf("=");
    if (at < 1) throw new AppError("invalid", `Cannot use metadata "${text}": it must look like key=value`);
    return [text.slice(0, at), text.slice(at + 1)] as const;
  });
  return {
    Node: node,
    ...(flags.nodeAddress === undefined ? { SkipNodeUpdate: true } : { Address: flags.nodeAddress }),
    Service: {
      ID: id,
      Service: name,
      Port: flags.port === undefined ? 0 : readCount(flags.port, "port", PORT_MAX),
      Tags: flags.tag ?? [],
      Meta: Object.fromEntries(meta),
      ...(flags.address === undefined ? {} : { Address: flags.address }),
    },
    ...(flags.ttl === undefined ? {} : { Check: ttlCheck(name, id, flags.ttl) }),
  };
}

function ttlCheck(name: string, id: string, ttl: string): object {
  return {
    CheckID: `service:${id}`,
    Name: `Service '${name}' check`,
    ServiceID: id,
    Status: "critical",
    Type: "ttl",
    Definition: { TTL: ttl },
  };
}

async function localNode(consul: ConsulClient): Promise<string> {
  const self = await consul.find<{ readonly Config: { readonly NodeName: string } }>("agent/self");
  return self?.Config.NodeName ?? "";
}

function instanceOptions(command: Command): Command {
  return clientOptions(
    command.option("--node <name>", "the one on that node").option("--id <id>", "the one with that id"),
  );
}

function addDeregister(service: Command, context: CliContext): void {
  const command = instanceOptions(
    service.command("deregister").argument("<service>").description("take what was registered out of the catalog"),
  );
  command.action(async (name: string) => {
    const { client, flags, show } = openSession<InstanceFlags>(context, command);
    const consul = new ConsulClient(client, context.signal);
    const { node, id } = await findInstance(consul, name, flags);
    await consul.change("PUT", "catalog/deregister", { body: { Node: node, ServiceID: id } });
    show({ service: name, id, node }, () => `Deregistered ${id} on ${node}\n`);
  });
  examples(command, [["The only one, or one of several", "apollo service deregister postgres --node db-1"]]);
}

function addMaintenance(service: Command, context: CliContext): void {
  const command = instanceOptions(
    service
      .command("maintenance")
      .argument("<service>")
      .addArgument(new Argument("<mode>").choices(["on", "off"]))
      .description("take what was registered out of DNS and ingress for a while")
      .option("--reason <text>", "for whoever looks at its checks"),
  );
  command.action(async (name: string, mode: string) => {
    const { client, flags, show } = openSession<InstanceFlags & { readonly reason?: string }>(context, command);
    const consul = new ConsulClient(client, context.signal);
    const { node, id } = await findInstance(consul, name, flags);
    const checkId = `_service_maintenance:${id}`;
    if (mode === "on") {
      const Notes = flags.reason ?? "Maintenance mode is enabled by apollo service maintenance";
      const Check = { CheckID: checkId, Name: "Service Maintenance Mode", Status: "critical", ServiceID: id, Notes };
      await consul.change("PUT", "catalog/register", { body: { Node: node, SkipNodeUpdate: true, Check } });
    } else {
      await consul.change("PUT", "catalog/deregister", { body: { Node: node, CheckID: checkId } });
    }
    show({ service: name, id, node, maintenance: mode === "on" }, () =>
      mode === "on" ? `${id} on ${node} is in maintenance: nobody is sent to it\n` : `${id} on ${node} is back\n`,
    );
  });
  examples(command, [
    ["While it is worked on", 'apollo service maintenance postgres on --reason "new disk"'],
    ["Back again", "apollo service maintenance postgres off"],
  ]);
}
