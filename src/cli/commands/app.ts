import type { Command } from "commander";
import type { AppJson, InstanceJson, ServiceJson, VersionJson, WhyJson } from "../../api/native/shapes.ts";
import { type CliContext, clientOptions, examples, openSession } from "../cli-context.ts";
import { appPath } from "../client.ts";
import { getApp, shownApp, withApp } from "../find-named.ts";
import { formatFields, formatTable } from "../format-table.ts";
import { formatAgo } from "../format-time.ts";
import { type Paint, paintState } from "../style.ts";
import { addAppChangeCommands } from "./app-change.ts";
import { addAppCreateCommands } from "./app-create.ts";
import { addAppExportCommand } from "./app-export.ts";
import { formatInstances } from "./ps.ts";

export function addAppCommands(program: Command, context: CliContext): void {
  const app = program.command("app").description("declare, scale, change and destroy apps");
  addList(app, context);
  addShow(app, context);
  addAppCreateCommands(app, context);
  addAppChangeCommands(app, context);
  addVersions(app, context);
  addAppExportCommand(app, context);
}

function addList(app: Command, context: CliContext): void {
  const command = clientOptions(app.command("list").alias("ls").description("list apps")).action(async () => {
    const { client, paint, show } = openSession(context, command);
    const apps = await client.get<readonly AppJson[]>("/api/apps");
    show(apps, () => formatApps(apps, paint));
  });
  examples(command, [
    ["All apps", "apollo app list"],
    ["Names only", "apollo app list --json | jq -r '.[].id'"],
  ]);
}

/** The table of `apollo app list`. */
export function formatApps(apps: readonly AppJson[], paint: Paint): string {
  if (apps.length === 0) return 'No apps yet. Create one with "apollo app create FILE".\n';
  return formatTable<AppJson>(
    [
      { title: "APP", value: (app) => paint("bold", shownApp(app.id)) },
      { title: "STATUS", value: (app) => paintState(paint, app.status) },
      { title: "HEALTHY", value: formatHealthy, align: "right" },
      { title: "CPUS", value: (app) => String(app.cpus), align: "right" },
      { title: "MEMORY", value: (app) => `${app.memoryMiB} MiB`, align: "right" },
      { title: "SERVICE", value: (app) => app.service ?? "-" },
      { title: "IMAGE", value: (app) => app.image },
      { title: "", value: (app) => (app.problem === null ? "" : paint("yellow", app.problem)) },
    ],
    apps,
  );
}

/** "3/4": running and not unhealthy, of those wanted. An app without checks has no healthy ones, only running ones. */
function formatHealthy(app: AppJson): string {
  const good = app.healthy + app.unhealthy > 0 ? app.healthy : app.running;
  return `${good}/${app.instances}`;
}

function addShow(app: Command, context: CliContext): void {
  const command = clientOptions(
    app.command("show").argument("<app>").description("show an app, its instances and endpoints"),
  );
  command.action(async (id: string) => {
    const { client, paint, nowMs, show } = openSession(context, command);
    const found = await getApp(client, id);
    const [instances, services, why] = await Promise.all([
      client.get<readonly InstanceJson[]>(`/api/instances?app=${encodeURIComponent(found.id)}`),
      client.get<readonly ServiceJson[]>("/api/services"),
      client.find<WhyJson>(appPath(found.id, "/why")),
    ]);
    const service = services.find((one) => one.name === found.service) ?? null;
    show({ ...found, instanceList: instances, why, routes: service?.routes ?? [] }, () =>
      formatApp({ app: found, instances, service, why }, paint, nowMs),
    );
  });
  examples(command, [["What an app is and how it does", "apollo app show nodejs-rest-api"]]);
}

interface AppParts {
  readonly app: AppJson;
  readonly instances: readonly InstanceJson[];
  readonly service: ServiceJson | null;
  readonly why: WhyJson | null;
}

function formatApp({ app, instances, service, why }: AppParts, paint: Paint, nowMs: number): string {
  const labels = Object.entries(app.labels).map(([key, value]) => `${key}=${value}`);
  const fields = formatFields([
    ["App", paint("bold", shownApp(app.id))],
    ["Status", paintState(paint, app.status)],
    ["Image", app.image],
    ["Healthy", formatHealthy(app)],
    ["Resources", `${app.cpus} cpus, ${app.memoryMiB} MiB each`],
    ["Service", app.service ?? ""],
    ["Outside", (service?.routes ?? []).map((route) => `http://${route}/`).join(", ")],
    ["Labels", labels.join(", ")],
    ["Version", `${app.version} (${formatAgo(Date.parse(app.version), nowMs)})`],
    ["Deployment", app.deployments.join(", ")],
    ["State", why?.summary ?? app.problem ?? ""],
  ]);
  return `${fields}\n${formatInstances(instances, paint, nowMs)}`;
}

function addVersions(app: Command, context: CliContext): void {
  const command = clientOptions(
    app.command("versions").argument("<app>").description("list the definitions an app had, newest first"),
  );
  command.action(async (id: string) => {
    const { client, paint, nowMs, show } = openSession(context, command);
    const versions = await withApp(client, id, (found) =>
      client.get<readonly VersionJson[]>(appPath(found, "/versions")),
    );
    show(versions, () =>
      formatTable<VersionJson>(
        [
          { title: "VERSION", value: (one) => one.version },
          { title: "AGE", value: (one) => formatAgo(Date.parse(one.version), nowMs) },
          { title: "INSTANCES", value: (one) => String(one.instances), align: "right" },
          { title: "IMAGE", value: (one) => one.image },
          { title: "", value: (one) => (one.current ? paint("green", "current") : "") },
        ],
        versions,
      ),
    );
  });
  examples(command, [["What it was before", "apollo app versions nodejs-rest-api"]]);
}
