import { processOf } from "./lab-state.ts";
import { listInNamespace } from "./process-table.ts";
import { EXAMPLE_V2, createApp } from "./tour-deploy.ts";
import { demandAnswerOf, helloFromHost } from "./tour-reach.ts";
import type { ScaleByConsole } from "./tour-console.ts";
import { timed } from "./tour-report.ts";
import type { TourReport } from "./tour-report.ts";
import { awaitFollowed, underLoad } from "./tour-traffic.ts";
import { APP_PORT, APP_V1, APP_V2, SERVICE, demand, readHello } from "./tour-world.ts";
import type { RunningInstance, TourWorld } from "./tour-world.ts";

const NAME = `${SERVICE}.service.consul`;

function proxyProcesses({ lab }: TourWorld, host: string): string {
  const all = listInNamespace(processOf(lab.name, host));
  return all.flatMap(({ argv, pid }) => (argv[0]?.endsWith("haproxy") === true ? [pid] : [])).join(" ");
}

/** Step 7: scaling is followed by the console, DNS and HAProxy while a client keeps calling. */
export async function tourScale(world: TourWorld, report: TourReport, byConsole: ScaleByConsole | null): Promise<void> {
  report.title("7 · Scale");
  await report.check("scale-up", async () => {
    const before = world.lab.hosts.map((host) => proxyProcesses(world, host));
    let figure = "";
    const load = await underLoad(world, async () => {
      const byConsoleMs = await scaleByConsole(world, report, byConsole);
      const { value, ms } = await timed(async () => {
        if (byConsoleMs === null) await world.client.cli(["app", "scale", APP_V1, "4"]);
        return world.settled(APP_V1, 4);
      });
      checkSpread(value, world.lab.hosts);
      const follow = await timed(() => awaitFollowed(world, value));
      for (const host of world.lab.hosts) {
        for (const each of value) demandAnswerOf(each, await helloFromHost(world, host, each));
      }
      figure = `4 in ${byConsoleMs ?? ms} ms, DNS and HAProxy ${follow.ms} ms later`;
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
        await awaitFollowed(world, await world.settled(APP_V1, 3));
      });
      figure = `to 1 in ${down.ms} ms, to 3 in ${up.ms} ms`;
    });
    return `${figure}; ${load.requests} requests, 0 failed, slowest ${Math.round(load.slowestMs)} ms`;
  });
}

/**
 * A person at the console does it, where there is a browser. Milliseconds from the button to 4 healthy instances on the
 * page; null when the app is still to be scaled.
 */
async function scaleByConsole(
  world: TourWorld,
  report: TourReport,
  byConsole: ScaleByConsole | null,
): Promise<number | null> {
  if (byConsole === null) {
    report.leaveOut(
      "console",
      "needs Chromium and Playwright, which the binary does not carry: npm run demo brings them",
    );
    return null;
  }
  const { client, lab } = world;
  let tookMs: number | null = null;
  const before = await world.instances(APP_V1);
  await report.check("console", async () => {
    const sight = await byConsole({
      url: `${client.url}/ui/`,
      token: client.token,
      app: `/${APP_V1}`,
      scaleTo: 4,
      hosts: lab.hosts,
      failureImage: `${lab.logsDir}/console.png`,
    });
    const real = (await world.settled(APP_V1, 4)).map(({ address }) => `${address}:${APP_PORT}`);
    const shown = sight.addresses;
    demand(sight.hosts === lab.hosts.length, () => `it shows ${sight.hosts} of ${lab.hosts.length} hosts`);
    demand(sight.before === before.length, () => `it showed ${sight.before} of ${before.length} instances`);
    demand(
      shown.toSorted().join() === real.toSorted().join(),
      () => `it shows ${shown.join(" ")}, and there are ${real.join(" ")}`,
    );
    demand(sight.passing === 4, () => `it shows ${sight.passing} of 4 endpoints as passing`);
    const { hosts, liveMs, followedMs, healthyMs } = sight;
    tookMs = healthyMs;
    const follow = `shown after ${followedMs} ms, 4 healthy after ${healthyMs} ms, 4 addresses and endpoints`;
    return `${hosts} hosts live in ${liveMs} ms; scaled there from ${sight.before} to 4: ${follow}`;
  });
  return tookMs;
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
        await awaitFollowed(world, [...old, ...fresh]);
      });
      const left = await timed(async () => {
        await world.client.cli(["app", "destroy", APP_V1]);
        await world.wait(`${APP_V1} to be gone`, 60_000, async () => (await world.instances(APP_V1)).length === 0);
        const fresh = await world.settled(APP_V2, EXAMPLE_V2.instances);
        await world.dnsFollows(`v1.${NAME}`, []);
        await awaitFollowed(world, fresh);
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
