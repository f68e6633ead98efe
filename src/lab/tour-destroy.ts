import { z } from "zod";
import { timed } from "./tour-report.ts";
import type { TourReport } from "./tour-report.ts";
import { APP_V2, NETWORK, PROBE, SERVICE, demand } from "./tour-world.ts";
import type { TourWorld } from "./tour-world.ts";

const GONE_TIMEOUT_MS = 60_000;

/** Step 10: destroying an app leaves nothing of it anywhere. */
export async function tourDestroy(world: TourWorld, report: TourReport): Promise<void> {
  const { lab, client } = world;
  report.title("10 · Destroy");
  await report.check("app-destroy", async () => {
    const { ms } = await timed(async () => {
      await client.cli(["app", "destroy", APP_V2]);
      await world.wait(
        `${APP_V2} to be gone`,
        GONE_TIMEOUT_MS,
        async () => (await world.instances(APP_V2)).length === 0,
      );
    });
    return `in ${ms} ms`;
  });
  await report.check("nothing-in-docker", async () => {
    const argv = ["docker", "ps", "--all", "--quiet", "--filter", "label=apollo.instance"];
    await world.onEveryHost((host) =>
      world.wait(
        `${host} to have no instance's container`,
        GONE_TIMEOUT_MS,
        async () => (await lab.mustExec(host, argv)) === "",
      ),
    );
    return "no container of an instance, running or not";
  });
  await report.check("nothing-in-catalog", async () => {
    const named = z.array(z.object({ name: z.string() }));
    const services = (await client.get(named, "/api/services")).map((service) => service.name);
    demand(!services.includes(SERVICE), () => `services are ${services.join(" ")}`);
    const apps = await client.get(z.array(z.object({ id: z.string() })), "/api/apps");
    demand(apps.length === 0, () => `apps are ${apps.map((app) => app.id).join(" ")}`);
    const deployments = await client.get(z.array(z.unknown()), "/api/deployments");
    demand(deployments.length === 0, () => `${deployments.length} deployments are under way`);
    return "no service, no app, no deployment";
  });
  await report.check("nothing-in-dns", async () => {
    await world.onEveryHost((host) =>
      world.wait(`${SERVICE} to be unknown on ${host}`, 10_000, async () => {
        return (await world.dig(host, `${SERVICE}.service.consul`, "A")).status === "NXDOMAIN";
      }),
    );
    return "NXDOMAIN on every host";
  });
  await report.check("nothing-in-haproxy", async () => {
    const statuses = await world.onEveryHost(async (host) => (await world.viaIngress(host)).status);
    demand(
      statuses.every((status) => status === 503 || status === 404),
      () => `answers are ${statuses.join(" ")}`,
    );
    return `${statuses.join(" ")} on every host`;
  });
  await report.check("nothing-holds-addresses", async () => {
    const format = "{{range .Containers}}{{.Name}} {{end}}";
    const held = await world.onEveryHost((host) =>
      lab.mustExec(host, ["docker", "network", "inspect", "--format", format, NETWORK]),
    );
    demand(
      held.every((names) => names.trim() === PROBE),
      () => `addresses are held by ${held.join(" ")}`,
    );
    return "only the tour's own containers hold addresses";
  });
  await world.onEveryHost((host) => lab.mustExec(host, ["docker", "rm", "--force", PROBE]));
}
