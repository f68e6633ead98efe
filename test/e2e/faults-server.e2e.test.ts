// Addresses that run out, and a server that cannot store or does not answer: on a lab with room for a few containers.
import { beforeAll, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { WEB_IMAGE } from "../../src/lab/images.ts";
import { labPaths } from "../../src/lab/lab-paths.ts";
import { processOf } from "../../src/lab/lab-state.ts";
import { listInNamespace, signalProcess } from "../../src/lab/process-table.ts";
import { mustRun } from "../../src/lab/run-command.ts";
import type { TourWorld } from "../../src/lab/tour-world.ts";
import { clusterUp, eventually, hostPhase } from "./cluster.fixture.ts";
import { Probes, conditions } from "./faults.fixture.ts";
import { testLab } from "./test-lab.fixture.ts";

const name = testLab("flts");
/** Four blocks of eight: one for each host, and two more. */
const ARGS = ["--range", "10.2.0.0/27", "--block-prefix", "29"];
let world: TourWorld;
let probes: Probes;

beforeAll(async () => {
  world = await clusterUp(name, 2, ARGS);
  probes = await Probes.everywhere(world);
});

const app = (instances: number) => ({
  id: "many",
  cpus: 0.01,
  mem: 8,
  instances,
  container: { type: "DOCKER", docker: { image: WEB_IMAGE } },
  networks: [{ mode: "container", name: "apollo" }],
});

const running = async (): Promise<number> =>
  (await world.instances("many")).filter(({ phase }) => phase === "running").length;

test("addresses that run out are a condition with a cure; it ends when some are free, and what runs is not touched", async () => {
  const posted = await world.client.request("POST", "/v2/apps", { body: app(60), login: "basic" });
  expect(posted.status).toBe(201);
  const found = async () => (await conditions(world)).find(({ code }) => code === "addresses-exhausted");
  await eventually("the condition", async () => (await found()) !== undefined, 90_000);
  expect((await found())?.hint).not.toBe("");
  expect((await found())?.text).toContain("no address of 10.2.0.0/27 is left");
  await eventually("those that have one to run", async () => (await running()) > 8, 90_000);
  expect(await probes.broken()).toEqual([]);
  const less = await world.client.request("PUT", "/v2/apps/many?force=true", { body: app(2), login: "basic" });
  expect(less.status).toBe(200);
  await eventually("two of them", async () => (await running()) === 2, 90_000);
  await eventually("no condition", async () => (await found()) === undefined, 90_000);
});

test("a store that cannot be written refuses changes and says why, and all that runs goes on", async () => {
  const change = { body: app(3), login: "basic" } as const;
  const disk = labPaths(name).node("s1").apollo;
  const files = readdirSync(disk).filter((file) => file.startsWith("state.db"));
  const protect = (flag: "+i" | "-i") => mustRun(["chattr", flag, ...files.map((file) => `${disk}/${file}`)]);
  await protect("+i");
  try {
    const { status, body } = await world.client.request("PUT", "/v2/apps/many?force=true", change);
    expect([status, JSON.stringify(body)]).toEqual([503, expect.stringContaining("Cannot write store")]);
    expect(await probes.broken()).toEqual([]);
  } finally {
    await protect("-i");
  }
  await eventually("the change to be taken", async () => {
    return (await world.client.request("PUT", "/v2/apps/many?force=true", change)).status === 200;
  });
  await eventually("three of them", async () => (await running()) === 3, 60_000);
});

test("a server that hangs is noticed by nobody but those who ask it, and goes on where it was", async () => {
  const servers = listInNamespace(processOf(name, "s1")).filter(({ argv }) => argv[0]?.split("/").at(-1) === "apollo");
  expect(servers.length).toBeGreaterThan(0);
  for (const server of servers) signalProcess(server, "SIGSTOP");
  try {
    expect(await probes.broken()).toEqual([]);
    // An agent that starts now has its network from what it knew.
    await world.lab.mustExec("h1", ["ip", "link", "delete", "apollo0"]);
    await eventually("h1 to heal by itself", async () => (await probes.broken()).length === 0, 60_000);
    const names = await world.lab.mustExec("h1", ["dig", "+short", "probe.service.consul"]);
    expect(names.trim().split("\n").length).toBe(2);
  } finally {
    for (const server of servers) signalProcess(server, "SIGCONT");
  }
  for (const host of world.lab.hosts) {
    await eventually(`${host} to be up`, async () => (await hostPhase(world, host)) === "up", 60_000);
  }
  await probes.healed("a server that hung");
  expect(await running()).toBe(3);
});
