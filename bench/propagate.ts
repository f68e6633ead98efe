import { LoadClient } from "../src/lab/load-client.ts";
import type { TourWorld } from "../src/lab/tour-world.ts";
import { AppError } from "../src/model/error.ts";
import { systemClock } from "../src/platform/clock/system-clock.ts";
import { clusterUp, deploy, testLabName, webApp } from "../test/e2e/cluster.fixture.ts";
import type { Bench } from "./bench.ts";
import {
  BACKEND_PORT,
  type Bed,
  checkAndBack,
  CONTAINERS,
  killAndReplace,
  type Latency,
  REGISTERED,
  registerAndBack,
  watchAll,
} from "./propagate/changes.ts";
import { HostProbe } from "./propagate/host-probe.ts";
import { measureReloads, type PeerTimes } from "./propagate/reload-peer.ts";

const HOSTS = 3;
const INSTANCES = 6;
/** What DESIGN promises. */
const DNS_BUDGET_MS = 100;
const PROXY_BUDGET_MS = 150;
/** From each host, for each of the two services. */
const REQUESTS_PER_S = 10;
const LAG_SLEEP_MS = 2;
const COUNTS = { registered: 26, checked: 16, killed: 10, reloads: 50 } as const;
const QUICK_COUNTS = { registered: 4, checked: 3, killed: 2, reloads: 10 } as const;

/** How long it takes from a change until every host's DNS answers it, and until every host's HAProxy serves it. */
export const benchPropagate: Bench = async ({ quick, progress }) => {
  const counts = quick ? QUICK_COUNTS : COUNTS;
  progress(`lab with ${HOSTS} hosts…`);
  const world = await clusterUp(testLabName("prop"), HOSTS);
  const probes: HostProbe[] = [];
  try {
    for (const host of world.lab.hosts) probes.push(new HostProbe(world.lab.name, host));
    const bed: Bed = { world, probes };
    await prepare(bed);
    const loads = await startLoads(world);
    const meter = measureLag();
    const all: Latency[] = [];
    const note = (latencies: readonly Latency[]): void => {
      for (const { cause, dnsMs, proxyMs } of latencies)
        progress(
          `${cause.padEnd(18)} DNS ${dnsMs.toFixed(1).padStart(7)} ms, HAProxy ${proxyMs.toFixed(1).padStart(7)} ms`,
        );
      all.push(...latencies);
    };
    for (let turn = 0; turn < counts.registered; turn += 1) note(await registerAndBack(bed, turn));
    note(await checkAndBack(bed, counts.checked));
    for (let turn = 0; turn < counts.killed; turn += 1) note(await killAndReplace(bed, turn, INSTANCES));
    // With the lab still up: the machine has the same to do for both.
    const peer = await measureReloads(counts.reloads);
    return result(all, { ...(await stopLoads(loads, world)), lagMs: await meter.stop() }, peer);
  } finally {
    await Promise.all(probes.map((probe) => probe.stop()));
    await world.lab.down();
  }
};

async function prepare(bed: Bed): Promise<void> {
  const { world, probes } = bed;
  const cmd = "httpd -f -v -p 80 -h /www & trap 'exit 0' TERM; wait";
  // A container that is killed is to come back at once, however often that happens.
  await deploy(world, webApp(CONTAINERS, { instances: INSTANCES, cmd, backoffSeconds: 0, backoffFactor: 1 }));
  for (const probe of probes) await probe.serve(BACKEND_PORT, probe.host);
  const [first] = probes;
  if (first === undefined) throw new Error("The lab has no host");
  const { address } = world.lab.node(first.host);
  const body = { Name: REGISTERED, ID: "staying", Address: address, Port: BACKEND_PORT };
  // A new service is a new backend, which HAProxy is reloaded for: that is not what is measured.
  await watchAll(bed, {
    service: REGISTERED,
    causes: ["first"],
    steps: [{ address, present: true }],
    change: () => first.put("/v1/agent/service/register", body),
  });
}

async function startLoads(world: TourWorld): Promise<readonly LoadClient[]> {
  const { lab } = world;
  const loads = lab.hosts.flatMap((host) =>
    [REGISTERED, CONTAINERS].map((service) => {
      const url = `http://${lab.node(host).address}/`;
      return new LoadClient(lab.name, host, { url, hostHeader: `${service}.example.com`, ratePerS: REQUESTS_PER_S });
    }),
  );
  await Promise.all(loads.map((load) => load.start()));
  return loads;
}

/** How late this machine runs a timer meanwhile: no change can be faster than that. */
function measureLag(): { readonly stop: () => Promise<readonly number[]> } {
  const lagMs: number[] = [];
  const end = new AbortController();
  const done = (async () => {
    while (!end.signal.aborted) {
      const startMs = performance.now();
      await systemClock.sleep(LAG_SLEEP_MS);
      lagMs.push(performance.now() - startMs - LAG_SLEEP_MS);
    }
    return lagMs;
  })();
  return {
    stop: () => {
      end.abort();
      return done;
    },
  };
}

interface LoadSum {
  readonly requests: number;
  readonly failures: readonly string[];
}

type Around = LoadSum & { readonly lagMs: readonly number[] };

async function stopLoads(loads: readonly LoadClient[], { lab }: TourWorld): Promise<LoadSum> {
  const results = await Promise.all(loads.map((load) => load.stop()));
  const bodies = results.flatMap((each) => each.bodies);
  const [staying, ...others] = lab.hosts;
  if (!others.some((host) => bodies.includes(host)))
    throw new AppError(
      "unavailable",
      `All requests were answered by the endpoint on ${staying}: none by one that came`,
    );
  return {
    requests: results.reduce((sum, { requests }) => sum + requests, 0),
    failures: results.flatMap(({ failures }) => failures),
  };
}

function result(all: readonly Latency[], around: Around, peer: PeerTimes | null): Awaited<ReturnType<Bench>> {
  const dns = all.map(({ dnsMs }) => dnsMs);
  const proxy = all.map(({ proxyMs }) => proxyMs);
  const byCause = [...Map.groupBy(all, ({ cause }) => cause)].flatMap(([cause, each]) => {
    const key = cause.replaceAll(" ", "_");
    const [ofDns, ofProxy] = [each.map(({ dnsMs }) => dnsMs), each.map(({ proxyMs }) => proxyMs)];
    return [
      [`${key}_dns_p50_ms`, quantile(ofDns, 0.5)],
      [`${key}_dns_p99_ms`, quantile(ofDns, 0.99)],
      [`${key}_haproxy_p50_ms`, quantile(ofProxy, 0.5)],
      [`${key}_haproxy_p99_ms`, quantile(ofProxy, 0.99)],
    ] as const;
  });
  const figures = {
    changes: all.length,
    dns_p50_ms: quantile(dns, 0.5),
    dns_p99_ms: quantile(dns, 0.99),
    haproxy_p50_ms: quantile(proxy, 0.5),
    haproxy_p99_ms: quantile(proxy, 0.99),
    requests: around.requests,
    failed_requests: around.failures.length,
    timer_lag_p99_ms: quantile(around.lagMs, 0.99),
    ...Object.fromEntries(byCause),
  };
  const reloads = {
    dns_p50_ms: quantile(peer?.dnsMs ?? [], 0.5),
    dns_p99_ms: quantile(peer?.dnsMs ?? [], 0.99),
    haproxy_p50_ms: quantile(peer?.proxyMs ?? [], 0.5),
    haproxy_p99_ms: quantile(peer?.proxyMs ?? [], 0.99),
  };
  return {
    rounds: 1,
    figures: {
      ...figures,
      ...(peer === null ? {} : Object.fromEntries(Object.entries(reloads).map(([key, ms]) => [`reload_${key}`, ms]))),
    },
    ratios: {
      dns_vs_budget: DNS_BUDGET_MS / figures.dns_p99_ms,
      haproxy_vs_budget: PROXY_BUDGET_MS / figures.haproxy_p99_ms,
      ...(peer === null
        ? {}
        : {
            dns_vs_reload: reloads.dns_p99_ms / figures.dns_p99_ms,
            haproxy_vs_reload: reloads.haproxy_p99_ms / figures.haproxy_p99_ms,
          }),
    },
    notes: [
      `${HOSTS} hosts; a change counts when the last of them answers it, asked every 2 ms`,
      "registered, passing, failing: from the request to Consul's API on a host; dies: from the kill of its first process; healthy: from its own first good answer to its check",
      `${REQUESTS_PER_S} requests a second to each of 2 services through the HAProxy of each host, a new connection each`,
      "reload: one host that knows of the change already; a hosts file and SIGHUP to dnsmasq, a configuration, its check and a reload of HAProxy; ours is on three hosts, with the durable write",
      ...new Set(around.failures),
    ],
  };
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
