// Declared networks with Docker's containers over two hosts: routed ones, segments with the same range, an app, and their end.
import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { addressesOf } from "../../src/lab/dig.ts";
import { WEB_IMAGE } from "../../src/lab/images.ts";
import { endDaemonOf, startDaemonOf } from "../../src/lab/lab-control.ts";
import type { TourWorld } from "../../src/lab/tour-world.ts";
import { LAB_TIMEOUT_MS, allRuns, clusterUp, deploy, eventually, webApp } from "./cluster.fixture.ts";
import { testLab } from "./test-lab.fixture.ts";

const name = testLab("nets");
const HOSTS = ["h1", "h2"];
let world: TourWorld;
setDefaultTimeout(LAB_TIMEOUT_MS * 2);

beforeAll(async () => {
  world = await clusterUp(name, 2);
});

/** `net` asks the agent of h1, all else the server. */
async function apollo(...argv: readonly string[]): Promise<string> {
  if (argv[0] !== "net") return (await world.client.cli(argv)).trim();
  return (await world.lab.mustExec("h1", ["apollo", ...argv])).trim();
}

/** Exit code 0, or not: deleting is tried until nobody is on it any more. */
async function isDeleted(network: string): Promise<boolean> {
  const { status } = await world.client.request("DELETE", `/api/networks/${network}`);
  return status === 204;
}

async function hasEngineNetwork(host: string, network: string): Promise<boolean> {
  const text = await world.lab.mustExec(host, ["docker", "network", "ls", "--format", "{{.Name}}"]);
  return text.split("\n").includes(network);
}

async function declare(network: string, ...flags: readonly string[]): Promise<void> {
  await apollo("network", "create", network, ...flags);
  for (const host of HOSTS) await eventually(`${network} on ${host}`, () => hasEngineNetwork(host, network));
}

/** Starts a web server; returns its address on that network. */
async function run(host: string, container: string, network: string): Promise<string> {
  const sysctl = ["--sysctl", "net.ipv4.icmp_echo_ignore_broadcasts=0", "--cap-add", "NET_RAW"];
  const argv = ["docker", "run", "--detach", "--name", container, "--network", network, ...sysctl, WEB_IMAGE];
  await world.lab.mustExec(host, argv, { timeoutMs: 60_000 });
  const format = `{{(index .NetworkSettings.Networks "${network}").IPAddress}}`;
  return (await world.lab.mustExec(host, ["docker", "inspect", "--format", format, container])).trim();
}

async function pings(host: string, container: string, address: string): Promise<boolean> {
  const argv = ["docker", "exec", container, "busybox", "ping", "-c", "1", "-W", "2", address];
  return (await world.lab.exec(host, argv)).code === 0;
}

/** Who answers a ping that is for many. */
async function answers(host: string, container: string, address: string): Promise<readonly string[]> {
  const argv = ["docker", "exec", container, "busybox", "ping", "-c", "3", "-W", "1", "-I", "eth0", address];
  const { stdout } = await world.lab.exec(host, argv);
  return [...new Set([...stdout.matchAll(/from ([0-9.]+)/g)].map(([, from = ""]) => from))].toSorted();
}

async function remove(host: string, ...containers: readonly string[]): Promise<void> {
  await world.lab.mustExec(host, ["docker", "rm", "--force", ...containers], { timeoutMs: 60_000 });
}

async function devices(host: string): Promise<readonly string[]> {
  const text = await world.lab.mustExec(host, ["ip", "-o", "link"]);
  return [...text.matchAll(/: (ap[lv]\d+)[:@]/g)].map(([, device = ""]) => device);
}

test("routed networks carry their own containers over hosts, and nobody else's", async () => {
  const { lab, client } = world;
  await declare("blue", "--range", "10.50.0.0/16");
  await declare("vault", "--range", "10.51.0.0/24", "--internal");
  const refused = await client.cliFailure(["network", "create", "green", "--range", "10.50.7.0/24"]);
  expect(refused.said).toContain('of network "blue"');
  const one = await run("h1", "one", "blue");
  const two = await run("h2", "two", "blue");
  const safe = await run("h2", "safe", "vault");
  const flat = await run("h2", "flat", "apollo");
  const near = await run("h1", "near", "apollo");
  for (const address of [one, two]) expect(address).toStartWith("10.50.");
  expect(safe).toStartWith("10.51.0.");
  await eventually("one to reach two", () => pings("h1", "one", two));
  await eventually("two to reach one", () => pings("h2", "two", one));
  await eventually(
    "h1 to reach two",
    async () => (await lab.exec("h1", ["curl", "-sm2", `http://${two}/`])).stdout === "ok\n",
  );
  const [addressOfH2 = "none"] = (await lab.mustExec("h2", ["hostname", "-I"])).split(" ");
  expect(await pings("h1", "one", addressOfH2)).toBe(true);
  expect(await pings("h2", "safe", "10.51.0.1")).toBe(true);
  for (const [host, from, to] of [
    ["h1", "one", safe],
    ["h1", "one", flat],
    ["h1", "one", near],
    ["h1", "near", one],
    ["h1", "near", two],
    ["h2", "flat", two],
    ["h2", "flat", one],
    ["h2", "flat", safe],
    ["h2", "safe", two],
    ["h2", "safe", one],
  ] as const) {
    expect([from, to, await pings(host, from, to)]).toEqual([from, to, false]);
  }
  expect(await pings("h1", "near", flat)).toBe(true);
  expect(addressesOf(await world.dig("h1", "two.weave.local", "A"))).toEqual([two]);

  await lab.mustExec("h1", ["docker", "network", "create", "other"]);
  await run("h1", "loner", "other");
  const attached = await apollo("net", "attach", "loner", "--network", "blue");
  expect(attached).toStartWith("10.50.");
  await eventually("two to reach what is attached", () => pings("h2", "two", attached));
  await endDaemonOf(name, "h1", "apollo", "SIGKILL");
  expect(await pings("h1", "one", two)).toBe(true);
  await startDaemonOf(name, "h1");
  await eventually(
    "the agent's socket",
    async () => (await lab.exec("h1", ["apollo", "net", "attachments"])).code === 0,
  );
  expect(await pings("h1", "one", two)).toBe(true);
  expect(await apollo("net", "detach", "loner")).toBe(attached);
  expect((await client.cliFailure(["network", "delete", "blue"])).said).toContain('it is used by host "h1"');
  await remove("h1", "one", "near", "loner");
  await remove("h2", "two", "safe", "flat");
});

test("two segments with the same range carry broadcast and multicast, each its own", async () => {
  for (const network of ["lab-a", "lab-b"]) await declare(network, "--range", "10.9.0.0/24", "--mode", "layer2");
  const a1 = await run("h1", "a1", "lab-a");
  const a2 = await run("h2", "a2", "lab-a");
  const b1 = await run("h1", "b1", "lab-b");
  const b2 = await run("h2", "b2", "lab-b");
  expect([b1, b2]).toEqual([a1, a2]);
  const b3 = await run("h2", "b3", "lab-b");
  await eventually("a1 to reach a2", () => pings("h1", "a1", a2));
  await eventually("b1 to reach b3", () => pings("h1", "b1", b3));
  expect(await pings("h1", "a1", b3)).toBe(false);
  for (const group of ["10.9.0.255", "224.0.0.1"]) {
    await eventually(`a2 to answer ${group}`, async () => (await answers("h1", "a1", group)).includes(a2));
    expect(await answers("h1", "b1", group)).toEqual(expect.arrayContaining([b2, b3]));
    expect(await answers("h1", "a1", group)).not.toContain(b3);
  }
  await remove("h1", "a1", "b1");
  await remove("h2", "a2", "b2", "b3");
});

test("an app on a declared network is checked, found and reached; then nothing of any network is left", async () => {
  const { lab, client } = world;
  const app = webApp("shop", {
    instances: 2,
    constraints: [["hostname", "UNIQUE"]],
    networks: [{ mode: "container", name: "blue" }],
    container: { type: "DOCKER", docker: { image: WEB_IMAGE }, portMappings: [{ containerPort: 80 }] },
  });
  await deploy(world, app);
  const addresses = (await allRuns(lab))
    .filter(({ instance }) => instance.startsWith("shop"))
    .map(({ address }) => address);
  expect(addresses.length).toBe(2);
  for (const address of addresses) expect(address).toStartWith("10.50.");
  await eventually("both in DNS", async () => {
    const found = addressesOf(await world.dig("h2", "shop.service.consul", "A"));
    return found.toSorted().join() === addresses.toSorted().join();
  });
  for (const host of HOSTS) {
    for (const address of addresses)
      expect((await lab.mustExec(host, ["curl", "-sm3", `http://${address}/`])).trim()).toBe("ok");
  }
  const unknown = { ...app, id: "lost", networks: [{ mode: "container", name: "nope" }] };
  const refused = await client.request("POST", "/v2/apps", { body: unknown, login: "basic" });
  expect([refused.status, JSON.stringify(refused.body)]).toEqual([422, expect.stringContaining("apollo, blue, lab-a")]);
  await client.request("DELETE", "/v2/apps/shop?force=true", { login: "basic" });
  for (const network of ["blue", "vault", "lab-a", "lab-b"]) {
    await eventually(`${network} to be given up`, () => isDeleted(network), 120_000);
  }
  for (const host of HOSTS) {
    await eventually(`nothing on ${host}`, async () => (await devices(host)).length === 0);
    const networks = await lab.mustExec(host, ["docker", "network", "ls", "--format", "{{.Driver}}"]);
    expect(networks).not.toContain("apollo");
    expect(await lab.mustExec(host, ["ip", "route"])).not.toContain("10.50.");
    expect(await lab.mustExec(host, ["iptables", "-S", "DOCKER-USER"])).not.toContain("apl+");
  }
});
