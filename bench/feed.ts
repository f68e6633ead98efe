import { nodeDigest } from "../src/platform/digest/node-digest.ts";
import type { Ipv4 } from "../src/model/ip.ts";
import type { AppVersion } from "../src/model/app.ts";
import type { Endpoint } from "../src/model/endpoint.ts";
import type { Host } from "../src/model/host.ts";
import { formatVersion, type HostId, type InstanceId, type ServiceName } from "../src/model/ids.ts";
import type { Instance, InstanceStatus } from "../src/model/instance.ts";
import type { StoreWrite } from "../src/platform/ports/store.ts";
import { HTTP_CHECK, sampleSpec } from "../src/scheduling/sample-cluster.ts";
import { ClusterServer } from "../src/server/cluster-server.ts";
import { keyOf } from "../src/server/cluster-state.ts";
import { ConsoleFeed } from "../src/server/console-feed.ts";
import { feedState } from "../src/server/native-services.ts";
import { ServerViews } from "../src/server/server-views.ts";
import { FakeStore } from "../src/sim/fake-store.ts";
import { SeededRandom } from "../src/sim/seeded-random.ts";
import { VirtualClock } from "../src/sim/virtual-clock.ts";
import { DEFAULT_SETTINGS } from "../src/model/cluster.ts";
import { type Bench, median } from "./bench.ts";
import { SILENT_LOG } from "../src/sim/silent-log.ts";

const HOSTS = 100;
const APPS = 100;
const PER_APP = 50;
/** Instances whose state changes in a busy fold, as while a large app is deployed. */
const BUSY = 250;
/** A fold may take this long: it shares its thread with the APIs and the scheduler. */
const BUDGET_MS = 30;

/** What the console's feed costs the server at 100 hosts and 5,000 instances. */
export const benchFeed: Bench = async ({ rounds: wanted, quick, progress }) => {
  const rounds = wanted ?? (quick ? 5 : 25);
  const { server, clock, ids } = await largeServer();
  const views = new ServerViews(server, "0", () => clock.nowMs());
  const feed = new ConsoleFeed(() => feedState(server, views), clock);
  const messages: string[] = [];
  const client = { send: (text: string): void => void messages.push(text) };
  const joinMs = timed(() => feed.join(client));
  const snapshotBytes = messages[0]?.length ?? 0;
  const [one, busy, idle]: [number[], number[], number[]] = [[], [], []];
  for (let round = -3; round < rounds; round += 1) {
    progress(`feed: round ${round}`);
    for (const [count, list] of [
      [1, one],
      [BUSY, busy],
      [0, idle],
    ] as const) {
      for (const id of ids.slice(0, count))
        server.hub.statuses.set(id, running(round % 2 === 0 ? "unhealthy" : "healthy"));
      const ms = timed(() => feed.flush());
      // The first rounds are the compiler's.
      if (round >= 0) list.push(ms);
    }
  }
  const figures = {
    "fold, nothing changed, ms": median(idle),
    "fold, 1 instance changed, ms": median(one),
    [`fold, ${BUSY} instances changed, ms`]: median(busy),
    "first client's snapshot, ms": joinMs,
    "snapshot, KiB": snapshotBytes / 1024,
  };
  return {
    rounds,
    figures,
    ratios: { vs_budget: BUDGET_MS / median(busy) },
    notes: [`${HOSTS} hosts, ${APPS} apps, ${APPS * PER_APP} instances; the budget of a fold is ${BUDGET_MS} ms`],
  };
};

function timed(work: () => void): number {
  const startMs = performance.now();
  work();
  return performance.now() - startMs;
}

function running(health: "healthy" | "unhealthy"): InstanceStatus {
  return {
    phase: "running",
    containerId: "c".repeat(64),
    address: "10.2.1.7" as Ipv4,
    startedAtMs: 1,
    health,
    checks: [],
    condemned: false,
  };
}

async function largeServer(): Promise<{ server: ClusterServer; clock: VirtualClock; ids: readonly InstanceId[] }> {
  const clock = new VirtualClock();
  const random = new SeededRandom(1);
  const store = new FakeStore({ clock, random });
  const hosts = Array.from({ length: HOSTS }, (_, index) => sampleHost(index));
  const version = formatVersion(clock.nowMs());
  const apps = Array.from({ length: APPS }, (_, index) => sampleApp(index, version));
  const instances = apps.flatMap((app, index) => sampleInstances(app, index));
  const puts: StoreWrite[] = [
    ...hosts.map((host) => put(keyOf.host(host.id), host)),
    ...apps.flatMap((app) => [put(keyOf.app(app.spec.id), app), put(keyOf.version(app.spec.id, version), app)]),
    ...instances.map((instance) => put(keyOf.instance(instance.id), instance)),
  ];
  const filled = store.commit(puts);
  await clock.advance(1000);
  await filled;
  const opening = ClusterServer.open({ store, clock, random, log: SILENT_LOG, initial: DEFAULT_SETTINGS });
  await clock.advance(1000);
  const server = await opening;
  for (const { id, name } of hosts) {
    server.liveness.heard(id, clock.nowMs());
    const mine = instances.filter((instance) => instance.hostId === id);
    for (const instance of mine) server.hub.statuses.set(instance.id, running("healthy"));
    server.catalog.putHost({ name, address: "192.0.2.1" as Ipv4, up: true });
    server.catalog.applyEndpoints(name, {
      reset: true,
      upsert: mine.map((each) => endpointOf(name, each)),
      remove: [],
    });
  }
  return { server, clock, ids: instances.map((instance) => instance.id) };
}

function put(key: string, value: unknown): StoreWrite {
  return { kind: "put", key, value };
}

function sampleHost(index: number): Host {
  return {
    id: `host-${index}` as HostId,
    name: `host-${index}`,
    address: `192.0.2.${index}` as Ipv4,
    credentialHash: nodeDigest.sha256(String(index)),
    blocks: [`10.2.${index}.0/24`],
    resources: { cpus: 16, memoryMiB: 65_536, diskMiB: 100_000 },
    labels: { rack: `r${index % 10}` },
    joinedAtMs: 1,
    cordoned: false,
  };
}

function sampleApp(index: number, version: AppVersion["version"]): AppVersion {
  const spec = sampleSpec(`/team-${index % 10}/app-${index}`, { instances: PER_APP, healthChecks: [HTTP_CHECK] });
  return { spec, version, lastScalingAt: version, lastConfigChangeAt: version };
}

function sampleInstances({ spec, version }: AppVersion, index: number): readonly Instance[] {
  return Array.from({ length: PER_APP }, (_, number) => ({
    id: `team_app-${index}.instance-${crypto.randomUUID()}` as InstanceId,
    appId: spec.id,
    version,
    hostId: `host-${(index + number) % HOSTS}` as HostId,
    createdAtMs: number,
    goal: "running" as const,
  }));
}

function endpointOf(host: string, instance: Instance): Endpoint {
  return {
    id: `${host}:${instance.id}:8080`,
    service: instance.appId.slice(1).replace("/", "-") as ServiceName,
    address: "10.2.1.7" as Ipv4,
    port: 8080,
    protocol: "tcp",
    tags: ["v1"],
    meta: {},
    host,
    container: instance.id,
    instanceId: instance.id,
    appId: instance.appId,
    health: "passing",
  };
}
