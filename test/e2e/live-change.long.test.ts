// Hosts that come and go, agents that are killed and replaced, and a partition, all under traffic of others.
import { beforeAll, expect, test } from "bun:test";
import { addHost, cutLink, endDaemonOf, healLink, startDaemonOf } from "../../src/lab/lab-control.ts";
import { timed } from "../../src/lab/tour-report.ts";
import type { TourWorld } from "../../src/lab/tour-world.ts";
import { clusterUp, eventually, hostPhase } from "./cluster.fixture.ts";
import { PingStream, Probes, Stream, conditions, hostsOf } from "./faults.fixture.ts";
import { testLab } from "./test-lab.fixture.ts";

const name = testLab("live");
let world: TourWorld;
let probes: Probes;

beforeAll(async () => {
  world = await clusterUp(name, 3);
  probes = await Probes.everywhere(world);
  await probes.healed("the start");
});

test("a host that joins and one that is removed break no connection and lose no packet of others", async () => {
  const streams = [await Stream.start(world, probes, "h1", "h2"), await Stream.start(world, probes, "h2", "h3")];
  const ping = await PingStream.start(world, probes, "h1", "h3");
  const { value: late, ms } = await timed(() => addHost(name));
  await eventually("the host to be up", async () => (await hostPhase(world, late)) === "up", 60_000);
  console.log(`${late} is up ${ms} ms after power on`);
  await probes.start(late);
  await eventually("all to reach all", async () => (await probes.broken()).length === 0);
  probes.forget(late);
  const { status } = await world.client.request("DELETE", `/api/hosts/${late}?force=true`);
  expect(status).toBeLessThan(300);
  const block = (await hostsOf(world)).find((each) => each.name === late);
  expect(block).toBeUndefined();
  await eventually("no route to it", async () => {
    const routes = await world.lab.mustExec("h1", ["ip", "route", "show", "proto", "201"]);
    return routes.trim().split("\n").length === 2;
  });
  for (const stream of streams) await stream.goesOn();
  const { sent, received } = await ping.stop();
  expect([sent > 100, sent - received]).toEqual([true, 0]);
  for (const stream of streams) expect(await stream.end()).toBeGreaterThan(1_000_000);
  await endDaemonOf(name, late, "apollo", "SIGTERM");
  await probes.healed("a host came and went");
});

test("an agent that is killed, replaced by another build, and restarted loses no packet and no connection", async () => {
  const told = (await conditions(world)).filter(({ code }) => code === "fast-path-off");
  expect(told).toEqual([]);
  const filters = await world.lab.mustExec("h1", ["tc", "filter", "show", "dev", "eth0", "ingress"]);
  expect(filters).toContain("from_uplink");
  const streams = [await Stream.start(world, probes, "h1", "h2"), await Stream.start(world, probes, "h2", "h1")];
  const pings = [await PingStream.start(world, probes, "h1", "h2"), await PingStream.start(world, probes, "h1", "h3")];
  const isBack = () =>
    eventually("h1 to be connected", async () => {
      const { status } = await world.client.request("POST", "/api/hosts/h1/query", {
        body: { kind: "policy-counters" },
      });
      return status === 200;
    });
  expect(await endDaemonOf(name, "h1", "apollo", "SIGKILL")).toBeGreaterThan(0);
  await startDaemonOf(name, "h1");
  await isBack();
  // As a package does it: the new file takes the old one's name while that runs.
  await world.lab.mustExec("h1", ["cp", "/usr/bin/apollo", "/usr/bin/apollo.new"]);
  await world.lab.mustExec("h1", ["mv", "/usr/bin/apollo.new", "/usr/bin/apollo"]);
  await endDaemonOf(name, "h1", "apollo", "SIGTERM");
  await startDaemonOf(name, "h1");
  await isBack();
  for (const stream of streams) await stream.goesOn();
  for (const ping of pings) {
    const { sent, received } = await ping.stop();
    expect([sent > 50, sent - received]).toEqual([true, 0]);
  }
  for (const stream of streams) await stream.end();
  await probes.healed("three runs of an agent");
});

test("both sides of a partition go on inside, and all is whole after it", async () => {
  // h3 alone on one side, without a server.
  const cuts = [
    ["h1", "h3"],
    ["h2", "h3"],
    ["s1", "h3"],
  ] as const;
  const local = await probes.inside("h3", ["curl", "-s", "-m", "2", `http://${probes.address("h3")}/`]);
  for (const [a, b] of cuts) await cutLink(name, { from: a, to: b });
  await eventually("the server to miss h3", async () => (await hostPhase(world, "h3")) === "down");
  expect(await probes.broken(["h1", "h2"])).toEqual([]);
  expect(await world.lab.mustExec("h3", local)).toBe("ok\n");
  expect(await world.lab.mustExec("h3", ["dig", "+short", "probe.service.consul"])).toContain(probes.address("h3"));
  for (const [a, b] of cuts) await healLink(name, { from: a, to: b });
  await probes.healed("a partition");
});
