import type { Command } from "commander";
import type { EndpointJson, ServiceJson } from "../../api/native/shapes.ts";
import { type CliContext, clientOptions, examples, openSession } from "../cli-context.ts";
import { notFound } from "../find-named.ts";
import { formatFields, formatTable } from "../format-table.ts";
import { type Paint, paintState } from "../style.ts";

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
    show(found, () => formatService(found, paint));
  });
  examples(one, [["Where it is", "apollo service show nodejs-rest-api"]]);
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

function formatService(service: ServiceJson, paint: Paint): string {
  const fields = formatFields([
    ["Service", paint("bold", service.name)],
    ["Passing", formatPassing(service)],
    ["Tags", service.tags.join(", ")],
    ["Outside", service.routes.map((route) => `http://${route}/`).join(", ")],
  ]);
  const table = formatTable<EndpointJson>(
    [
      { title: "ADDRESS", value: (endpoint) => `${endpoint.address}:${endpoint.port}` },
      { title: "PROTOCOL", value: (endpoint) => endpoint.protocol },
      { title: "HEALTH", value: (endpoint) => paintState(paint, endpoint.health) },
      { title: "HOST", value: (endpoint) => endpoint.host },
      { title: "CONTAINER", value: (endpoint) => endpoint.container },
      { title: "TAGS", value: (endpoint) => endpoint.tags.join(", ") || "-" },
    ],
    service.endpoints,
  );
  return `${fields}\n${table}`;
}
