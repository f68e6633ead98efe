import { writeFileSync } from "node:fs";
import { z } from "zod";
import v1 from "../../examples/nodejs-rest-api/nodejs-rest-api-v1.json";
import v2 from "../../examples/nodejs-rest-api/nodejs-rest-api-v2.json";
import { cidrContains, parseCidr } from "../model/ip.ts";
import type { Ipv4 } from "../model/ip.ts";
import { WEB_IMAGE, appImage } from "./images.ts";
import { labPaths } from "./lab-paths.ts";
import { pulledImages } from "./tour-hosts.ts";
import { timed } from "./tour-report.ts";
import type { TourReport } from "./tour-report.ts";
import { APP_V1, demand } from "./tour-world.ts";
import type { TourWorld } from "./tour-world.ts";

const MARATHON_APP = "tour/marathon";
const blocksShape = z.array(z.object({ name: z.string(), blocks: z.array(z.string()) }));

/** Writes a definition where the CLI can read it, and has the CLI deploy it. */
export async function createApp(world: TourWorld, definition: { readonly id: string }): Promise<void> {
  const path = `${labPaths(world.lab.name).dir}/${definition.id}.json`;
  writeFileSync(path, JSON.stringify(definition, null, 2));
  await world.client.cli(["app", "create", path]);
}

export const EXAMPLE_V1 = v1;
export const EXAMPLE_V2 = v2;

/** Step 3: a definition of 2015 is deployed as it is, by the CLI and by Marathon's own API. */
export async function tourDeploy(world: TourWorld, report: TourReport): Promise<void> {
  report.title("3 · Deploy");
  await report.require("app-create", async () => {
    const { value, ms } = await timed(async () => {
      await createApp(world, EXAMPLE_V1);
      return world.settled(APP_V1, EXAMPLE_V1.instances);
    });
    const hosts = await world.client.get(blocksShape, "/api/hosts");
    for (const { host, address } of value) {
      const blocks = hosts.find((each) => each.name === host)?.blocks ?? [];
      const inside = blocks.some((block) => cidrContains(parseCidr(block), address as Ipv4));
      demand(inside, () => `${address} is not out of ${host}'s ${blocks.join(" ")}`);
      const pulled = await pulledImages(world, host);
      demand(pulled.includes(appImage("1.0.0")), () => `${host} has not pulled the image from the registry`);
    }
    const on = new Set(value.map((instance) => instance.host));
    demand(on.size === 2, () => `both instances are on ${[...on].join(" ")}`);
    return `${value.map(({ host, address }) => `${address} on ${host}`).join(", ")}, healthy in ${ms} ms`;
  });
  await report.check("bad-input", async () => {
    const { id: _id, ...anonymous } = EXAMPLE_V1;
    const bad = { ...anonymous, id: "tour/bad", instances: -1 };
    const { status } = await world.client.request("POST", "/v2/apps", { body: bad, login: "basic" });
    demand(status === 422, () => `an app with -1 instances is answered with ${status}`);
    const { code, said } = await world.client.cliFailure(["app", "show", "tour/none"]);
    demand(code === 3 && said.includes("tour/none"), () => `an unknown app: exit code ${code}, "${said}"`);
    return `422 for -1 instances; exit code 3 for an unknown app`;
  });
  await tourMarathon(world, report);
}

const marathonApp = z.object({
  id: z.string(),
  instances: z.number(),
  version: z.string(),
  tasksRunning: z.number(),
  tasksHealthy: z.number(),
});

/** What marathonctl's `app` commands do, with the login that Marathon's clients have. */
async function tourMarathon(world: TourWorld, report: TourReport): Promise<void> {
  const { client } = world;
  const call = (method: string, path: string, body?: unknown): ReturnType<typeof client.request> =>
    client.request(method, path, { login: "basic", ...(body === undefined ? {} : { body }) });
  const show = async (): Promise<z.infer<typeof marathonApp>> => {
    const { status, body } = await call("GET", `/v2/apps//${MARATHON_APP}`);
    demand(status === 200, () => `GET answers ${status}`);
    return z.object({ app: marathonApp }).parse(body).app;
  };
  const running = (count: number): Promise<true> =>
    world.wait(`${count} tasks of ${MARATHON_APP}`, 60_000, async () => {
      const { tasksRunning, instances } = await show();
      const { body } = await call("GET", "/v2/deployments");
      const busy = JSON.stringify(body).includes(`/${MARATHON_APP}"`);
      return tasksRunning === count && instances === count && !busy;
    });
  await report.check("marathon-create", async () => {
    const definition = {
      id: `/${MARATHON_APP}`,
      instances: 1,
      cpus: 0.1,
      mem: 32,
      container: {
        type: "DOCKER",
        docker: { image: WEB_IMAGE, network: "BRIDGE", portMappings: [{ containerPort: 80, hostPort: 0 }] },
      },
    };
    const created = await call("POST", "/v2/apps", definition);
    demand(created.status === 201, () => `POST answers ${created.status}: ${JSON.stringify(created.body)}`);
    const again = await call("POST", "/v2/apps", definition);
    demand(again.status === 409, () => `a second POST answers ${again.status}`);
    const { ms } = await timed(() => running(1));
    const { body } = await call("GET", "/v2/apps");
    const ids = z
      .object({ apps: z.array(z.object({ id: z.string() })) })
      .parse(body)
      .apps.map((app) => app.id);
    demand(ids.includes(`/${MARATHON_APP}`) && ids.includes(`/${APP_V1}`), () => `GET /v2/apps lists ${ids.join(" ")}`);
    return `201, then 409; running in ${ms} ms; ${ids.length} apps listed`;
  });
  await report.check("marathon-change", async () => {
    const scaled = await call("PUT", `/v2/apps/%2F${encodeURIComponent(MARATHON_APP)}`, { instances: 2 });
    demand(scaled.status === 200, () => `scaling answers ${scaled.status}: ${JSON.stringify(scaled.body)}`);
    await running(2);
    const updated = await call("PUT", `/v2/apps/${MARATHON_APP}`, { env: { TOUR: "2" } });
    demand(updated.status === 200, () => `an update answers ${updated.status}: ${JSON.stringify(updated.body)}`);
    await running(2);
    const { body } = await call("GET", `/v2/apps/${MARATHON_APP}/versions`);
    const { versions } = z.object({ versions: z.array(z.string()) }).parse(body);
    demand(versions.length === 3 && versions[0] === (await show()).version, () => `versions are ${versions.join(" ")}`);
    return `scaled to 2, updated, ${versions.length} versions`;
  });
  await report.check("marathon-delete", async () => {
    const deleted = await call("DELETE", `/v2/apps/${MARATHON_APP}`);
    demand(deleted.status === 200, () => `DELETE answers ${deleted.status}`);
    const { ms } = await timed(() =>
      world.wait(`${MARATHON_APP} to be gone`, 60_000, async () => {
        const { status } = await call("GET", `/v2/apps/${MARATHON_APP}`);
        return status === 404 && (await world.instances(MARATHON_APP)).length === 0;
      }),
    );
    return `gone in ${ms} ms, then 404`;
  });
}
