// Small blocks, many containers, fixed addresses, and hosts that are not who they say they are: on a lab with blocks of 16.
import { beforeAll, expect, test } from "bun:test";
import { WEB_IMAGE } from "../../src/lab/images.ts";
import { endDaemonOf, startDaemonOf } from "../../src/lab/lab-control.ts";
import type { TourWorld } from "../../src/lab/tour-world.ts";
import { cidrContains, parseCidr, parseIpv4 } from "../../src/model/ip.ts";
import { allRuns, clusterUp, eventually, hostPhase, hostsShape, runsOn, webApp } from "./cluster.fixture.ts";
import { testLab } from "./test-lab.fixture.ts";

const name = testLab("addr");
const START_MS_MAX = 100_000;
let world: TourWorld;

beforeAll(async () => {
  world = await clusterUp(name, 2, ["--block-prefix", "28"]);
});

async function blocksOf(host: string): Promise<readonly string[]> {
  const hosts = await world.client.get(hostsShape, "/api/hosts");
  return hosts.find((each) => each.name === host)?.blocks ?? [];
}

async function post(app: object): Promise<void> {
  const { status, body } = await world.client.request("POST", "/v2/apps", { body: app, login: "basic" });
  expect({ status, body }).toMatchObject({ status: 201 });
}

async function running(app: string, count: number) {
  await eventually(
    `${count} of ${app}`,
    async () => (await world.instances(app)).filter(({ phase }) => phase === "running").length === count,
    START_MS_MAX,
  );
  return (await world.instances(app)).filter(({ phase }) => phase === "running");
}

const network = (addresses?: readonly string[]) => ({
  networks: [{ mode: "container", name: "apollo", ...(addresses === undefined ? {} : { addresses }) }],
  container: { type: "DOCKER", docker: { image: WEB_IMAGE } },
});

test("40 containers started at once on hosts with blocks of 16: all addresses differ, and other hosts reach them", async () => {
  await post({ id: "many", cpus: 0.01, mem: 8, instances: 40, ...network() });
  await running("many", 40);
  const runs = (await allRuns(world.lab)).filter(({ instance }) => instance !== "");
  expect(runs.length).toBe(40);
  expect(new Set(runs.map(({ address }) => address)).size).toBe(40);
  for (const host of world.lab.hosts) {
    const blocks = (await blocksOf(host)).map(parseCidr);
    expect(blocks.length).toBeGreaterThan(1);
    for (const { address } of await runsOn(world.lab, host)) {
      expect(blocks.some((block) => cidrContains(block, parseIpv4(address)))).toBe(true);
    }
  }
  const [first = "none", ...further] = await blocksOf("h2");
  const far = (await runsOn(world.lab, "h2")).find(
    ({ address }) => !cidrContains(parseCidr(first), parseIpv4(address)),
  );
  expect(further.length).toBeGreaterThan(0);
  const { code } = await world.lab.exec("h1", ["ping", "-c", "1", "-W", "3", far?.address ?? "none"]);
  expect(code).toBe(0);
});

test("a fixed address stays with its app over a kill and moves to another host", async () => {
  const address = "10.2.0.10";
  const where = (host: string) => ({ constraints: [["hostname", "LIKE", host]] });
  await post({ ...webApp("fixed", { instances: 1, ...where("h1") }), ...network([address]), healthChecks: [] });
  const [one] = await running("fixed", 1);
  expect([one?.address, one?.host]).toEqual([address, "h1"]);
  expect(await blocksOf("h1")).toContain(`${address}/32`);
  const [run] = (await runsOn(world.lab, "h1")).filter((each) => each.address === address);
  await world.lab.mustExec("h1", ["docker", "kill", run?.container ?? "none"]);
  await eventually("another container with the address", async () =>
    (await runsOn(world.lab, "h1")).some((each) => each.address === address && each.container !== run?.container),
  );
  const change = await world.client.request("PUT", "/v2/apps/fixed?force=true", { body: where("h2"), login: "basic" });
  expect(change.status).toBe(200);
  await eventually("it runs on h2", async () =>
    (await runsOn(world.lab, "h2")).some((each) => each.address === address),
  );
  await eventually("h1 reaches it there", async () => {
    const argv = ["ping", "-c", "1", "-W", "1", address];
    return !(await blocksOf("h1")).includes(`${address}/32`) && (await world.lab.exec("h1", argv)).code === 0;
  });
  const refused = await world.client.request("POST", "/v2/apps", {
    body: { id: "outside", ...network(["192.168.7.7"]) },
    login: "basic",
  });
  expect([refused.status, JSON.stringify(refused.body)]).toEqual([
    422,
    expect.stringContaining("outside of the range"),
  ]);
});

test("a second agent on a host is refused by name, and the first goes on", async () => {
  const argv = ["apollo", "agent", "--data-dir", "/tmp/second", "--server", "https://192.0.2.1:8443", "--token", "x"];
  const { code, stderr, stdout } = await world.lab.exec("h1", argv);
  expect(code).not.toBe(0);
  expect(stdout + stderr).toContain("one runs on this machine");
});

test("a copy of a host's data on another machine is refused with both addresses, and the host goes on", async () => {
  const { lab } = world;
  await endDaemonOf(name, "h2", "apollo", "SIGTERM");
  for (const file of ["agent.json", "last-known.json"]) {
    const text = await lab.mustExec("h1", ["cat", `/var/lib/apollo/${file}`]);
    await lab.mustExec("h2", ["mkdir", "-p", "/tmp/copy"]);
    await lab.mustExec("h2", ["tee", `/tmp/copy/${file}`], { stdin: text });
  }
  const argv = ["timeout", "--preserve-status", "8", "apollo", "agent", "--data-dir", "/tmp/copy", "--name", "h1"];
  const { stdout, stderr } = await lab.exec("h2", argv, { timeoutMs: 20_000 });
  expect(stdout + stderr).toContain('Two agents have the identity of host \\"h1\\"');
  expect(stdout + stderr).toContain(lab.node("h2").address);
  expect(await hostPhase(world, "h1")).toBe("up");
  await startDaemonOf(name, "h2");
  await eventually("h2 to be back", async () => (await hostPhase(world, "h2")) === "up");
});

test("a host that was removed withdraws: its instances end, and its routes to others go", async () => {
  const { status } = await world.client.request("DELETE", "/api/hosts/h2?force=true");
  expect(status).toBeLessThan(300);
  await eventually("no instance on h2", async () =>
    (await runsOn(world.lab, "h2")).every(({ instance }) => instance === ""),
  );
  await eventually("no route on h2", async () => {
    return (await world.lab.mustExec("h2", ["ip", "route", "show", "proto", "201"])).trim() === "";
  });
  const log = await world.lab.mustExec("h2", ["cat", "/var/lib/apollo/agent.json"]);
  expect(log).toContain('"removed": true');
});
