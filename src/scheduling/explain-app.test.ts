import { expect, test } from "bun:test";
import type { LastFailure, Problem } from "../model/deployment.ts";
import type { InstanceStatus } from "../model/instance.ts";
import type { HostId, InstanceId } from "../model/ids.ts";
import { parseIpv4 } from "../model/ip.ts";
import type { AppView, InstanceView } from "./app-service.ts";
import { explainApp } from "./explain-app.ts";
import { SAMPLE_START_MS, sampleSpec, sampleVersion } from "./sample-cluster.ts";

const NOW_MS = SAMPLE_START_MS + 60_000;
const current = sampleVersion(sampleSpec("/web", { instances: 2 }));
const running = (health: "none" | "unhealthy" | "unknown" = "none", cause: string | null = null): InstanceStatus => ({
  phase: "running",
  containerId: "c",
  address: parseIpv4("10.2.1.2"),
  startedAtMs: SAMPLE_START_MS,
  health,
  checks:
    cause === null
      ? []
      : [
          {
            alive: false,
            consecutiveFailures: 2,
            firstSuccessMs: null,
            lastSuccessMs: null,
            lastFailureMs: 1,
            lastFailureCause: cause,
          },
        ],
  condemned: false,
});
const copy = (status: InstanceStatus | null, change: Partial<InstanceView> = {}): InstanceView => ({
  instance: {
    id: "web.instance-1" as InstanceId,
    appId: current.spec.id,
    version: current.version,
    hostId: "h1" as HostId,
    createdAtMs: SAMPLE_START_MS,
    goal: "running",
  },
  hostName: "h1",
  hostAddress: "192.0.2.1",
  hostUp: true,
  spec: current.spec,
  status,
  current: true,
  ...change,
});
const view = (change: Partial<AppView> = {}): AppView => ({
  current,
  instances: [copy(running()), copy(running())],
  deployments: [],
  lastFailure: null,
  problem: null,
  ...change,
});
const failure: LastFailure = {
  appId: current.spec.id,
  instanceId: "web.instance-0" as InstanceId,
  host: "h2",
  message: 'no image "app:9"',
  atMs: SAMPLE_START_MS,
  version: current.version,
};

test("explainApp() says that all is well", () => {
  expect(explainApp(view(), NOW_MS)).toEqual({
    app: "/web",
    wanted: 2,
    running: 2,
    summary: "Running as declared",
    code: null,
    hosts: [],
    retryAtMs: null,
    lastFailure: null,
  });
  const suspended = { ...current, spec: { ...current.spec, instances: 0 } };
  expect(explainApp(view({ current: suspended, instances: [] }), NOW_MS).summary).toBe(
    "Suspended: no instances are wanted",
  );
});

test("explainApp() gives the reasons of hosts with numbers", () => {
  const hosts = [{ host: "h1", reason: "needs 0.3 cpu, 0.1 free" }];
  const message = 'Cannot place 1 instance of "/web": of 1 host, 1 short of cpu';
  const problem: Problem = { appId: current.spec.id, code: "no-capacity", message, count: 1, hosts, retryAtMs: null };
  expect(explainApp(view({ problem, instances: [copy(running())] }), NOW_MS)).toMatchObject({
    running: 1,
    code: "no-capacity",
    summary: message,
    hosts,
  });
});

test("explainApp() gives the time left of a backoff and the failure behind it", () => {
  const retryAtMs = NOW_MS + 12_300;
  const problem: Problem = { appId: current.spec.id, code: "backoff", message: "", count: 2, hosts: [], retryAtMs };
  expect(explainApp(view({ problem, instances: [], lastFailure: failure }), NOW_MS)).toMatchObject({
    code: "backoff",
    summary: 'Waiting 13 s before the next start: no image "app:9" (on h2)',
    retryAtMs,
    lastFailure: { host: "h2", message: 'no image "app:9"' },
  });
});

test("explainApp() names the one thing that holds the app up", () => {
  const pulling: InstanceStatus = { phase: "staging", step: "pulling", sinceMs: NOW_MS - 5000 };
  const leaving = copy(running(), { instance: { ...copy(null).instance, goal: "stopped" } });
  const table: { instances: InstanceView[]; code: string; summary: string }[] = [
    {
      instances: [copy(pulling), copy(running())],
      code: "starting",
      summary: "Starting 1 instance for 5 s: 1 pulling the image",
    },
    {
      instances: [copy(null), copy(pulling)],
      code: "starting",
      summary: "Starting 2 instances for 60 s: 1 pulling the image, 1 sent to its host",
    },
    {
      instances: [copy(running("unknown")), copy(running())],
      code: "unhealthy",
      summary: "1 instance waiting for the first success of the health checks",
    },
    {
      instances: [copy(running("unhealthy", "HTTP 503")), copy(running())],
      code: "unhealthy",
      summary: "1 instance not healthy; on h1: HTTP 503",
    },
    {
      instances: [copy(running(), { hostUp: false, hostName: "h3" }), copy(running())],
      code: "host-down",
      summary: "1 instance on a host that is not heard of: h3",
    },
    {
      instances: [copy(running(), { current: false }), copy(running())],
      code: "outdated",
      summary: "1 instance of 2 run an older definition",
    },
    { instances: [copy(running()), copy(running()), leaving], code: "stopping", summary: "Ending 1 instance" },
    {
      instances: [copy(running())],
      code: "waiting",
      summary: "1 of 2 instances are there; the rest is about to start",
    },
  ];
  for (const { instances, code, summary } of table) {
    expect(explainApp(view({ instances }), NOW_MS)).toMatchObject({ code, summary });
  }
});

test("explainApp() tells a failure while it is news", () => {
  expect(explainApp(view({ lastFailure: failure }), NOW_MS).lastFailure?.instance).toBe("web.instance-0");
  expect(explainApp(view({ lastFailure: failure }), NOW_MS + 3_600_000).lastFailure).toBeNull();
});
