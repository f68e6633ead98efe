import type { Command } from "commander";
import type { EndpointJson, ServiceJson } from "../../api/native/shapes.ts";
import { type CliContext, clientOptions, examples, openSession } from "../cli-context.ts";
import type { Publication, VirtualService } from "../../model/network-config.ts";
import { notFound } from "../find-named.ts";
import { formatFields, formatTable } from "../format-table.ts";
import { type Paint, paintState } from "../style.ts";
import { addRegisteredCommands } from "./service-registered.ts";
import { addWatchCommand } from "./service-watch.ts";
import { addOutsideCommands, formatPublished, formatVirtualAddress } from "./service-outside.ts";

export function addServiceCommands(program: Command, context: CliContext): void {
  const service = program
    .command("service")
    .description("see the catalog: names, addresses, health and outside routes");
  const list = clientOptions(service.command("list").alias("ls").description("list services")).action(async () => {
    const { client, paint, show } = openSession(context, list);
    const services = await client.get<readonly ServiceJson[]>("/api/services");
    show(services, () => formatServices(services, paint));
  });
  examples(list, [["All names and how many answer", "apollo service list"]]);

  const one = clientOptions(
    service.command("show").argument("<service>").description("show a service and its endpoints"),
  );
  one.action(async (name: string) => {
    const { client, paint, show } = openSession(context, one);
    const services = await client.get<readonly ServiceJson[]>("/api/services");
    const found = services.find((candidate) => candidate.name === name.toLowerCase());
    if (found === undefined)
      throw notFound(
        "service",
        name,
        services.map((candidate) => candidate.name),
      );
    const virtuals = await client.get<readonly VirtualService[]>("/api/virtuals");
    const publications = await client.get<readonly Publication[]>("/api/publications");
    const more = {
      virtuals: virtuals.filter((each) => (each.service ?? each.name) === found.name),
      publications: publications.filter((each) => each.service === found.name),
    };
    show({ ...found, ...more }, () => formatService(found, more, paint));
  });
  examples(one, [["Where it is", "apollo service show nodejs-rest-api"]]);
  addWatchCommand(service, context);
  addRegisteredCommands(service, context);
  addOutsideCommands(service, context);
}

/** The table of `apollo service list`. */
export function formatServices(services: readonly ServiceJson[], paint: Paint): string {
  if (services.length === 0) return "No services yet.\n";
  return formatTable<ServiceJson>(
    [
      { title: "SERVICE", value: (service) => paint("bold", service.name) },
      { title: "PASSING", value: formatPassing, align: "right" },
      { title: "TAGS", value: (service) => service.tags.join(", ") || "-" },
      { title: "OUTSIDE", value: (service) => service.routes.map((route) => `http://${route}/`).join(", ") || "-" },
    ],
    services,
  );
}

function formatPassing({ endpoints }: ServiceJson): string {
  return `${endpoints.filter((endpoint) => endpoint.health === "passing").length}/${endpoints.length}`;
}

function formatService(
  service: ServiceJson,
  more: { readonly virtuals: readonly VirtualService[]; readonly publications: readonly Publication[] },
  paint: Paint,
): string {
  const fields = formatFields([
    ["Service", paint("bold", service.name)],
    ["Passing", formatPassing(service)],
    ["Tags", service.tags.join(", ")],
    ["Outside", service.routes.map((route) => `http://${route}/`).join(", ")],
    ["Virtual", more.virtuals.map(formatVirtualAddress).join(", ")],
    ["Published", more.publications.map(formatPublished).join(", ")],
  ]);
  const table = formatTable<EndpointJson>(
    [
      { title: "ADDRESS", value: (endpoint) => `${endpoint.address}:${endpoint.port}` },
      { title: "PROTOCOL", value: (endpoint) => endpoint.protocol },
      { title: "HEALTH", value: (endpoint) => paintState(paint, endpoint.health) },
      { title: "HOST", value: (endpoint) => endpoint.host },
      { title: "CONTAINER", value: (endpoint) => endpoint.container || "-" },
      { title: "TAGS", value: (endpoint) => endpoint.tags.join(", ") || "-" },
    ],
    service.endpoints,
  );
  return `${fields}\n${table}`;
}
