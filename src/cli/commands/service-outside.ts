import type { Command } from "commander";
import type { ServiceJson } from "../../api/native/shapes.ts";
import { AppError } from "../../model/error.ts";
import { formatEndpoint } from "../../model/ip6.ts";
import type { ImportedService, Publication, VirtualService } from "../../model/network-config.ts";
import { type CliContext, type ClientFlags, clientOptions, examples, openSession } from "../cli-context.ts";
import type { ApolloClient } from "../client.ts";
import { formatTable } from "../format-table.ts";
import { parseHostLabels, parsePortFlag, parseTargetFlag, publicationName } from "../parse-outside-flags.ts";
import type { Paint } from "../style.ts";
import { formatSuggestion } from "../suggest-name.ts";

interface Outside {
  readonly publications: readonly Publication[];
  readonly imports: readonly ImportedService[];
  readonly virtuals: readonly VirtualService[];
}

const collect = (value: string, all: readonly string[] | undefined): readonly string[] => [...(all ?? []), value];

/** Everything about services that lies outside the container range: published ports, imported targets, own addresses. */
export function addOutsideCommands(service: Command, context: CliContext): void {
  addPublish(service, context);
  addRemoval(service, context, { verb: "unpublish", kind: "publication", what: "take a service off ports of hosts" });
  addImport(service, context);
  addRemoval(service, context, { verb: "unimport", kind: "import", what: "forget outside addresses" });
  addVirtual(service, context);
  addRemoval(service, context, { verb: "release", kind: "virtual", what: "take a service's own address away" });
  addOutsideList(service, context);
}

function addPublish(service: Command, context: CliContext): void {
  const command = clientOptions(
    service
      .command("publish")
      .argument("<service>")
      .description("serve a service on a port of the hosts; the same name again binds it to another service")
      .requiredOption("--port <port[/protocol]>", "port of the hosts, as 5432 or 53/udp")
      .option("--name <name>", "name of the publication; default: of service and port")
      .option("--hosts <label=value>", "only hosts with this label; may be given several times", collect),
  );
  command.action(async (name: string) => {
    type Flags = ClientFlags & { readonly port: string; readonly name?: string; readonly hosts?: readonly string[] };
    const { client, flags, show } = openSession<Flags>(context, command);
    const port = parsePortFlag(flags.port);
    const body = { service: name, ...port, hosts: parseHostLabels(flags.hosts ?? []) };
    const made = await put<Publication>(client, "publications", flags.name ?? publicationName(name, port), body);
    show(made, () => `Published ${made.service} on ${formatPublished(made)} as ${made.name}\n`);
    await noteMissing(context, client, name);
  });
  examples(command, [
    ["DNS on every host", "apollo service publish dns --port 53/udp"],
    ["On the hosts at the edge only", "apollo service publish web --port 8080 --hosts role=edge"],
    [
      "Move it to another service, connections that are open stay",
      "apollo service publish web2 --port 8080 --name web-8080 --hosts role=edge",
    ],
  ]);
}

function addImport(service: Command, context: CliContext): void {
  const command = clientOptions(
    service
      .command("import")
      .argument("<name>", "name of the service in the catalog")
      .argument("<address:port...>", "where it is")
      .description("give outside addresses a service's name, with health by connecting to them")
      .option("--udp", "datagrams; such targets count as healthy always")
      .option("--tag <tag>", "tag; may be given several times", collect)
      .option("--no-check", "count the targets as healthy always"),
  );
  command.action(async (name: string, targets: readonly string[]) => {
    type Flags = ClientFlags & { readonly udp?: boolean; readonly tag?: readonly string[]; readonly check: boolean };
    const { client, flags, show } = openSession<Flags>(context, command);
    const made = await put<ImportedService>(client, "imports", name, {
      targets: targets.map(parseTargetFlag),
      protocol: flags.udp === true ? "udp" : "tcp",
      tags: flags.tag ?? [],
      check: flags.check ? "tcp" : "none",
    });
    show(made, () => `Imported ${formatTargets(made)} as service ${made.name}\n`);
  });
  examples(command, [
    ["A database that is no container", "apollo service import postgres 192.0.2.7:5432 192.0.2.8:5432"],
  ]);
}

function addVirtual(service: Command, context: CliContext): void {
  const command = clientOptions(
    service
      .command("virtual")
      .argument("<service>")
      .description("give a service one address that never changes; the same name again binds it to another service")
      .option("--name <name>", "its name in DNS: NAME.virtual.DOMAIN; default: the service's")
      .option("--address <address>", "out of the cluster's virtual range; default: a free one, kept for life")
      .option("--port <port>", "the one port to answer on; default: the endpoints' own")
      .option("--sticky", "the same client gets the same endpoint while the set of them stays"),
  );
  command.action(async (name: string) => {
    type Flags = ClientFlags & {
      readonly name?: string;
      readonly address?: string;
      readonly port?: string;
      readonly sticky?: boolean;
    };
    const { client, flags, show } = openSession<Flags>(context, command);
    const made = await put<VirtualService>(client, "virtuals", flags.name ?? name, {
      service: name,
      affinity: flags.sticky === true ? "source" : "none",
      ...(flags.address === undefined ? {} : { address: flags.address }),
      ...(flags.port === undefined ? {} : { port: parsePortFlag(flags.port).port }),
    });
    show(made, () => `Service ${made.service ?? made.name} has the address ${formatVirtualAddress(made)}\n`);
    await noteMissing(context, client, name);
  });
  examples(command, [
    ["For clients that cannot ask DNS again", "apollo service virtual postgres"],
    ["Switch to another version, connections that are open stay", "apollo service virtual postgres-16 --name postgres"],
  ]);
}

function addRemoval(
  service: Command,
  context: CliContext,
  {
    verb,
    kind,
    what,
  }: { readonly verb: string; readonly kind: "publication" | "import" | "virtual"; readonly what: string },
): void {
  const command = clientOptions(service.command(verb).argument(`<${kind}>`, "its name").description(what));
  command.action(async (name: string) => {
    const { client, show } = openSession(context, command);
    try {
      await client.request<null>("DELETE", `/api/${kind}s/${encodeURIComponent(name)}`);
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== "not-found") throw error;
      const known = await client.get<readonly { readonly name: string }[]>(`/api/${kind}s`);
      throw new AppError("not-found", `Cannot find ${kind} "${name}"`, {
        hint:
          formatSuggestion(
            name,
            known.map((one) => one.name),
          ) ?? 'Run "apollo service outside" to see what there is',
      });
    }
    show({ removed: name }, () => `Removed ${kind} ${name}\n`);
  });
  examples(command, [["By its name", `apollo service ${verb} web`]]);
}

function addOutsideList(service: Command, context: CliContext): void {
  const command = clientOptions(
    service.command("outside").description("list published ports, imported services and services' own addresses"),
  );
  command.action(async () => {
    const { client, paint, show } = openSession(context, command);
    const outside: Outside = {
      publications: await client.get("/api/publications"),
      imports: await client.get("/api/imports"),
      virtuals: await client.get("/api/virtuals"),
    };
    show(outside, () => formatOutside(outside, paint));
  });
  examples(command, [["All of them", "apollo service outside"]]);
}

async function put<T>(client: ApolloClient, area: string, name: string, body: unknown): Promise<T> {
  return await client.request<T>("PUT", `/api/${area}/${encodeURIComponent(name)}`, { body });
}

/** Declaring comes before deploying as often as after; only a slip of the fingers is worth a word. */
async function noteMissing(context: CliContext, client: ApolloClient, name: string): Promise<void> {
  const services = await client.get<readonly ServiceJson[]>("/api/services");
  const names = services.map((one) => one.name);
  if (names.includes(name)) return;
  const suggestion = formatSuggestion(name, names);
  context.stderr.write(`Service ${name} has no endpoint yet${suggestion === null ? "" : `. ${suggestion}`}\n`);
}

function formatOutside({ publications, imports, virtuals }: Outside, paint: Paint): string {
  const rows = [
    ...virtuals.map((one) => ["address", one.name, one.service ?? one.name, formatVirtualAddress(one)] as const),
    ...publications.map((one) => ["published", one.name, one.service, formatPublished(one)] as const),
    ...imports.map((one) => ["imported", one.name, one.name, formatTargets(one)] as const),
  ];
  if (rows.length === 0) return "Nothing is published, imported or has an address of its own.\n";
  return formatTable<(typeof rows)[number]>(
    [
      { title: "KIND", value: ([kind]) => kind },
      { title: "NAME", value: ([, name]) => paint("bold", name) },
      { title: "SERVICE", value: ([, , service]) => service },
      { title: "WHERE", value: ([, , , where]) => where },
    ],
    rows,
  );
}

/** "port 53/udp of hosts with role=edge". */
export function formatPublished({ port, protocol, hosts }: Publication): string {
  const labels = Object.entries(hosts).map(([label, value]) => `${label}=${value}`);
  return `port ${port}/${protocol} of ${labels.length === 0 ? "every host" : `hosts with ${labels.join(", ")}`}`;
}

export function formatVirtualAddress({ address, port }: VirtualService): string {
  return `${address ?? "-"}${port === undefined ? "" : `:${port}`}`;
}

function formatTargets({ targets, protocol }: ImportedService): string {
  return `${targets.map(({ address, port }) => formatEndpoint(address, port)).join(", ")}${protocol === "udp" ? " (udp)" : ""}`;
}
