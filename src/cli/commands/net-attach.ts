import type { Command } from "commander";
import { type AskFlags, askAgent } from "../ask-agent.ts";
import { type CliContext, clientOptions, examples } from "../cli-context.ts";
import { formatTable } from "../format-table.ts";

interface AttachmentJson {
  readonly what: string;
  readonly address: string;
  /** Missing from an older agent. */
  readonly address6?: string | null;
  readonly name: string | null;
  readonly network: string;
  readonly device: string | null;
}

interface ExposureJson {
  readonly address: string;
  readonly address6?: string | null;
  readonly name: string | null;
}

interface AttachFlags extends AskFlags {
  readonly address?: string;
  readonly name?: string;
  readonly network?: string;
  readonly multicastRoute: boolean;
}

/** attach, detach, expose, hide, attachments: what an agent wires beside the containers that it starts. */
export function addAttachCommands(net: Command, context: CliContext): void {
  addAttach(net, context);
  addDetach(net, context);
  addExpose(net, context);
  addHide(net, context);
  addList(net, context);
}

/** The host to work on. */
function onHost(command: Command): Command {
  return clientOptions(command.option("--host <host>", "work on this host, through the server; default: this machine"));
}

function addAttach(net: Command, context: CliContext): void {
  const command = onHost(
    net
      .command("attach")
      .argument("<target>", "name or id of a container, pid:NUMBER, or netns:/PATH")
      .summary("give a running container, process or network namespace an address on the network")
      .description(
        "Gives a container that runs anywhere else (another network, another runtime) an interface and an address on the container network, " +
          "and prints the address. It is kept: over restarts of the container, the engine, the agent and the host, until it is detached.",
      )
      .option("--address <address>", "this address of the host's block; default: a free one")
      .option("--name <name>", "name in DNS; default: the container's own")
      .option("--network <name>", "network to attach to; default: the cluster's")
      .option("--no-multicast-route", "leave the route of multicast as it is"),
  );
  command.action(async (target: string) => {
    const flags = command.optsWithGlobals<AttachFlags>();
    const { address, name, network, multicastRoute: multicast } = flags;
    const question = { kind: "attach", target, address, name, network, multicast };
    const row = await askAgent<AttachmentJson>(context, command, question);
    print(context, flags, row, () => `${row.address}\n`);
  });
  examples(command, [
    ["A container of this host's engine", "apollo net attach db"],
    ["With an address and a name of its own", "apollo net attach db --address 10.2.1.200 --name postgres"],
    ["What another runtime or ip netns made", "apollo net attach netns:/run/netns/blue --name blue"],
    ["A process in a network namespace of its own", "apollo net attach pid:4711"],
  ]);
}

function addDetach(net: Command, context: CliContext): void {
  const command = onHost(
    net
      .command("detach")
      .argument("<target>", "as given to attach")
      .option("--network <name>", "from this network only; default: from all")
      .description("take an attachment away and free its address"),
  );
  command.action(async (target: string) => {
    const rows = await askAgent<readonly AttachmentJson[]>(context, command, {
      kind: "detach",
      target,
      network: command.optsWithGlobals<AttachFlags>().network,
    });
    print(context, command.optsWithGlobals<AskFlags>(), rows, () => lines(rows));
  });
  examples(command, [["Undo an attach", "apollo net detach db"]]);
}

function addExpose(net: Command, context: CliContext): void {
  const command = onHost(
    net
      .command("expose")
      .summary("give the host itself an address on the container network")
      .description(
        "Gives the host an address on the container network, and a name for it when wanted: containers everywhere reach the host's " +
          "own services by it. Hosts reach containers anyway. Said again it changes nothing.",
      )
      .option("--address <address>", "this address of the host's block; default: a free one")
      .option("--name <name>", "name in DNS"),
  );
  command.action(async () => {
    const flags = command.optsWithGlobals<AttachFlags>();
    const question = { kind: "expose", address: flags.address, name: flags.name };
    const row = await askAgent<ExposureJson>(context, command, question);
    print(context, flags, row, () => `${row.address}\n`);
  });
  examples(command, [["A database that runs on the host", "apollo net expose --name legacy-db"]]);
}

function addHide(net: Command, context: CliContext): void {
  const command = onHost(
    net
      .command("hide")
      .description("take exposed addresses off the host: one by --address or --name, else all; none is fine")
      .option("--address <address>", "this address")
      .option("--name <name>", "the address with this name"),
  );
  command.action(async () => {
    const flags = command.optsWithGlobals<AttachFlags>();
    const question = { kind: "hide", address: flags.address, name: flags.name };
    const rows = await askAgent<readonly ExposureJson[]>(context, command, question);
    print(context, flags, rows, () => lines(rows));
  });
  examples(command, [["Undo an expose", "apollo net hide --name legacy-db"]]);
}

function addList(net: Command, context: CliContext): void {
  const command = onHost(net.command("attachments").description("list what is attached and exposed on a host"));
  command.action(async () => {
    const flags = command.optsWithGlobals<AskFlags>();
    const found = await askAgent<{
      readonly attachments: readonly AttachmentJson[];
      readonly exposures: readonly ExposureJson[];
    }>(context, command, { kind: "attachments" });
    print(context, flags, found, () => formatAttachments(found.attachments, found.exposures));
  });
  examples(command, [["On this machine", "apollo net attachments"]]);
}

/** The table of `apollo net attachments`. */
export function formatAttachments(attachments: readonly AttachmentJson[], exposures: readonly ExposureJson[]): string {
  const rows = [
    ...attachments,
    ...exposures.map((each) => ({ ...each, what: "(this host)", network: "", device: "lo" })),
  ];
  if (rows.length === 0) return "Nothing is attached or exposed.\n";
  return formatTable<AttachmentJson>(
    [
      { title: "WHAT", value: (row) => row.what },
      { title: "ADDRESS", value: (row) => row.address },
      { title: "IPV6", value: (row) => row.address6 ?? "-" },
      { title: "NAME", value: (row) => row.name ?? "-" },
      { title: "NETWORK", value: (row) => row.network || "-" },
      { title: "DEVICE", value: (row) => row.device ?? "waits for its container" },
    ],
    rows,
  );
}

function lines(rows: readonly { readonly address: string }[]): string {
  return rows.map(({ address }) => `${address}\n`).join("");
}

function print(context: CliContext, flags: AskFlags, value: unknown, text: () => string): void {
  context.stdout.write(flags.json === true ? `${JSON.stringify(value, null, 2)}\n` : text());
}
