import { beforeAll, expect, test } from "bun:test";
import { z } from "zod";
import { addressesOf } from "../../src/lab/dig.ts";
import { WEB_IMAGE } from "../../src/lab/images.ts";
import { endDaemonOf, startDaemonOf, startHost, stopHost } from "../../src/lab/lab-control.ts";
import { readInNode } from "../../src/lab/node-command.ts";
import { timed } from "../../src/lab/tour-report.ts";
import type { TourWorld } from "../../src/lab/tour-world.ts";
import { clusterUp, eventually, hostsShape } from "./cluster.fixture.ts";
import { testLab } from "./test-lab.fixture.ts";

const name = testLab("att");
const DATA = "/var/lib/apollo";
const RANGE = "10.2.0.0/16";
/** Docker tries a plugin that is not there again for half a minute, and gives up before the next pause would be over. */
const ENGINE_BOUND_MS = 60_000;
let world: TourWorld;

const heldShape = z.object({ owners: z.record(z.string(), z.string()) });

function run(host: string, container: string, extra: readonly string[] = []): Promise<string> {
  const argv = ["docker", "run", "--detach", "--name", container, ...extra, "--env", "SERVICE_IGNORE=1", WEB_IMAGE];
  return world.lab.mustExec(host, argv, { timeoutMs: 60_000 });
}

async function net(host: string, ...argv: readonly string[]): Promise<string> {
  return (await world.lab.mustExec(host, ["apollo", "net", ...argv])).trim();
}

async function serves(from: string, address: string): Promise<boolean> {
  return (await world.lab.exec(from, ["curl", "-s", "-m", "5", `http://${address}/`])).stdout === "ok\n";
}

async function addressOf(host: string, container: string): Promise<string> {
  const format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
  return (await world.lab.mustExec(host, ["docker", "inspect", "--format", format, container])).trim();
}

/** "10.2.1." of block 10.2.1.0/24. */
async function start(host: string): Promise<string> {
  const hosts = await world.client.get(hostsShape, "/api/hosts");
  return hosts.find((each) => each.name === host)?.blocks[0]?.replace(/0\/24$/, "") ?? "none";
}

async function resolves(host: string, dnsName: string): Promise<readonly string[]> {
  return addressesOf(await world.dig(host, dnsName, "A"));
}

function held(host: string): Readonly<Record<string, string>> {
  const text = readInNode(name, host, `${DATA}/addresses.json`);
  return text === null ? {} : heldShape.parse(JSON.parse(text)).owners;
}

async function wires(host: string): Promise<readonly string[]> {
  const text = await world.lab.mustExec(host, ["ip", "-o", "link", "show", "type", "veth"]);
  return text.split("\n").filter((line) => /veth(at|ep|px)/.test(line));
}

beforeAll(async () => {
  world = await clusterUp(name, 2);
});

test("a container of another network is attached, and stays so over its restart and the agent's death", async () => {
  const { lab } = world;
  await run("h1", "db", ["--restart", "always"]);
  const address = await net("h1", "attach", "db");
  expect(address).toStartWith(await start("h1"));
  expect(await net("h1", "attach", "db")).toBe(address);
  await eventually("h2 to reach it", () => serves("h2", address));
  await eventually("its name on h2", async () => (await resolves("h2", "db.weave.local")).join(" ") === address);
  const routes = await lab.mustExec("h1", ["docker", "exec", "db", "busybox", "ip", "route"]);
  expect(routes).toContain("224.0.0.0/4 dev apollo");
  expect(routes.split("\n").filter((line) => line.startsWith("default"))).toHaveLength(1);

  await lab.mustExec("h1", ["docker", "restart", "--time", "1", "db"]);
  const { ms } = await timed(() => eventually("it after its restart", () => serves("h2", address)));
  console.log(`attached again ${ms} ms after docker restart returned`);

  await endDaemonOf(name, "h1", "apollo", "SIGKILL");
  expect(await serves("h2", address)).toBe(true);
  const away = await lab.exec("h1", ["apollo", "net", "attachments"]);
  expect([away.code, away.stderr]).toEqual([5, expect.stringContaining("Start it")]);
  await lab.mustExec("h1", ["docker", "restart", "--time", "1", "db"]);
  await startDaemonOf(name, "h1");
  await eventually("it after both came back", () => serves("h2", address));
  expect(await net("h1", "attachments")).toContain(address);

  const exposed = await net("h1", "expose", "--name", "legacy");
  expect(await net("h1", "expose", "--name", "legacy")).toBe(exposed);
  await eventually("the exposed name", async () => (await resolves("h2", "legacy.weave.local")).join(" ") === exposed);
  const pings = async (): Promise<boolean> =>
    (await lab.exec("h2", ["ping", "-c", "1", "-W", "1", exposed])).code === 0;
  expect(await pings()).toBe(true);

  await stopHost(name, "h1");
  expect(await pings()).toBe(false);
  await startHost(name, "h1");
  await eventually("the exposed address after a power cut", pings);
  await eventually("the attachment after a power cut", () => serves("h2", address));
  await eventually(
    "the agent's socket",
    async () => (await lab.exec("h1", ["apollo", "net", "attachments"])).code === 0,
  );

  expect(await net("h1", "hide", "--name", "legacy")).toBe(exposed);
  expect(await pings()).toBe(false);

  expect(await net("h1", "detach", "db")).toBe(address);
  expect(await serves("h2", address)).toBe(false);
  await eventually("the name to be gone", async () => (await resolves("h2", "db.weave.local")).length === 0);
  expect(await wires("h1")).toEqual([]);
  expect(held("h1")).toEqual({});
  await lab.mustExec("h1", ["docker", "rm", "--force", "db"]);
});

test("networks of Docker's driver apollo reach each other over hosts, by name and with a fixed address", async () => {
  const { lab } = world;
  const create = ["docker", "network", "create", "-d", "apollo", "--ipam-driver", "apollo", "--subnet", RANGE, "blue"];
  for (const host of ["h1", "h2"]) await lab.mustExec(host, create);
  await run("h1", "one", ["--net", "blue", "--network-alias", "uno"]);
  await run("h2", "two", ["--net", "blue", "--ip", `${await start("h2")}177`]);
  expect(await addressOf("h2", "two")).toBe(`${await start("h2")}177`);
  const one = await addressOf("h1", "one");
  expect(one).toStartWith(await start("h1"));
  await eventually("h2 to reach one", () => serves("h2", one));
  const ping = (target: string): Promise<{ readonly code: number }> =>
    lab.exec("h1", ["docker", "exec", "one", "busybox", "ping", "-c", "1", "-W", "2", target]);
  await eventually("one to find two", async () => (await ping("two.weave.local")).code === 0);
  await eventually("h2 to know the alias", async () => (await resolves("h2", "uno.weave.local")).join(" ") === one);

  const wrong = await lab.exec("h1", [
    "docker",
    "run",
    "--rm",
    "--net",
    "blue",
    "--ip",
    `${await start("h2")}9`,
    WEB_IMAGE,
  ]);
  expect([wrong.code, wrong.stderr]).toEqual([
    125,
    expect.stringContaining(`Choose one of ${await start("h1")}128/25`),
  ]);
  const bare = await lab.exec("h1", [...create.slice(0, -3), "red"]);
  expect([bare.code, bare.stderr]).toEqual([1, expect.stringContaining(`--subnet ${RANGE}`)]);
  const other = [...create.slice(0, -1), "-o", "apollo.network=nope", "red"];
  const unknown = await lab.exec("h1", other);
  expect([unknown.code, unknown.stderr]).toEqual([1, expect.stringContaining("this host has no such network")]);

  await endDaemonOf(name, "h1", "apollo", "SIGKILL");
  expect(await serves("h2", one)).toBe(true);
  const { value: failed, ms } = await timed(() =>
    lab.exec("h1", ["docker", "run", "--detach", "--name", "late", "--net", "blue", WEB_IMAGE], {
      timeoutMs: ENGINE_BOUND_MS,
    }),
  );
  console.log(`docker run without the agent fails after ${ms} ms: ${failed.stderr.trim()}`);
  expect(failed.code).not.toBe(0);
  // Nothing else of the engine's waits for it.
  const { ms: plainMs } = await timed(() => run("h1", "plain"));
  console.log(`docker run on another network without the agent: ${plainMs} ms`);
  // Docker tries a call that found nobody again, after 1, 2, 4 and 8 s.
  const starting = lab.mustExec("h1", ["docker", "start", "late"], { timeoutMs: ENGINE_BOUND_MS });
  await startDaemonOf(name, "h1");
  const { ms: backMs } = await timed(() => starting);
  console.log(`docker start under a returning agent: ${backMs} ms`);
  await eventually("late to serve", async () => serves("h2", await addressOf("h1", "late")));

  for (const host of ["h1", "h2"]) {
    const ids = (await lab.mustExec(host, ["docker", "ps", "--all", "--quiet"])).trim().split("\n");
    await lab.mustExec(host, ["docker", "rm", "--force", ...ids]);
    await lab.mustExec(host, ["docker", "network", "rm", "blue"]);
    expect(await wires(host)).toEqual([]);
    expect(held(host)).toEqual({});
  }
});
