import { beforeAll, expect, test } from "bun:test";
import { z } from "zod";
import { parseAdminConfig, startAgent, writeAdminConfig } from "../../src/lab/apollo-daemons.ts";
import { addressesOf } from "../../src/lab/dig.ts";
import { startForward } from "../../src/lab/forward.ts";
import { publishWebImage } from "../../src/lab/images.ts";
import { endDaemonOf, startHost, stopHost } from "../../src/lab/lab-control.ts";
import { processOf } from "../../src/lab/lab-state.ts";
import { upLab } from "../../src/lab/lab.ts";
import { readInNode, startDaemon, writeInNode } from "../../src/lab/node-command.ts";
import { ownBinary } from "../../src/lab/own-binary.ts";
import { listInNamespace } from "../../src/lab/process-table.ts";
import type { TourWorld } from "../../src/lab/tour-world.ts";
import { waitFor } from "../../src/lab/wait-for.ts";
import {
  allRuns,
  deploy,
  eventually,
  hostPhase,
  ingressStatuses,
  keptByEngine,
  runsOn,
  webApp,
  worldOf,
} from "./cluster.fixture.ts";
import type { Run } from "./cluster.fixture.ts";
import { testLab } from "./test-lab.fixture.ts";

const name = testLab("up");
const HOST = "h1";
/** Blocks of eight: five containers to a host, so that a full block is soon there. */
const UP = ["apollo", "up", "--block-prefix", "29"];
const ADMIN_FILE = "/var/lib/apollo/admin.json";
let world: TourWorld;

beforeAll(async () => {
  const binary = ownBinary();
  const lab = await upLab({ name, hosts: 2, parts: "engines", binary });
  await publishWebImage(name, HOST);
  await startDaemon(name, HOST, { log: "apollo", argv: UP });
  const admin = await waitFor(async () => parseAdminConfig(readInNode(name, HOST, ADMIN_FILE) ?? ""), {
    what: "the admin file of apollo up",
    timeoutMs: 30_000,
  });
  const [gate, fabric] = [processOf(name, "gate"), processOf(name, "fabric")];
  const { localPort } = await startForward(name, { gate, fabric }, { node: lab.node(HOST), port: 8443 });
  writeAdminConfig(name, admin, localPort);
  world = worldOf(lab);
  await up(HOST);
});

function up(host: string): Promise<true> {
  return eventually(`${host} to be up`, async () => (await hostPhase(world, host)) === "up");
}

/** What a restart must not change. */
async function durableState(): Promise<{ readonly runs: readonly Run[] } & Readonly<Record<string, unknown>>> {
  const { client } = world;
  const versions = z.object({ versions: z.array(z.string()) });
  const hosts = z.array(z.object({ id: z.string(), name: z.string(), blocks: z.array(z.string()) }));
  const instances = z.array(z.object({ id: z.string(), address: z.string().nullable() }));
  return {
    hosts: await client.get(hosts, "/api/hosts"),
    instances: await client.get(instances, "/api/instances"),
    first: (await client.get(versions, "/v2/apps/first/versions")).versions,
    second: (await client.get(versions, "/v2/apps/second/versions")).versions,
    token: await client.get(z.object({ token: z.string() }), "/api/join-token"),
    runs: await runsOn(world.lab, HOST),
  };
}

async function namesWork(): Promise<void> {
  for (const app of ["first", "second"]) {
    const instances = await world.settled(app, 1);
    await eventually(`${app} in DNS of ${HOST}`, async () => {
      const found = addressesOf(await world.dig(HOST, `${app}.service.consul`, "A"));
      return found.join(" ") === instances.map((each) => each.address).join(" ");
    });
    await eventually(`${app} behind HAProxy of ${HOST}`, async () =>
      (await ingressStatuses(world, HOST, `${app}.example.com`)).every((status) => status === 200),
    );
  }
}

test("apollo up is a whole cluster: apps by the CLI on the host and by Marathon's API, DNS and ingress", async () => {
  const { lab } = world;
  const programs = listInNamespace(processOf(name, HOST)).filter(({ argv }) => argv[0] === "apollo");
  expect(programs.map(({ argv }) => argv[1])).toEqual(["up"]);
  writeInNode(name, HOST, "/tmp/first.json", JSON.stringify(webApp("first")));
  // Root on the host needs to be told nothing: server, token and CA are in the data directory.
  await lab.mustExec(HOST, ["apollo", "app", "create", "/tmp/first.json"], { timeoutMs: 60_000 });
  await deploy(world, webApp("second"));
  await namesWork();
  expect(await lab.mustExec(HOST, ["apollo", "ps"])).toContain("first");
  const { status } = await world.client.request("PUT", "/v2/apps/second", {
    body: { env: { SERVICE_NAME: "second", A: "1" } },
  });
  expect(status).toBe(200);
  await eventually("the update to be done", async () => {
    return (await world.client.get(z.array(z.unknown()), "/api/deployments")).length === 0;
  });
  await namesWork();
});

for (const signal of ["SIGTERM", "SIGKILL"] as const) {
  test(`apollo up that ended by ${signal} and starts again has lost nothing and restarts no container`, async () => {
    const { lab } = world;
    const before = await durableState();
    expect(await endDaemonOf(name, HOST, "apollo", signal)).toBeGreaterThan(0);
    const curl = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "5", "-H", "Host: first.example.com"];
    expect(await lab.mustExec(HOST, [...curl, `http://${lab.node(HOST).address}/`])).toBe("200");
    await startDaemon(name, HOST, { log: "apollo", argv: UP });
    await eventually("an answer", async () => (await world.client.request("GET", "/api/info")).status === 200);
    await up(HOST);
    await namesWork();
    expect(await durableState()).toEqual(before);
  });
}

test("apollo up comes back from a power cut with every app, instance and address", async () => {
  await keptByEngine(world.lab, HOST);
  const before = await durableState();
  await stopHost(name, HOST);
  await startHost(name, HOST);
  await startDaemon(name, HOST, { log: "apollo", argv: UP });
  await eventually("an answer", async () => (await world.client.request("GET", "/api/info")).status === 200);
  await up(HOST);
  await namesWork();
  const { runs: old, ...rest } = before;
  const { runs, ...now } = await durableState();
  expect(now).toEqual(rest);
  const where = (list: readonly Run[]): unknown => list.map(({ instance, address }) => ({ instance, address }));
  expect(where(runs)).toEqual(where(old));
});

test("a join that cannot be says why: another cluster's token, a taken name, no token, a second agent", async () => {
  const { lab } = world;
  const server = `https://${lab.node(HOST).address}:8443`;
  const token = (await lab.mustExec(HOST, ["apollo", "host", "token"])).trim();
  const join = async (argv: readonly string[]): Promise<readonly [number, string]> => {
    const { code, stderr } = await lab.exec("h2", ["apollo", "agent", "--data-dir", "/var/lib/apollo", ...argv]);
    return [code, stderr];
  };
  const [version = "", fingerprint = "", secret = ""] = token.split(".");
  const foreign = [version, "A".repeat(fingerprint.length), secret].join(".");
  expect(await join(["--server", server, "--token", foreign])).toEqual([6, expect.stringContaining("not the one")]);
  const stale = [version, fingerprint, "A".repeat(secret.length)].join(".");
  expect((await join(["--server", server, "--token", stale]))[0]).toBe(6);
  expect(await join(["--server", server, "--token", token, "--name", HOST])).toEqual([
    4,
    expect.stringContaining("another host has that name"),
  ]);
  expect(await join([])).toEqual([2, expect.stringContaining("has not joined")]);
  const second = await lab.exec(HOST, ["apollo", "agent"]);
  expect([second.code, second.stderr]).toEqual([4, expect.stringContaining("one runs on this machine")]);
  const port = await lab.exec(HOST, ["apollo", "server", "--data-dir", "/tmp/other"]);
  expect([port.code, port.stderr]).toEqual([4, expect.stringContaining("8443")]);
});

test("a second host joins apollo up with its token, and is used", async () => {
  const { lab } = world;
  const token = (await lab.mustExec(HOST, ["apollo", "host", "token"])).trim();
  await startAgent(name, lab.node("h2"), { address: lab.node(HOST).address, token });
  await up("h2");
  const [there] = await deploy(world, webApp("third", { constraints: [["hostname", "CLUSTER", "h2"]] }));
  if (there === undefined) throw new Error("One instance is there");
  await world.dnsFollows("third.service.consul", [there.address]);
  expect(await lab.mustExec(HOST, ["curl", "-s", "-m", "5", `http://${there.address}/`])).toBe("ok\n");
  await eventually(`third behind HAProxy of ${HOST}`, async () =>
    (await ingressStatuses(world, HOST, "third.example.com")).every((status) => status === 200),
  );
});

test("hosts whose blocks are full get further ones: all instances run, each at an address of its own", async () => {
  const { client, lab } = world;
  const body = { ...webApp("many", { instances: 9, cpus: 0.01, healthChecks: [] }) };
  expect((await client.request("POST", "/v2/apps", { body })).status).toBe(201);
  const shape = z.object({ running: z.number() });
  // The first blocks of the two hosts have room for ten containers, three of them taken.
  await eventually("nine to run", async () => (await client.cliJson(shape, ["why", "many"])).running === 9, 60_000);
  const addresses = (await allRuns(lab)).map((run) => run.address);
  expect(new Set(addresses).size).toBe(addresses.length);
  expect(addresses.length).toBe(12);
});

test("apollo up that is taken off its machine without its server's knowledge can be put on again", async () => {
  const { lab } = world;
  expect((await world.client.request("DELETE", "/v2/apps/many?force=true")).status).toBe(200);
  await eventually("many to be gone", async () => (await world.instances("many")).length === 0);
  expect(await endDaemonOf(name, HOST, "apollo", "SIGTERM")).toBeGreaterThan(0);
  const leave = ["apollo", "agent", "leave", "--containers", "--data-dir", "/var/lib/apollo"];
  const said = await lab.mustExec(HOST, leave, { timeoutMs: 60_000 });
  expect(said).toMatch(/Warning: .*apollo host remove h1/);
  expect(await lab.mustExec(HOST, ["ip", "-o", "link"])).not.toContain("apollo");
  expect(await lab.mustExec(HOST, ["docker", "ps", "--all", "--quiet"])).toBe("");
  expect(readInNode(name, HOST, "/etc/resolv.conf")).toBe(`nameserver ${lab.node(HOST).gateway}\n`);
  await startDaemon(name, HOST, { log: "apollo", argv: UP });
  await up(HOST);
  await namesWork();
});
