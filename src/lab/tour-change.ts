import { processOf } from "./lab-state.ts";
import { LoadClient } from "./load-client.ts";
import type { LoadResult } from "./load-client.ts";
import { listInNamespace } from "./process-table.ts";
import { EXAMPLE_V1, EXAMPLE_V2, createApp } from "./tour-deploy.ts";
import { containerOf, helloFromHost, reach } from "./tour-reach.ts";
import { timed } from "./tour-report.ts";
import type { TourReport } from "./tour-report.ts";
import { APP_PORT, APP_V1, APP_V2, SERVICE, demand, readHello } from "./tour-world.ts";
import type { RunningInstance, TourWorld } from "./tour-world.ts";

const NAME = `${SERVICE}.service.consul`;
const SICK_APP = "tour-sick";
/** Out of every host's DNS after this long at most, once the cluster can know. */
const OUT_TIMEOUT_MS = 5000;
/** Two clients at once are seen in the figures, yet leave the machine to the cluster. */
const LOAD_RATE_PER_S = 25;

/** Looks at the console while the scale step runs; the end-to-end test gives one that drives a browser. */
export type WatchConsole = (console: { readonly url: string; readonly token: string }) => Promise<string>;

async function startLoad(world: TourWorld): Promise<readonly LoadClient[]> {
  const { lab } = world;
  const [first = "", ...others] = lab.hosts;
  const last = others.at(-1) ?? first;
  // One asks the HAProxy of its own host, one that of another host across the router.
  const pairs = [
    [first, first],
    [first, last],
  ] as const;
  const clients = pairs.map(([from, to]) => {
    const url = `http://${lab.node(to).address}/`;
    return new LoadClient(lab.name, from, { url, hostHeader: `${SERVICE}.example.com`, ratePerS: LOAD_RATE_PER_S });
  });
  await Promise.all(clients.map((client) => client.start()));
  return clients;
}

/** Ends the clients and demands that none of their requests failed. */
async function demandNoFailure(clients: readonly LoadClient[]): Promise<LoadResult> {
  const results = await Promise.all(clients.map((client) => client.stop()));
  const total: LoadResult = {
    requests: results.reduce((sum, result) => sum + result.requests, 0),
    failures: results.flatMap((result) => result.failures),
    slowestMs: Math.max(...results.map((result) => result.slowestMs)),
    bodies: results.flatMap((result) => result.bodies),
  };
  demand(total.requests > LOAD_RATE_PER_S, () => `only ${total.requests} requests were made`);
  demand(
    total.failures.length === 0,
    () => `${total.failures.length} of ${total.requests} requests failed, first: ${total.failures[0]}`,
  );
  return total;
}

/** Runs `work` under load; the clients are ended in any case. */
async function underLoad(world: TourWorld, work: () => Promise<void>): Promise<LoadResult> {
  const clients = await startLoad(world);
  try {
    await work();
  } catch (error) {
    await Promise.all(clients.map((client) => client.stop()));
    throw error;
  }
  return demandNoFailure(clients);
}

function proxyProcesses({ lab }: TourWorld, host: string): string {
  const all = listInNamespace(processOf(lab.name, host));
  return all.flatMap(({ argv, pid }) => (argv[0]?.endsWith("haproxy") === true ? [pid] : [])).join(" ");
}

/** Step 7: scaling is followed by DNS and HAProxy while a client keeps calling. */
export async function tourScale(
  world: TourWorld,
  report: TourReport,
  watchConsole: WatchConsole | undefined,
): Promise<void> {
  report.title("7 · Scale");
  await report.check("scale-up", async () => {
    const before = world.lab.hosts.map((host) => proxyProcesses(world, host));
    let figure = "";
    const load = await underLoad(world, async () => {
      const { value, ms } = await timed(async () => {
        await world.client.cli(["app", "scale", APP_V1, "4"]);
        return world.settled(APP_V1, 4);
      });
      checkSpread(value, world.lab.hosts);
      const follow = await timed(() => followed(world, value));
      for (const host of world.lab.hosts)
        for (const each of value) await reach(world, each, await helloFromHost(world, host, each));
      figure = `4 in ${ms} ms, DNS and HAProxy ${follow.ms} ms later`;
      if (watchConsole !== undefined) {
        const { client } = world;
        await report.check("console", () => watchConsole({ url: `${client.url}/ui/`, token: client.token }));
      }
    });
    const after = world.lab.hosts.map((host) => proxyProcesses(world, host));
    demand(
      after.join() === before.join(),
      () => `HAProxy was reloaded: processes ${before.join()} became ${after.join()}`,
    );
    return `${figure}; no reload; ${load.requests} requests, 0 failed, slowest ${Math.round(load.slowestMs)} ms`;
  });
  await report.check("scale-down-and-up", async () => {
    let figure = "";
    const load = await underLoad(world, async () => {
      const down = await timed(async () => {
        await world.client.cli(["app", "scale", APP_V1, "1"]);
        const [only] = await world.settled(APP_V1, 1);
        await world.dnsFollows(NAME, [only?.address ?? ""]);
      });
      const up = await timed(async () => {
        await world.client.cli(["app", "scale", APP_V1, "3"]);
        await followed(world, await world.settled(APP_V1, 3));
      });
      figure = `to 1 in ${down.ms} ms, to 3 in ${up.ms} ms`;
    });
    return `${figure}; ${load.requests} requests, 0 failed, slowest ${Math.round(load.slowestMs)} ms`;
  });
}

/** Spread as evenly as the number of hosts allows: 4 on 3 hosts are 2, 1, 1. */
function checkSpread(instances: readonly RunningInstance[], hosts: readonly string[]): void {
  const counts = hosts.map((host) => instances.filter((instance) => instance.host === host).length);
  const most = Math.ceil(instances.length / hosts.length);
  demand(
    counts.every((count) => count <= most && count >= most - 1),
    () => `instances a host: ${counts.join(" ")}`,
  );
  const addresses = new Set(instances.map((instance) => instance.address));
  demand(addresses.size === instances.length, () => "two instances share an address");
}

/** Waits until DNS on every host has these instances, and every HAProxy leads to each of them. */
async function followed(world: TourWorld, instances: readonly RunningInstance[]): Promise<void> {
  await world.dnsFollows(
    NAME,
    instances.map((instance) => instance.address),
  );
  await world.onEveryHost((host) =>
    world.wait(`HAProxy of ${host} to lead to ${instances.length} instances`, 15_000, async () => {
      const hellos = await world.answeredBy(host, instances.length * 3);
      return new Set(hellos.map((hello) => hello.instance)).size === instances.length;
    }),
  );
}

/** Step 8: what dies is replaced, and nobody is led to it in the meantime. */
export async function tourFailure(world: TourWorld, report: TourReport): Promise<void> {
  report.title("8 · Failure");
  await report.check("instance-killed", async () => {
    const [victim] = await world.settled(APP_V1, 3);
    if (victim === undefined) throw new Error("Three instances have a first one");
    const container = await containerOf(world, victim.host, victim.id);
    await world.lab.mustExec(victim.host, ["docker", "kill", container ?? "none"]);
    const out = await timed(() => world.dnsWithout(NAME, victim.address, OUT_TIMEOUT_MS));
    const hellos = (await world.onEveryHost((host) => world.answeredBy(host, 10))).flat();
    const replaced = await timed(() =>
      world.wait("the killed instance's replacement", 60_000, async () => {
        const now = await world.settled(APP_V1, 3);
        const containers = await Promise.all(now.map((each) => containerOf(world, each.host, each.id)));
        return !containers.includes(container) && containers.every((each) => each !== null);
      }),
    );
    await followed(world, await world.settled(APP_V1, 3));
    return `out of DNS on every host in ${out.ms} ms, ${hellos.length} requests answered without it, replaced ${replaced.ms} ms later`;
  });
  await report.check("instance-sick", () => tourSick(world));
}

/** The example again, with a quick check, so that the tour need not wait for the half minute of 2015's definition. */
async function tourSick(world: TourWorld): Promise<string> {
  const [check] = EXAMPLE_V1.healthChecks;
  const { lab } = world;
  await createApp(world, {
    ...EXAMPLE_V1,
    id: SICK_APP,
    env: { SERVICE_NAME: SICK_APP, SERVICE_TAGS: "v1" },
    healthChecks: [{ ...check, intervalSeconds: 1, timeoutSeconds: 1, maxConsecutiveFailures: 3 }],
  } as typeof EXAMPLE_V1);
  const name = `${SICK_APP}.service.consul`;
  const [victim, other] = await world.settled(SICK_APP, 2);
  if (victim === undefined || other === undefined) throw new Error("Two instances are two");
  await world.dnsFollows(name, [victim.address, other.address]);
  const url = `http://${victim.address}:${APP_PORT}/sick`;
  await lab.mustExec(victim.host, ["curl", "-sf", "-m", "5", "-X", "POST", url]);
  const out = await timed(() => world.dnsWithout(name, victim.address, OUT_TIMEOUT_MS));
  const hosts = await world.onEveryHost((host) =>
    world.wait(`HAProxy of ${host} to leave out the sick instance`, OUT_TIMEOUT_MS, async () => {
      const answers = [];
      for (let round = 0; round < 6; round += 1) answers.push(await world.viaIngress(host, `${SICK_APP}.example.com`));
      return answers.every(({ status, body }) => status === 200 && readHello(body).instance.startsWith(other.id));
    }),
  );
  const replaced = await timed(() =>
    world.wait("the sick instance's replacement", 60_000, async () => {
      const now = await world.settled(SICK_APP, 2);
      return now.every((each) => each.id !== victim.id);
    }),
  );
  await world.client.cli(["app", "destroy", SICK_APP]);
  await world.wait(`${SICK_APP} to be gone`, 60_000, async () => (await world.instances(SICK_APP)).length === 0);
  return `out of DNS on ${hosts.length} hosts in ${out.ms} ms, and of HAProxy; replaced ${replaced.ms} ms later`;
}

/** Step 9: a second version joins under the same name, and the first leaves, while a client keeps calling. */
export async function tourVersions(world: TourWorld, report: TourReport): Promise<void> {
  report.title("9 · Second version");
  await report.check("versions", async () => {
    let figure = "";
    const load = await underLoad(world, async () => {
      const joined = await timed(async () => {
        await createApp(world, EXAMPLE_V2);
        const old = await world.settled(APP_V1, 3);
        const fresh = await world.settled(APP_V2, EXAMPLE_V2.instances);
        await world.dnsFollows(
          `v2.${NAME}`,
          fresh.map((instance) => instance.address),
        );
        await followed(world, [...old, ...fresh]);
      });
      const left = await timed(async () => {
        await world.client.cli(["app", "destroy", APP_V1]);
        await world.wait(`${APP_V1} to be gone`, 60_000, async () => (await world.instances(APP_V1)).length === 0);
        const fresh = await world.settled(APP_V2, EXAMPLE_V2.instances);
        await world.dnsFollows(`v1.${NAME}`, []);
        await followed(world, fresh);
      });
      figure = `v2 shares the traffic after ${joined.ms} ms, v1 is gone after ${left.ms} ms`;
    });
    const versions = load.bodies.map((body) => readHello(body).version);
    const last = versions.slice(-10);
    demand(
      versions.includes("1.0.0") && versions.includes("2.0.0"),
      () => `versions seen: ${[...new Set(versions)].join(" ")}`,
    );
    demand(
      last.every((version) => version === "2.0.0"),
      () => `the last answers are of ${last.join(" ")}`,
    );
    return `${figure}; ${load.requests} requests, 0 failed, slowest ${Math.round(load.slowestMs)} ms`;
  });
}
