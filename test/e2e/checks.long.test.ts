/** Checks of containers on real engines: registrator's variables, an image's HEALTHCHECK, an app's checks, and one by the API. */
import { beforeAll, expect, test } from "bun:test";
import { z } from "zod";
import { addressesOf } from "../../src/lab/dig.ts";
import { WEB_IMAGE } from "../../src/lab/images.ts";
import type { TourWorld } from "../../src/lab/tour-world.ts";
import { clusterUp, deploy, eventually, webApp } from "./cluster.fixture.ts";
import { testLab } from "./test-lab.fixture.ts";

const name = testLab("chk");
let world: TourWorld;

beforeAll(async () => {
  world = await clusterUp(name, 1);
});

const checksShape = z.array(
  z.object({ CheckID: z.string(), Type: z.string(), Status: z.string(), Output: z.string() }),
);

function checksOf(service: string): Promise<z.infer<typeof checksShape>> {
  return world.client.get(checksShape, `/v1/health/checks/${service}`);
}

async function run(container: string, ...flags: readonly string[]): Promise<void> {
  const argv = ["docker", "run", "--detach", "--name", container, "--network", "apollo", ...flags, WEB_IMAGE];
  await world.lab.mustExec("h1", argv);
}

/** The image has little more than a shell. */
function say(container: string, state: string): readonly string[] {
  return ["docker", "exec", container, "sh", "-c", `echo ${state} > /state`];
}

async function becomes(service: string, status: string): Promise<void> {
  await eventually(`${service} to be ${status}`, async () => {
    const checks = await checksOf(service);
    return checks.length > 0 && checks.every((check) => check.Status === status);
  });
  const inDns = status === "passing";
  await eventually(`${service} ${inDns ? "in" : "out of"} DNS`, async () => {
    const found = addressesOf(await world.dig("h1", `${service}.service.consul`, "A"));
    return found.length > 0 === inDns;
  });
}

test("a container's own script decides whether it is found", async () => {
  const script = 'read state < /state && test "$state" = well && echo fine || exit 2';
  await run(
    "scripted",
    "-e",
    "SERVICE_NAME=scripted",
    "-e",
    `SERVICE_CHECK_SCRIPT=${script}`,
    "-e",
    "SERVICE_CHECK_INTERVAL=1s",
  );
  await becomes("scripted", "critical");
  await world.lab.mustExec("h1", say("scripted", "well"));
  await becomes("scripted", "passing");
  expect(await checksOf("scripted")).toMatchObject([{ Type: "docker", Output: "fine\n" }]);
  await world.lab.mustExec("h1", say("scripted", "ill"));
  await becomes("scripted", "critical");
});

test("HTTP checks of containers, HEALTHCHECK and an app's checks feed the same state", async () => {
  await run("asked", "-e", "SERVICE_NAME=asked", "-e", "SERVICE_CHECK_HTTP=/", "-e", "SERVICE_CHECK_INTERVAL=1s");
  await becomes("asked", "passing");
  expect(await checksOf("asked")).toMatchObject([{ Type: "http" }]);
  await run(
    "engine",
    "-e",
    "SERVICE_NAME=engine",
    "--health-cmd",
    'read state < /state && test "$state" = well',
    "--health-interval",
    "1s",
    "--health-retries",
    "1",
  );
  await becomes("engine", "critical");
  await world.lab.mustExec("h1", say("engine", "well"));
  await becomes("engine", "passing");
  await deploy(world, webApp("site"));
  await becomes("site", "passing");
  expect(await checksOf("site")).toMatchObject([{ Type: "http", Output: "Healthy" }]);
});
