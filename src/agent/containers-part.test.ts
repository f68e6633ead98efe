import { expect, test } from "bun:test";
import fc from "fast-check";
import { AppError } from "../model/error.ts";
import type { InstanceId } from "../model/ids.ts";
import type { Assignment, InstanceGoal } from "../model/instance.ts";
import { parseIpv4 } from "../model/ip.ts";
import type { Engine } from "../platform/ports/engine.ts";
import { assign, assignmentOf, joinedState, recordingLog } from "../sim/agent-fixtures.ts";
import { FAKE_IMAGE, FakeEngine } from "../sim/fake-engine.ts";
import { MemoryFile } from "../sim/memory-file.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import type { AgentState } from "./agent-state.ts";
import { AddressBook } from "./address-book.ts";
import { createContainersPart } from "./containers-part.ts";
import { SECURE_AFTER_MS } from "./plan-containers.ts";
import { containerSpec } from "../sim/plain-container.ts";

const LATENCY_MS = { list: 3, inspect: 1, create: 20, start: 300, stop: 5, remove: 30, pull: 2000, logs: 5 };

interface World {
  readonly clock: VirtualClock;
  readonly engine: FakeEngine;
  readonly state: AgentState;
  readonly logged: readonly string[];
  /** Starts the part over this engine; the function kills it as `kill -9` would. */
  readonly start: () => () => Promise<void>;
}

function openWorld(): World {
  const clock = new VirtualClock();
  const images = {
    "web:1": FAKE_IMAGE,
    "job:1": { ...FAKE_IMAGE, argv: ["sh", "-c", "echo no database >&2; exit 3"] },
  };
  const engine = new FakeEngine({ clock, latencyMs: LATENCY_MS, images, registry: { "far:1": FAKE_IMAGE } });
  const log = recordingLog();
  const world = { clock, engine, state: joinedState(), logged: log.lines };
  void engine.createNetwork({
    name: "apollo",
    subnet: "10.2.0.0/16",
    ipRange: "10.2.1.0/24",
    gateway: parseIpv4("10.2.1.1"),
    reserved: {},
    options: {},
  });
  return {
    ...world,
    start: () => {
      const { mortal, kill } = mortalEngine(engine);
      const abort = new AbortController();
      const part = createContainersPart({
        state: world.state,
        engine: mortal,
        clock,
        log,
        book: new AddressBook({ state: world.state, file: new MemoryFile("/data/addresses.json", clock), clock, log }),
        hostAddress: parseIpv4("192.168.0.7"),
        network: {
          gateway: () => parseIpv4("10.2.1.1"),
          engineNetwork: () => ({ name: "apollo", fixedAddresses: true }),
        },
      });
      void part.run(abort.signal);
      return async () => {
        kill();
        abort.abort();
        await clock.advance(0);
      };
    },
  };
}

/** After `kill` no call returns to its caller, though the engine still does what it was asked: the caller is dead. */
function mortalEngine(engine: Engine): { readonly mortal: Engine; readonly kill: () => void } {
  let dead = false;
  const never = new Promise<never>(() => undefined);
  const mortal = new Proxy(engine, {
    get: (target, name) => {
      const member: unknown = Reflect.get(target, name);
      if (typeof member !== "function") return member;
      return (...args: unknown[]): Promise<unknown> => {
        if (dead) return never;
        const result = Reflect.apply(member, target, args) as Promise<unknown>;
        return result.then(
          (value) => (dead ? never : value),
          (error: unknown) => (dead ? never : Promise.reject(error as Error)),
        );
      };
    },
  });
  return { mortal, kill: () => (dead = true) };
}

function idOf(uuid: string): InstanceId {
  return assignmentOf(uuid).instance.id;
}

function phase(state: AgentState, uuid: string): string {
  return state.reports.get(idOf(uuid))?.phase ?? "none";
}

function reasonOf(state: AgentState, uuid: string): string {
  const report = state.reports.get(idOf(uuid));
  return report?.phase === "failed" ? report.reason : "";
}

test("an assigned instance is created, started and reported with its address", async () => {
  const { clock, engine, state, start } = openWorld();
  state.setConnected(true);
  const stop = start();
  assign(state, [assignmentOf("a")]);
  await clock.advance(50);
  expect(state.reports.get(idOf("a"))).toMatchObject({ phase: "staging", step: "creating" });
  await clock.advanceUntil("running", () => phase(state, "a") === "running");
  expect(state.reports.get(idOf("a"))).toMatchObject({
    address: "10.2.1.2",
    health: "none",
    checks: [],
    condemned: false,
  });
  expect(String(engine)).toBe("web.instance-a web:1 running 10.2.1.2");
  const container = await engineView(engine, clock, "web.instance-a");
  expect(container?.env).toMatchObject({ MARATHON_APP_ID: "/web", MESOS_TASK_ID: idOf("a"), HOST: "alpha" });
  await stop();
});

test("thirty instances take little more than the engine's own time, and few questions", async () => {
  const { clock, engine, state, start } = openWorld();
  state.setConnected(true);
  const stop = start();
  await clock.advance(100);
  assign(
    state,
    Array.from({ length: 30 }, (_, index) => assignmentOf(`n${index}`)),
  );
  const startMs = clock.nowMs();
  await clock.advanceUntil(
    "30 running",
    () => [...state.reports.values()].filter((r) => r.phase === "running").length === 30,
  );
  // Four at a time, 320 ms each: eight rounds.
  expect(clock.nowMs() - startMs).toBeLessThanOrEqual(8 * 320 + 50);
  expect(new Set([...state.reports.values()].map((report) => report.phase === "running" && report.address)).size).toBe(
    30,
  );
  await clock.advance(1000);
  expect(engine.calls.get("list")).toBeLessThanOrEqual(2);
  expect(engine.calls.get("inspect") ?? 0).toBeLessThanOrEqual(2);
  expect(engine.starts).toHaveLength(30);
  await stop();
});

test("a missing image is pulled once for all who wait; one that is nowhere fails with a reason", async () => {
  const { clock, engine, state, start } = openWorld();
  state.setConnected(true);
  const stop = start();
  assign(state, [
    assignmentOf("a", { spec: { image: "far:1" } }),
    assignmentOf("b", { spec: { image: "far:1" } }),
    assignmentOf("c", { spec: { image: "none:1" } }),
  ]);
  await clock.advance(500);
  expect(state.reports.get(idOf("a"))).toMatchObject({ phase: "staging", step: "pulling" });
  await clock.advanceUntil("a and b", () => phase(state, "a") === "running" && phase(state, "b") === "running");
  await clock.advanceUntil("c", () => phase(state, "c") === "failed");
  expect(engine.calls.get("pull")).toBe(2);
  expect(reasonOf(state, "c")).toContain('Cannot pull image "none:1"');
  expect(reasonOf(state, "c")).toContain("Push the image");
  const calls = engine.calls.get("create");
  await clock.advance(5000);
  expect(engine.calls.get("create")).toBe(calls ?? 0);
  await stop();
});

test("an exit is reported with code and last output while a server is connected, and not restarted", async () => {
  const { clock, engine, state, start } = openWorld();
  state.setConnected(true);
  const stop = start();
  assign(state, [assignmentOf("a", { spec: { image: "job:1" } })]);
  await clock.advanceUntil("failed", () => phase(state, "a") === "failed");
  expect(state.reports.get(idOf("a"))).toMatchObject({
    exitCode: 3,
    reason: "The instance exited with code 3. Its last output: no database",
  });
  await clock.advance(60_000);
  expect(engine.starts).toEqual(["web.instance-a"]);
  expect(String(engine)).toBe("web.instance-a job:1 exited(3) 10.2.1.2");
  assign(state, [], [idOf("a")]);
  await clock.advanceUntil("removal", () => String(engine) === "");
  await clock.advanceUntil("no report", () => phase(state, "a") === "none");
  await stop();
});

test("memory exhausted is told as such", async () => {
  const { clock, engine, state, start } = openWorld();
  state.setConnected(true);
  const stop = start();
  assign(state, [assignmentOf("a")]);
  await clock.advanceUntil("running", () => phase(state, "a") === "running");
  engine.crash("web.instance-a", 137, true);
  await clock.advanceUntil("failed", () => phase(state, "a") === "failed");
  expect(state.reports.get(idOf("a"))).toMatchObject({ exitCode: 137 });
  expect(reasonOf(state, "a")).toContain("more memory than its limit");
  await stop();
});

test("without a server a crashed instance is restarted in place, and stays when the server is back", async () => {
  const { clock, engine, state, start } = openWorld();
  state.setConnected(true);
  const stop = start();
  assign(state, [assignmentOf("a")]);
  await clock.advanceUntil("running", () => phase(state, "a") === "running");
  await clock.advance(SECURE_AFTER_MS + 500);
  state.setConnected(false);
  engine.crash("web.instance-a", 1);
  await clock.advance(2000);
  expect(phase(state, "a")).toBe("running");
  expect(engine.starts).toEqual(["web.instance-a", "web.instance-a"]);
  state.setConnected(true);
  await clock.advance(60_000);
  expect(phase(state, "a")).toBe("running");
  expect(engine.starts).toHaveLength(2);
  await stop();
});

test("alone for long, an instance that failed before is started again", async () => {
  const { clock, engine, state, start } = openWorld();
  state.setConnected(true);
  const stop = start();
  assign(state, [assignmentOf("a")]);
  await clock.advanceUntil("running", () => phase(state, "a") === "running");
  engine.crash("web.instance-a", 1);
  await clock.advanceUntil("failed", () => phase(state, "a") === "failed");
  state.setConnected(false);
  await clock.advance(5000);
  expect(phase(state, "a")).toBe("failed");
  await clock.advanceUntil("running again", () => phase(state, "a") === "running", 10_000);
  await stop();
});

test("draining runs on; stopped is ended with its grace, removed and reported gone", async () => {
  const { clock, engine, state, start } = openWorld();
  state.setConnected(true);
  const stop = start();
  assign(state, [assignmentOf("a", { spec: { stopGraceMs: 2000 } })]);
  await clock.advanceUntil("running", () => phase(state, "a") === "running");
  assign(state, [assignmentOf("a", { goal: "draining" })]);
  await clock.advance(5000);
  expect(phase(state, "a")).toBe("running");
  assign(state, [assignmentOf("a", { goal: "stopped", spec: { stopGraceMs: 2000 } })]);
  await clock.advance(1000);
  expect(phase(state, "a")).toBe("stopping");
  const tookMs = await clock.advanceUntil("gone", () => phase(state, "a") === "gone");
  expect(tookMs).toBeLessThan(1200);
  expect(String(engine)).toBe("");
  assign(state, [], [idOf("a")]);
  await clock.advance(10);
  expect(state.reports.size).toBe(0);
  await stop();
});

test("a container runs until this host's own ingress has let go of it, or does not come to it", async () => {
  const { clock, engine, state, start } = openWorld();
  state.setConnected(true);
  state.setReleased(0);
  state.setLocalEndpoints([]);
  start();
  const spec = { stopGraceMs: 0 };
  assign(state, [assignmentOf("a", { spec }), assignmentOf("b", { spec })]);
  await clock.advanceUntil("both", () => phase(state, "a") === "running" && phase(state, "b") === "running");
  assign(state, [assignmentOf("a", { spec, goal: "stopped" })]);
  await clock.advance(1000);
  expect(String(engine)).toContain("web.instance-a web:1 running");
  state.setReleased(state.localRevision);
  await clock.advance(100);
  expect(phase(state, "a")).toBe("gone");
  state.setLocalEndpoints([]);
  assign(state, [assignmentOf("b", { spec, goal: "stopped" })]);
  await clock.advance(1900);
  expect(phase(state, "b")).toBe("stopping");
  await clock.advance(300);
  expect(phase(state, "b")).toBe("gone");
});

test("what the server does not know of goes, but not while no server is connected, and nothing without our mark", async () => {
  const { clock, engine, state, start } = openWorld();
  state.setConnected(true);
  const stop = start();
  assign(state, [assignmentOf("a")]);
  await clock.advanceUntil("running", () => phase(state, "a") === "running");
  // A copy made by `docker commit` carries our labels, but not the name.
  const labels = (await engineView(engine, clock, "web.instance-a"))?.labels ?? {};
  const copy = containerSpec({ name: "mine", labels, network: "apollo", address: parseIpv4("10.2.1.99") });
  const foreign = await engineCall(clock, engine.createContainer(copy));
  await engineCall(clock, engine.startContainer(foreign));
  state.setConnected(false);
  state.receive({ type: "assignments", reset: true, upsert: [], remove: [] });
  await clock.advance(60_000);
  expect(String(engine)).toContain("web.instance-a");
  state.setConnected(true);
  await clock.advanceUntil("removal", () => !String(engine).includes("web.instance-a"));
  await clock.advance(60_000);
  expect(String(engine)).toBe("mine web:1 running 10.2.1.99");
  await stop();
});

test("an address that another container holds is left and another one taken", async () => {
  const { clock, engine, state, start } = openWorld();
  state.setConnected(true);
  const stop = start();
  await clock.advance(1000);
  engine.failNext("start", new AppError("conflict", "Address already in use", { details: { object: "address" } }));
  assign(state, [assignmentOf("a")]);
  await clock.advanceUntil("running", () => phase(state, "a") === "running");
  expect(String(engine)).toBe("web.instance-a web:1 running 10.2.1.3");
  await stop();
});

test("a full block fails the instance so that the server can place it elsewhere", async () => {
  const { clock, state, start } = openWorld();
  state.identity = state.identity === null ? null : { ...state.identity, blocks: ["10.2.1.0/30"] };
  state.setConnected(true);
  const stop = start();
  assign(state, [assignmentOf("a"), assignmentOf("b")]);
  await clock.advanceUntil("one failed", () => phase(state, "b") === "failed");
  await clock.advanceUntil("the other running", () => phase(state, "a") === "running");
  expect(reasonOf(state, "b")).toContain("10.2.1.0/30");
  await stop();
});

test("an engine that is down is a condition, not a failure of instances; its restart restarts nothing twice", async () => {
  const { clock, engine, state, start } = openWorld();
  state.setConnected(true);
  const stop = start();
  assign(state, [assignmentOf("a")]);
  await clock.advanceUntil("running", () => phase(state, "a") === "running");
  await clock.advance(SECURE_AFTER_MS + 500);
  engine.shutDown();
  assign(state, [assignmentOf("b")]);
  await clock.advanceUntil("the condition", () => state.conditions().some(({ code }) => code === "engine-unavailable"));
  expect(phase(state, "a")).toBe("running");
  expect(phase(state, "b")).toBe("staging");
  await clock.advance(5000);
  engine.comeUp();
  await clock.advanceUntil("b", () => phase(state, "b") === "running");
  await clock.advanceUntil("no condition", () => state.conditions().length === 0);
  expect(engine.starts).toEqual(["web.instance-a", "web.instance-a", "web.instance-b"]);
  await stop();
});

test("an engine that is stopped and started again brings its instances back, and none of them has failed", async () => {
  const { clock, engine, state, start } = openWorld();
  state.setConnected(true);
  const stop = start();
  assign(state, [assignmentOf("a"), assignmentOf("b")]);
  await clock.advanceUntil("both", () => phase(state, "a") === "running" && phase(state, "b") === "running");
  await clock.advance(SECURE_AFTER_MS + 500);
  void engine.shutDownGracefully();
  await clock.advance(4000);
  engine.comeUp();
  await clock.advance(30_000);
  expect([phase(state, "a"), phase(state, "b")]).toEqual(["running", "running"]);
  expect(engine.starts.filter((name) => name === "web.instance-a")).toHaveLength(2);
  await stop();
});

test("what a hand stops or removes in a server's sight has failed, and is not made again", async () => {
  const { clock, engine, state, start } = openWorld();
  state.setConnected(true);
  const stop = start();
  assign(state, [assignmentOf("a"), assignmentOf("b"), assignmentOf("c")]);
  const running = (uuid: string): boolean => phase(state, uuid) === "running";
  await clock.advanceUntil("all", () => ["a", "b", "c"].every(running));
  const ids = (await engineCall(clock, engine.listContainers())).map(({ id }) => id);
  const [first = "", second = ""] = ids;
  void engine.stopContainer(first, 0);
  void engine.removeContainer(second);
  await clock.advance(2000);
  expect(["a", "b", "c"].map((uuid) => phase(state, uuid)).toSorted()).toEqual(["failed", "failed", "running"]);
  expect(engine.starts).toHaveLength(3);
  await stop();
});

test("what ends at once is never run twice, what has run for a while is kept by the engine, also after an agent's end", async () => {
  const { clock, engine, state, start } = openWorld();
  state.setConnected(true);
  const kill = start();
  assign(state, [assignmentOf("a"), assignmentOf("b", { spec: { image: "job:1" } })]);
  await clock.advanceUntil("both ends", () => phase(state, "a") === "running" && phase(state, "b") === "failed");
  await kill();
  const stop = start();
  await clock.advance(SECURE_AFTER_MS + 1000);
  const policies = (await engineCall(clock, engine.listContainers())).map(({ name, restart }) => [name, restart]);
  expect(policies.toSorted(([a = ""], [b = ""]) => (a < b ? -1 : 1))).toEqual([
    ["web.instance-a", "unless-stopped"],
    ["web.instance-b", "no"],
  ]);
  expect(engine.calls.get("update")).toBe(1);
  expect(engine.starts.filter((name) => name === "web.instance-b")).toHaveLength(1);
  await stop();
});

test("the health part's word is in the report at once", async () => {
  const check = {
    kind: "tcp",
    portIndex: null,
    port: 80,
    gracePeriodMs: 1,
    intervalMs: 1,
    timeoutMs: 1,
    maxConsecutiveFailures: 1,
  } as const;
  const { clock, state, start } = openWorld();
  state.setConnected(true);
  const stop = start();
  assign(state, [assignmentOf("a", { spec: { healthChecks: [check] } })]);
  await clock.advanceUntil("running", () => phase(state, "a") === "running");
  const report = state.reports.get(idOf("a"));
  if (report?.phase !== "running") throw new Error("not running");
  expect(report.health).toBe("unknown");
  const record = { instanceId: idOf("a"), health: "healthy", checks: [], condemned: false } as const;
  state.setHealth(idOf("a"), { ...record, containerId: "another" });
  await clock.advance(1);
  expect(state.reports.get(idOf("a"))).toMatchObject({ health: "unknown" });
  state.setHealth(idOf("a"), { ...record, containerId: report.containerId });
  await clock.advance(0);
  expect(state.reports.get(idOf("a"))).toMatchObject({ health: "healthy" });
  await stop();
});

test("killed at any moment, the next agent converges: no double container, no restart of what runs", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 900 }), { minLength: 1, maxLength: 4 }), async (moments) => {
      const { clock, engine, state, start } = openWorld();
      state.setConnected(true);
      await clock.advance(100);
      const wanted = ["a", "b", "c", "d", "e", "f"].map((uuid) => assignmentOf(uuid));
      assign(state, [...wanted, assignmentOf("z", { goal: "stopped" })]);
      for (const moment of moments) {
        const kill = start();
        await clock.advance(moment);
        await kill();
        state.reports.clear();
      }
      const stop = start();
      await clock.advanceUntil("all running", () =>
        wanted.every(({ instance }) => state.reports.get(instance.id)?.phase === "running"),
      );
      await clock.advance(1000);
      expect(
        String(engine)
          .split("\n")
          .map((line) => line.split(" ").slice(0, 3).join(" ")),
      ).toEqual(wanted.map(({ instance }) => `${instance.id} web:1 running`));
      expect(engine.starts.toSorted()).toEqual(wanted.map(({ instance }) => instance.id as string));
      expect(
        new Set(
          String(engine)
            .split("\n")
            .map((line) => line.split(" ")[3]),
        ).size,
      ).toBe(wanted.length);
      await stop();
    }),
    { numRuns: 25 },
  );
});

test("whatever the server wants in whatever order, the engine ends with exactly that, and then rests", async () => {
  const wish = fc.record({
    uuid: fc.constantFrom("a", "b", "c", "d"),
    goal: fc.constantFrom<InstanceGoal | "removed">("running", "running", "draining", "stopped", "removed"),
    crash: fc.boolean(),
    waitMs: fc.integer({ min: 0, max: 700 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(wish, { minLength: 1, maxLength: 12 }), async (wishes) => {
      const { clock, engine, state, start } = openWorld();
      state.setConnected(true);
      const stop = start();
      const last = new Map<string, Assignment>();
      for (const { uuid, goal, crash, waitMs } of wishes) {
        if (goal === "removed") {
          last.delete(uuid);
          assign(state, [], [idOf(uuid)]);
        } else {
          const assignment = assignmentOf(uuid, { goal, spec: { stopGraceMs: 300 } });
          last.set(uuid, assignment);
          assign(state, [assignment]);
        }
        if (crash && String(engine).includes(`web.instance-${uuid} web:1 running`))
          engine.crash(`web.instance-${uuid}`, 1);
        await clock.advance(waitMs);
      }
      await clock.advance(2 * SECURE_AFTER_MS);
      for (const [uuid, assignment] of last) {
        const expected = assignment.instance.goal === "stopped" ? ["gone"] : ["running", "failed", "gone"];
        expect(expected).toContain(phase(state, uuid));
        const line = String(engine)
          .split("\n")
          .find((text) => text.startsWith(`web.instance-${uuid} `));
        expect({ uuid, running: line?.includes(" running ") ?? false }).toEqual({
          uuid,
          running: phase(state, uuid) === "running",
        });
      }
      expect(
        String(engine)
          .split("\n")
          .filter((line) => line !== "").length,
      ).toBeLessThanOrEqual(last.size);
      const calls = JSON.stringify([...engine.calls]);
      await clock.advance(5000);
      expect(JSON.stringify([...engine.calls])).toBe(calls);
      await stop();
    }),
    { numRuns: 40 },
  );
});

async function engineCall<Result>(clock: VirtualClock, call: Promise<Result>): Promise<Result> {
  let done = false;
  void call.then(() => (done = true));
  await clock.advanceUntil("the engine's answer", () => done);
  return call;
}

function engineView(engine: FakeEngine, clock: VirtualClock, name: string): ReturnType<Engine["inspectContainer"]> {
  return engineCall(clock, engine.inspectContainer(name));
}
