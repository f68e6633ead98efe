/** Published ports, imported services and services' own addresses on real engines: declared by the CLI, served by every host. */
import { beforeAll, expect, test } from "bun:test";
import { z } from "zod";
import { addressesOf } from "../../src/lab/dig.ts";
import type { TourWorld } from "../../src/lab/tour-world.ts";
import { clusterUp, deploy, eventually, hostsShape, webApp } from "./cluster.fixture.ts";
import { testLab } from "./test-lab.fixture.ts";

const name = testLab("out");
let world: TourWorld;

beforeAll(async () => {
  world = await clusterUp(name, 2);
});

/** Exit code of curl on that host: 0 is an answer, 7 a refusal, 28 silence. */
async function curl(host: string, target: string): Promise<number> {
  return (await world.lab.exec(host, ["curl", "-s", "-o", "/dev/null", "-m", "5", `http://${target}/`])).code;
}

/** The same out of a container on the host's Docker network. */
async function curlInside(host: string, container: string, target: string): Promise<number> {
  const pid = (await world.lab.mustExec(host, ["docker", "inspect", "--format", "{{.State.Pid}}", container])).trim();
  const argv = ["nsenter", "--target", pid, "--net", "--", "curl", "-s", "-o", "/dev/null", "-m", "5"];
  return (await world.lab.exec(host, [...argv, `http://${target}/`])).code;
}

async function addressOf(host: string): Promise<string> {
  const hosts = await world.client.get(hostsShape, "/api/hosts");
  return hosts.find((each) => each.name === host)?.address ?? "none";
}

async function containersOn(host: string): Promise<readonly string[]> {
  const names = await world.lab.mustExec(host, [
    "docker",
    "ps",
    "--format",
    "{{.Names}}",
    "--filter",
    "label=apollo.instance",
  ]);
  return names.split("\n").filter((line) => line !== "");
}

test("an address, a published port and an imported service work from hosts and containers, and refuse without an endpoint", async () => {
  await deploy(world, webApp("site"));
  const made = await world.client.cliJson(z.object({ address: z.string() }), ["service", "virtual", "site"]);
  await world.client.cli(["service", "publish", "site", "--port", "8088"]);
  const [h1, h2] = [await addressOf("h1"), await addressOf("h2")];
  for (const host of ["h1", "h2"]) {
    await eventually(`the service's own address on ${host}`, async () => (await curl(host, made.address)) === 0);
    expect(addressesOf(await world.dig(host, "site.virtual.consul", "A"))).toEqual([made.address]);
  }
  // Each host asks the other one: one of them has the endpoint, the other passes it on.
  await eventually("the port of h2", async () => (await curl("h1", `${h2}:8088`)) === 0);
  await eventually("the port of h1", async () => (await curl("h2", `${h1}:8088`)) === 0);
  for (const host of ["h1", "h2"]) {
    // Also a container that is the endpoint itself.
    for (const container of await containersOn(host)) {
      await eventually(
        `the address in a container on ${host}`,
        async () => (await curlInside(host, container, made.address)) === 0,
      );
    }
  }
  // The ingress of a host stands for a server outside.
  await world.client.cli(["service", "import", "edge", `${h1}:34180`]);
  await eventually(
    "the imported service",
    async () => addressesOf(await world.dig("h2", "edge.service.consul", "A"))[0] === h1,
  );
  const shown = await world.client.cli(["service", "show", "site"]);
  expect(shown).toContain(made.address);
  expect(shown).toContain("port 8088/tcp of every host");
  await world.client.cli(["app", "scale", "site", "0"]);
  await eventually("a refusal at once", async () => (await curl("h1", made.address)) === 7);
  await world.client.cli(["service", "unpublish", "site-8088"]);
  await world.client.cli(["service", "release", "site"]);
  const route = async (): Promise<string> =>
    (await world.lab.exec("h1", ["ip", "route", "show", "10.3.0.0/16"])).stdout;
  await eventually("no route to the addresses", async () => (await route()) === "");
});
