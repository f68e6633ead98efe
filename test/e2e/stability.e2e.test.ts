import { beforeAll, expect, test } from "bun:test";
import { z } from "zod";
import { addressesOf } from "../../src/lab/dig.ts";
import { startEngine } from "../../src/lab/engine.ts";
import { cutLink, endDaemonOf, healLink, startDaemonOf, startHost, stopHost } from "../../src/lab/lab-control.ts";
import { processOf } from "../../src/lab/lab-state.ts";
import { LoadClient } from "../../src/lab/load-client.ts";
import { listInNamespace } from "../../src/lab/process-table.ts";
import { timed } from "../../src/lab/tour-report.ts";
import type { TourWorld } from "../../src/lab/tour-world.ts";
import {
  DnsLoop,
  allRuns,
  clusterUp,
  deploy,
  eventually,
  hostPhase,
  ingressStatuses,
  keptByEngine,
  runsOn,
  webApp,
} from "./cluster.fixture.ts";
import { testLab } from "./test-lab.fixture.ts";

const name = testLab("stable");
const NAME = "web.service.consul";
const OUTSIDE = "web.example.com";
const SERVER = "s1";
const ENDPOINTS = z.array(
  z.object({ name: z.string(), endpoints: z.array(z.object({ address: z.string(), health: z.string() })) }),
);
let world: TourWorld;

beforeAll(async () => {
  world = await clusterUp(name, 3);
  const constraints = [["hostname", "UNIQUE"]];
  const [instances] = await Promise.all([
    deploy(world, webApp("web", { instances: 3, constraints })),
    deploy(world, webApp("pinned", { constraints: [["hostname", "CLUSTER", "h2"]] })),
  ]);
  await world.dnsFollows(NAME, addresses(instances));
  for (const host of world.lab.hosts) await leadsTo(host, 200);
});

function addresses(instances: readonly { readonly address: string }[]): readonly string[] {
  return instances.map((instance) => instance.address);
}

function leadsTo(host: string, status: number): Promise<true> {
  return eventually(`HAProxy of ${host} to answer ${status}`, async () =>
    (await ingressStatuses(world, host, OUTSIDE)).every((each) => each === status),
  );
}

function haproxyPids(host: string): readonly number[] {
  const found = listInNamespace(processOf(name, host)).filter(({ argv }) => argv[0]?.split("/").at(-1) === "haproxy");
  return found.map(({ pid }) => pid).toSorted((a, b) => a - b);
}

async function catalogOf(service: string): Promise<readonly string[]> {
  const services = await world.client.get(ENDPOINTS, "/api/services");
  const endpoints = services.find((each) => each.name === service)?.endpoints ?? [];
  return endpoints.flatMap((each) => (each.health === "passing" ? [each.address] : [])).toSorted();
}

test("without a server everything goes on, what dies is restarted in place, and DNS and ingress follow local health", async () => {
  const { lab } = world;
  const before = await allRuns(lab);
  const instances = await world.settled("web", 3);
  const local = instances.find((instance) => instance.host === "h2");
  if (local === undefined) throw new Error("One instance is on h2");
  expect(await endDaemonOf(name, SERVER, "apollo", "SIGKILL")).toBeGreaterThan(0);

  for (const host of lab.hosts) {
    expect(addressesOf(await world.dig(host, NAME, "A")).toSorted()).toEqual(addresses(instances).toSorted());
    expect(await ingressStatuses(world, host, OUTSIDE)).toEqual([200, 200, 200]);
  }
  expect(await allRuns(lab)).toEqual(before);

  // An agent that starts now knows what it knew.
  expect(await endDaemonOf(name, "h1", "apollo", "SIGKILL")).toBeGreaterThan(0);
  await startDaemonOf(name, "h1");
  await eventually("h1 to answer from what it kept", async () => {
    return addressesOf(await world.dig("h1", NAME, "A", ["@127.0.0.1", "-p", "8600"])).length === 3;
  });
  await leadsTo("h1", 200);
  expect(await allRuns(lab)).toEqual(before);

  const victim = before.find((run) => run.instance === local.id);
  if (victim === undefined) throw new Error("The instance has a container");
  await lab.mustExec("h2", ["docker", "kill", victim.container]);
  const back = await timed(() =>
    eventually("the killed container to run again", async () => {
      const run = (await runsOn(lab, "h2")).find((each) => each.container === victim.container);
      return run !== undefined && run.startedAt !== victim.startedAt && run.address === victim.address;
    }),
  );
  console.log(`restarted in place without a server after ${back.ms} ms`);
  await eventually("h2 to answer with its restarted instance", async () =>
    addressesOf(await world.dig("h2", NAME, "A")).includes(local.address),
  );

  const page = ["docker", "exec", victim.container, "busybox"];
  await lab.mustExec("h2", [...page, "mv", "/www/index.html", "/www/away"]);
  await eventually("h2 to leave its sick instance out", async () => {
    const answered = addressesOf(await world.dig("h2", NAME, "A"));
    return answered.length === 2 && !answered.includes(local.address);
  });
  // A sick instance answers 404: were it still led to, one of these would.
  await eventually("HAProxy of h2 to leave it out", async () =>
    (await ingressStatuses(world, "h2", OUTSIDE)).every((status) => status === 200),
  );
  await lab.mustExec("h2", [...page, "mv", "/www/away", "/www/index.html"]);
  await eventually("h2 to take it back", async () => addressesOf(await world.dig("h2", NAME, "A")).length === 3);

  const runs = await allRuns(lab);
  expect(runs.map((run) => run.container)).toEqual(before.map((run) => run.container));
  const loop = new DnsLoop(world, lab.hosts, NAME);
  try {
    await startDaemonOf(name, SERVER);
    for (const host of lab.hosts)
      await eventually(`${host} to be up`, async () => (await hostPhase(world, host)) === "up");
    await eventually("the catalog to be complete", async () => {
      return JSON.stringify(await catalogOf("web")) === JSON.stringify(addresses(instances).toSorted());
    });
    await world.settled("web", 3);
    await world.dnsFollows(NAME, addresses(instances));
  } finally {
    await loop.stop();
  }
  expect(loop.failures).toEqual([]);
  expect(loop.answers).toBeGreaterThan(20);
  expect(await allRuns(lab)).toEqual(runs);
});

test("an agent that is killed and started again fails no request and restarts nothing, HAProxy included", async () => {
  const { lab } = world;
  const runs = await allRuns(lab);
  const proxies = haproxyPids("h1");
  expect(proxies.length).toBe(1);
  const url = `http://${lab.node("h1").address}/`;
  const load = new LoadClient(name, "h3", { url, hostHeader: OUTSIDE, ratePerS: 40 });
  await load.start();
  try {
    for (let round = 0; round < 2; round += 1) {
      expect(await endDaemonOf(name, "h1", "apollo", "SIGKILL")).toBeGreaterThan(0);
      const told = load.result().requests;
      await eventually("requests without an agent", async () => load.result().requests > told + 20);
      await startDaemonOf(name, "h1");
      await eventually("h1 to answer names again", async () => {
        return addressesOf(await world.dig("h1", NAME, "A", ["@127.0.0.1", "-p", "8600"])).length === 3;
      });
      await eventually("h1 to be up", async () => (await hostPhase(world, "h1")) === "up");
    }
    const told = load.result().requests;
    await eventually("requests with the new agent", async () => load.result().requests > told + 80);
  } finally {
    await load.stop();
  }
  const result = load.result();
  console.log(`${result.requests} requests, slowest ${Math.round(result.slowestMs)} ms`);
  expect(result.failures).toEqual([]);
  expect(haproxyPids("h1")).toEqual(proxies);
  expect(await allRuns(lab)).toEqual(runs);
});

test("an agent that is away for long is taken for a dead host, and no request fails when it is, nor when it is back", async () => {
  const { lab } = world;
  const free = await deploy(world, webApp("free", { instances: 3 }));
  expect(new Set(free.map((instance) => instance.host)).size).toBe(3);
  const loads = ["h1", "h3"].map((host) => {
    const url = `http://${lab.node(host).address}/`;
    return new LoadClient(name, "h2", { url, hostHeader: "free.example.com", ratePerS: 25 });
  });
  for (const host of lab.hosts) {
    await eventually(`free behind HAProxy of ${host}`, async () =>
      (await ingressStatuses(world, host, "free.example.com")).every((each) => each === 200),
    );
  }
  await Promise.all(loads.map((load) => load.start()));
  try {
    expect(await endDaemonOf(name, "h1", "apollo", "SIGKILL")).toBeGreaterThan(0);
    await eventually("h1 to be down", async () => (await hostPhase(world, "h1")) === "down");
    await eventually("its instance to be replaced", async () => {
      const there = (await world.instances("free")).filter((each) => each.host !== "h1" && each.health === "healthy");
      return there.length === 3;
    });
    await startDaemonOf(name, "h1");
    await eventually("h1 to be up", async () => (await hostPhase(world, "h1")) === "up");
    await world.dnsFollows("free.service.consul", addresses(await world.settled("free", 3)));
  } finally {
    await Promise.all(loads.map((load) => load.stop()));
  }
  for (const load of loads) expect(load.result().failures).toEqual([]);
  const { status } = await world.client.request("DELETE", "/v2/apps/free");
  expect(status).toBe(200);
  await eventually("free to be gone", async () => (await world.instances("free")).length === 0);
});

test("a host that reboots while there is no server comes back by itself, and so does HAProxy when it is killed", async () => {
  const { lab } = world;
  const before = await world.settled("web", 3);
  await keptByEngine(lab, "h2");
  const local = before.find((instance) => instance.host === "h2");
  if (local === undefined) throw new Error("One instance is on h2");
  expect(await endDaemonOf(name, SERVER, "apollo", "SIGKILL")).toBeGreaterThan(0);
  await stopHost(name, "h2");
  await startHost(name, "h2");
  await eventually("h2 to answer with all of them", async () => {
    const found = addressesOf(await world.dig("h2", NAME, "A")).toSorted();
    return found.join(" ") === addresses(before).toSorted().join(" ");
  });
  await leadsTo("h2", 200);
  for (const host of ["h1", "h3"]) {
    expect(await lab.mustExec(host, ["curl", "-s", "-m", "5", `http://${local.address}/`])).toBe("ok\n");
  }
  expect(await endDaemonOf(name, "h2", "haproxy", "SIGKILL")).toBeGreaterThan(0);
  await leadsTo("h2", 200);
  const runs = await allRuns(lab);
  await startDaemonOf(name, SERVER);
  for (const host of lab.hosts)
    await eventually(`${host} to be up`, async () => (await hostPhase(world, host)) === "up");
  expect(addresses(await world.settled("web", 3)).toSorted()).toEqual(addresses(before).toSorted());
  expect(await allRuns(lab)).toEqual(runs);
});

test("an engine that restarts has its instances running again, with the agent's connection to it", async () => {
  const { lab } = world;
  await endDaemonOf(name, "h2", "dockerd", "SIGTERM");
  await startEngine(name, "h2", { config: {} });
  const [pinned] = await world.settled("pinned", 1);
  const web = await world.settled("web", 3);
  await world.dnsFollows(NAME, addresses(web));
  await leadsTo("h2", 200);
  const ids = [...web, pinned].flatMap((each) => (each?.host === "h2" ? [each.id] : [])).toSorted();
  await eventually("nothing else to run there", async () => {
    const runs = await runsOn(lab, "h2");
    return JSON.stringify(runs.map((run) => run.instance).toSorted()) === JSON.stringify(ids);
  });
});

test("a host that is cut off from the server goes on by itself, is replaced, and gives up the surplus when it is back", async () => {
  const { lab } = world;
  const free = await deploy(world, webApp("apart", { instances: 3 }));
  const lost = free.find((instance) => instance.host === "h2");
  if (lost === undefined) throw new Error("Three instances are on three hosts");
  await world.dnsFollows("apart.service.consul", addresses(free));
  await cutLink(name, { from: SERVER, to: "h2" });
  await eventually("it to be replaced", async () => {
    const there = (await world.instances("apart")).filter((each) => each.host !== "h2" && each.health === "healthy");
    return there.length === 3;
  });
  await eventually("h1 to leave it out", async () => {
    const found = addressesOf(await world.dig("h1", "apart.service.consul", "A"));
    return found.length === 3 && !found.includes(lost.address);
  });
  // It still runs, and its own host still knows it.
  expect(await lab.mustExec("h1", ["curl", "-s", "-m", "5", `http://${lost.address}/`])).toBe("ok\n");
  expect(addressesOf(await world.dig("h2", "apart.service.consul", "A"))).toContain(lost.address);
  await healLink(name, { from: SERVER, to: "h2" });
  await eventually("h2 to be up", async () => (await hostPhase(world, "h2")) === "up");
  const now = await world.settled("apart", 3);
  await world.dnsFollows("apart.service.consul", addresses(now));
  await eventually("the surplus to be stopped", async () => {
    const runs = await allRuns(lab);
    return runs.filter((run) => run.instance.startsWith("apart")).length === 3;
  });
  expect((await world.client.request("DELETE", "/v2/apps/apart")).status).toBe(200);
  await eventually("apart to be gone", async () => (await world.instances("apart")).length === 0);
});

test("a host without power leaves DNS and ingress, is replaced, and comes back without a token", async () => {
  const { lab } = world;
  // Without the rule that keeps instances apart, a replacement has somewhere to go.
  const free = await deploy(world, webApp("free", { instances: 3 }));
  expect(new Set(free.map((instance) => instance.host)).size).toBe(3);
  const pinned = (await world.settled("pinned", 1))[0];
  const lost = (await world.settled("web", 3)).find((instance) => instance.host === "h2");
  if (lost === undefined || pinned === undefined) throw new Error("h2 has an instance of each");
  const others = ["h1", "h3"];
  await keptByEngine(lab, "h2");
  await stopHost(name, "h2");
  const out = await timed(() =>
    Promise.all(
      others.map((host) =>
        eventually(`${host} to leave the dead instance out`, async () => {
          return !addressesOf(await world.dig(host, NAME, "A")).includes(lost.address);
        }),
      ),
    ),
  );
  for (const host of others) await leadsTo(host, 200);
  const replaced = await timed(() =>
    eventually(
      "the instance of free on h2 to be replaced",
      async () => {
        return (
          (await world.instances("free")).filter((each) => each.host !== "h2" && each.health === "healthy").length === 3
        );
      },
      40_000,
    ),
  );
  console.log(`out of DNS after ${out.ms} ms, replaced ${replaced.ms} ms later`);

  await startHost(name, "h2");
  await eventually("h2 to be up again", async () => (await hostPhase(world, "h2")) === "up", 40_000);
  await world.settled("free", 3);
  const [again] = await world.settled("pinned", 1);
  expect(again?.id).toBe(pinned.id);
  expect(again?.address).toBe(pinned.address);
  const web = await world.settled("web", 3);
  expect(web.find((instance) => instance.host === "h2")?.address).toBe(lost.address);
  await world.dnsFollows(NAME, addresses(web));
  const wanted = [...web, ...(await world.settled("free", 3)), again].flatMap((each) =>
    each?.host === "h2" ? [each.id] : [],
  );
  await eventually("surplus on h2 to be stopped", async () => {
    const runs = await runsOn(lab, "h2");
    return JSON.stringify(runs.map((run) => run.instance).toSorted()) === JSON.stringify(wanted.toSorted());
  });
  await leadsTo("h2", 200);
});
