import { existsSync } from "node:fs";
import { parseAdminConfig } from "../src/lab/apollo-daemons.ts";
import { publishWebImage, WEB_IMAGE } from "../src/lab/images.ts";
import { type Lab, upLab } from "../src/lab/lab.ts";
import { processOf } from "../src/lab/lab-state.ts";
import { waitFor } from "../src/lab/wait-for.ts";
import { DockerEngine } from "../src/platform/docker/docker-engine.ts";
import type { Engine } from "../src/platform/ports/engine.ts";
import { systemClock } from "../src/platform/clock/system-clock.ts";
import { type Bench, median } from "./bench.ts";
import { containerSpec } from "../src/sim/plain-container.ts";
import { swarmUp } from "./swarm.ts";
import { SERVER_TLS_NAME } from "../src/model/server-name.ts";

const HOSTS = 3;
const INSTANCES = 30;
const ROUNDS = 5;
const DEADLINE_MS = 180_000;
const APP = "bench-web";
const PORT = 80;
const BINARY = "dist/apollo";
/** Containers that one engine works on at once in the raw rounds; the agent's own limit is the same. */
const RAW_PARALLEL = 4;

/** Seconds between two checks, the same for us and for Swarm; the 2015 definitions have 10. */
const CHECK_INTERVAL_S = 10;

/**
 * Time from the request until 30 instances of a small web server are healthy, on three engines of one machine. Peers: the
 * same containers made and started by the engines' API alone; Swarm on the same engines with the same check, until all
 * are healthy; and Swarm without any check, until all run, which is less than we are asked for.
 */
export const benchDeploy: Bench = async ({ rounds: wanted, quick, progress }) => {
  const rounds = wanted ?? (quick ? 1 : ROUNDS);
  progress(`lab with ${HOSTS} hosts…`);
  const lab = await upLab({ hosts: HOSTS, binary: BINARY, onProgress: progress });
  try {
    await publishWebImage(lab.name, lab.hosts[0] ?? "h1");
    for (const host of lab.hosts) await lab.mustExec(host, ["docker", "pull", "-q", WEB_IMAGE], { timeoutMs: 60_000 });
    await swarmUp(lab, { network: SWARM_NETWORK, options: ["--subnet", "10.9.0.0/16"] });
    const api = await openApi(lab);
    const engines = lab.hosts.map((host) => engineOf(lab, host));
    const seconds = { apollo: [] as number[], raw: [] as number[], swarm: [] as number[], unchecked: [] as number[] };
    for (let round = 0; round < rounds; round++) {
      seconds.apollo.push(await apolloRound(api));
      seconds.raw.push(await rawRound(engines));
      seconds.swarm.push(await swarmRound(lab, { checked: true }));
      seconds.unchecked.push(await swarmRound(lab, { checked: false }));
      const [a, b, c, d] = Object.values(seconds).map((all) => (all.at(-1) ?? 0).toFixed(1));
      progress(`round ${round + 1}/${rounds}: apollo ${a} s, raw engine ${b} s, swarm ${c} s, without a check ${d} s`);
    }
    const rate = (all: readonly number[]): number => INSTANCES / median(all);
    const pairs = (peer: readonly number[]): number =>
      median(peer.map((each, index) => each / (seconds.apollo[index] ?? Number.NaN)));
    return {
      rounds,
      figures: {
        apollo_s: median(seconds.apollo),
        raw_engine_s: median(seconds.raw),
        swarm_s: median(seconds.swarm),
        swarm_unchecked_s: median(seconds.unchecked),
        apollo_per_s: rate(seconds.apollo),
        raw_engine_per_s: rate(seconds.raw),
        swarm_per_s: rate(seconds.swarm),
        swarm_unchecked_per_s: rate(seconds.unchecked),
      },
      ratios: {
        vs_raw_engine: pairs(seconds.raw),
        vs_swarm: pairs(seconds.swarm),
        vs_swarm_unchecked: pairs(seconds.unchecked),
      },
      notes: [
        `${INSTANCES} instances on ${HOSTS} engines; ours counts until every instance answered its HTTP check`,
        "raw engine: create and start by the API, 4 at once on each engine, no check",
        `Swarm: until all replicas are healthy by the same check every ${CHECK_INTERVAL_S} s; the engine waits one interval before its first probe, our agent does not`,
        "Swarm without a check: until all replicas run; ours is still with its check",
        "ratios are medians of the ratios of each round, since the machine is shared",
      ],
    };
  } finally {
    await lab.down();
  }
};

/** The engine of a host by its socket, which lies inside the host's own root. */
function engineOf(lab: Lab, host: string): Engine {
  const { pid } = processOf(lab.name, host);
  const socket = ["/run/docker.sock", "/var/run/docker.sock"]
    .map((path) => `/proc/${pid}/root${path}`)
    .find((path) => existsSync(path));
  if (socket === undefined) throw new Error(`Host ${host} has no engine socket`);
  return new DockerEngine({ socketPath: socket, clock: systemClock });
}

type Api = (method: string, path: string, body?: unknown) => Promise<unknown>;

async function openApi(lab: Lab): Promise<Api> {
  const admin = parseAdminConfig(await Bun.file(lab.adminConfigPath).text());
  const tls = { ca: admin.ca, serverName: SERVER_TLS_NAME };
  return async (method, path, body) => {
    const headers = { authorization: `Bearer ${admin.token}`, "content-type": "application/json" };
    const init = { method, headers, tls, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
    const response = await fetch(`${admin.url}${path}`, init);
    if (!response.ok && response.status !== 404)
      throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return response.status === 404 ? null : response.json();
  };
}

async function apolloRound(api: Api): Promise<number> {
  const started = performance.now();
  await api("POST", "/v2/apps", {
    id: APP,
    instances: INSTANCES,
    cpus: 0.01,
    mem: 16,
    container: {
      type: "DOCKER",
      docker: { image: WEB_IMAGE, network: "BRIDGE", portMappings: [{ containerPort: PORT }] },
    },
    healthChecks: [
      {
        protocol: "HTTP",
        path: "/",
        portIndex: 0,
        gracePeriodSeconds: 30,
        intervalSeconds: CHECK_INTERVAL_S,
        timeoutSeconds: 5,
      },
    ],
  });
  await waitFor(
    async () =>
      ((await api("GET", `/v2/apps/${APP}`)) as { app: { tasksHealthy: number } }).app.tasksHealthy === INSTANCES,
    {
      what: `${INSTANCES} healthy instances`,
      timeoutMs: DEADLINE_MS,
      intervalMs: 100,
    },
  );
  const seconds = (performance.now() - started) / 1000;
  await api("DELETE", `/v2/apps/${APP}`);
  await waitFor(async () => ((await api("GET", "/v2/deployments")) as unknown[]).length === 0, {
    what: "the end of the app",
    timeoutMs: DEADLINE_MS,
  });
  return seconds;
}

async function rawRound(engines: readonly Engine[]): Promise<number> {
  const started = performance.now();
  const made = await Promise.all(engines.map((engine, index) => rawHost(engine, index)));
  const seconds = (performance.now() - started) / 1000;
  await Promise.all(made.map((ids, index) => removeAll(engines[index], ids)));
  return seconds;
}

/** The containers that the agent makes, without an agent. */
async function rawHost(engine: Engine, index: number): Promise<readonly string[]> {
  const share = INSTANCES / HOSTS;
  const ids: string[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < share) {
      const number = next++;
      const spec = containerSpec({
        name: `bench-raw-${index}-${number}`,
        image: WEB_IMAGE,
        cpus: 0.01,
        memoryBytes: 16 * 2 ** 20,
        network: "apollo",
        exposedPorts: [{ port: PORT, protocol: "tcp" }],
        stopGraceMs: 1000,
      });
      const id = await engine.createContainer(spec);
      await engine.startContainer(id);
      ids.push(id);
    }
  };
  await Promise.all(Array.from({ length: RAW_PARALLEL }, worker));
  return ids;
}

async function removeAll(engine: Engine | undefined, ids: readonly string[]): Promise<void> {
  for (const id of ids) await engine?.removeContainer(id);
}

const SWARM_NETWORK = "bench-overlay";

/** Swarm counts a replica with a check as running when it is healthy. */
async function swarmRound(lab: Lab, { checked }: { readonly checked: boolean }): Promise<number> {
  const [first = "h1"] = lab.hosts;
  const docker = (...argv: string[]): Promise<string> =>
    lab.mustExec(first, ["docker", ...argv], { timeoutMs: DEADLINE_MS });
  const command = `wget -q -O /dev/null http://127.0.0.1:${PORT}/ || exit 1`;
  const check = ["--health-cmd", command, "--health-interval", `${CHECK_INTERVAL_S}s`, "--health-timeout", "5s"];
  const started = performance.now();
  await docker(
    "service",
    "create",
    "--detach",
    "--quiet",
    "--name",
    APP,
    "--replicas",
    String(INSTANCES),
    "--endpoint-mode",
    "dnsrr",
    "--network",
    SWARM_NETWORK,
    "--no-resolve-image",
    "--limit-memory",
    "16m",
    ...(checked ? check : ["--no-healthcheck"]),
    WEB_IMAGE,
  );
  await waitFor(
    async () =>
      (await docker("service", "ls", "--filter", `name=${APP}`, "--format", "{{.Replicas}}")).startsWith(
        `${INSTANCES}/`,
      ),
    {
      what: `${INSTANCES} running replicas`,
      timeoutMs: DEADLINE_MS,
      intervalMs: 100,
    },
  );
  const seconds = (performance.now() - started) / 1000;
  await docker("service", "rm", APP);
  const left = async (host: string): Promise<boolean> =>
    (await lab.mustExec(host, ["docker", "ps", "-aq", "--filter", `name=${APP}`])).trim() !== "";
  for (const host of lab.hosts) {
    await waitFor(async () => !(await left(host)), {
      what: `the end of Swarm's containers on ${host}`,
      timeoutMs: DEADLINE_MS,
      intervalMs: 200,
    });
  }
  return seconds;
}
