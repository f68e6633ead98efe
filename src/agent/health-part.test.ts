import { expect, test } from "bun:test";
import { LocalHealth } from "../discovery/health/local-health.ts";
import type { HealthCheck } from "../model/app.ts";
import type { InstanceStatus } from "../model/instance.ts";
import { parseIpv4 } from "../model/ip.ts";
import { assign, assignmentOf, joinedState } from "../sim/agent-fixtures.ts";
import { FAKE_IMAGE, FakeEngine } from "../sim/fake-engine.ts";
import { FakeProber } from "../sim/fake-prober.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import type { AgentState } from "./agent-state.ts";
import { createHealthPart } from "./health-part.ts";
import { containerSpec } from "../sim/plain-container.ts";

const timing = { gracePeriodMs: 60_000, intervalMs: 5000, timeoutMs: 1000, maxConsecutiveFailures: 3 };
const HTTP: HealthCheck = { ...timing, kind: "http", path: "/", portIndex: 0, port: null, ignoreHttp1xx: false };
const PORTS = [
  { containerPort: 8080, hostPort: null, servicePort: 0, protocol: "tcp", name: null, labels: {} },
] as const;
const ADDRESS = parseIpv4("10.2.1.5");
const TARGET = "10.2.1.5:8080";

interface World {
  readonly clock: VirtualClock;
  readonly state: AgentState;
  readonly prober: FakeProber;
  readonly engine: FakeEngine;
  readonly run: () => () => Promise<void>;
}

function openWorld(checks: readonly HealthCheck[]): World {
  const clock = new VirtualClock();
  const state = joinedState();
  const prober = new FakeProber(clock);
  const engine = new FakeEngine({ clock, images: { web: FAKE_IMAGE } });
  assign(state, [assignmentOf("a", { spec: { healthChecks: checks, ports: PORTS } })]);
  state.setReportsKnown();
  const run = (): (() => Promise<void>) => {
    const abort = new AbortController();
    const running = createHealthPart({ state, engine, prober, clock, local: new LocalHealth(clock) }).run(abort.signal);
    return async () => {
      abort.abort();
      await clock.advance(2000);
      await running;
      expect(clock.pending).toBe(0);
    };
  };
  return { clock, state, prober, engine, run };
}

const ID = assignmentOf("a").instance.id;

function running(clock: VirtualClock, containerId = "c1"): InstanceStatus {
  return {
    phase: "running",
    containerId,
    address: ADDRESS,
    startedAtMs: clock.nowMs(),
    health: "unknown",
    checks: [],
    condemned: false,
  };
}

test("an instance that is ready after 400 ms is healthy within 200 ms more, then probed at its interval", async () => {
  const { clock, state, prober, run } = openWorld([HTTP]);
  const stop = run();
  state.setReport(ID, running(clock));
  expect(state.health.get(ID)).toMatchObject({ health: "unknown", containerId: "c1" });
  await clock.advance(400);
  prober.answers.set(TARGET, 200);
  const tookMs = await clock.advanceUntil("health", () => state.health.get(ID)?.health === "healthy");
  expect(tookMs).toBeLessThanOrEqual(250);
  const before = prober.probes.length;
  await clock.advance(20_000);
  expect(prober.probes.length - before).toBe(4);
  await stop();
});

test("one failure makes it unhealthy, three condemn it, a success heals it", async () => {
  const { clock, state, prober, run } = openWorld([HTTP]);
  const stop = run();
  prober.answers.set(TARGET, 200);
  state.setReport(ID, running(clock));
  await clock.advanceUntil("health", () => state.health.get(ID)?.health === "healthy");
  prober.answers.set(TARGET, 503);
  await clock.advance(5000);
  expect(state.health.get(ID)).toMatchObject({ health: "unhealthy", condemned: false });
  expect(state.health.get(ID)?.checks[0]?.lastFailureCause).toBe("HTTP status 503, wanted 200 to 399");
  prober.answers.delete(TARGET);
  await clock.advance(10_000);
  expect(state.health.get(ID)).toMatchObject({ health: "unhealthy", condemned: true });
  expect(state.health.get(ID)?.checks[0]?.lastFailureCause).toBe("connection refused");
  prober.answers.set(TARGET, 200);
  await clock.advance(5000);
  expect(state.health.get(ID)).toMatchObject({ health: "healthy", condemned: false });
  await stop();
});

test("successes that change nothing are not published", async () => {
  const { clock, state, prober, run } = openWorld([HTTP]);
  prober.answers.set(TARGET, 200);
  const stop = run();
  state.setReport(ID, running(clock));
  await clock.advance(100);
  let published = 0;
  state.on("health", () => (published += 1));
  await clock.advance(60_000);
  expect(published).toBe(0);
  await stop();
});

test("a restarted agent starts from the last known health, and a new container from nothing", async () => {
  const { clock, state, prober, run } = openWorld([HTTP]);
  prober.answers.set(TARGET, 200);
  const kill = run();
  state.setReport(ID, running(clock));
  await clock.advance(100);
  await kill();
  state.reports.clear();
  state.reportsKnown = false;
  const stop = run();
  await clock.advance(50);
  expect(state.health.get(ID)?.health).toBe("healthy");
  state.setReport(ID, running(clock));
  state.setReportsKnown();
  expect(state.health.get(ID)?.health).toBe("healthy");
  const before = prober.probes.length;
  await clock.advance(1000);
  expect(prober.probes.length).toBeGreaterThan(before);
  state.setReport(ID, running(clock, "c2"));
  expect(state.health.get(ID)).toMatchObject({ health: "unknown", containerId: "c2" });
  await stop();
});

test("probes end with the instance, and its record with the assignment", async () => {
  const { clock, state, prober, run } = openWorld([HTTP]);
  const stop = run();
  state.setReport(ID, running(clock));
  await clock.advance(100);
  state.setReport(ID, { phase: "stopping", sinceMs: 0 });
  const before = prober.probes.length;
  await clock.advance(10_000);
  expect(prober.probes.length).toBe(before);
  assign(state, [], [ID]);
  expect(state.health.size).toBe(0);
  await stop();
});

test("commands run in the container: exit code 0 passes, others and a hang fail", async () => {
  for (const [argv, expected] of [
    [["true"], null],
    [["false"], "the command ended with exit code 1"],
    [["sleep", "60"], "the command did not end within 1 s"],
  ] as const) {
    const check: HealthCheck = { ...timing, kind: "command", argv, gracePeriodMs: 0 };
    const { clock, state, engine, run } = openWorld([check]);
    let containerId = "";
    void engine
      .createContainer(containerSpec({ name: "a", image: "web" }))
      .then((id) => engine.startContainer((containerId = id)));
    await clock.advance(100);
    const stop = run();
    state.setReport(ID, running(clock, containerId));
    await clock.advance(2500);
    expect(state.health.get(ID)?.checks[0]?.lastFailureCause ?? null).toBe(expected);
    expect(state.health.get(ID)?.health).toBe(expected === null ? "healthy" : "unhealthy");
    await stop();
  }
});
