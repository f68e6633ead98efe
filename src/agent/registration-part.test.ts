import { expect, test } from "bun:test";
import type { Container } from "../model/container.ts";
import { DEFAULT_SETTINGS } from "../model/cluster.ts";
import { AppError } from "../model/error.ts";
import type { HostId } from "../model/ids.ts";
import { parseIpv4 } from "../model/ip.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { EngineEvent, EngineNetwork } from "../platform/ports/engine.ts";
import { FakeProcessWatcher } from "../sim/fake-process-watcher.ts";
import { AgentState } from "./agent-state.ts";
import { createRegistrationPart } from "./registration-part.ts";
import { SILENT_LOG } from "../sim/silent-log.ts";
import { containerOf } from "../model/container.fixture.ts";

/** Time that passes only when told to. */
class ManualClock implements Clock {
  #now = 0;
  readonly #sleepers = new Set<{ readonly at: number; readonly wake: () => void }>();
  nowMs = (): number => this.#now;
  monotonicMs = (): number => this.#now;

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#sleepers.delete(sleeper);
        signal?.removeEventListener("abort", wake);
        resolve();
      };
      const sleeper = { at: this.#now + ms, wake };
      this.#sleepers.add(sleeper);
      if (signal?.aborted === true) wake();
      else signal?.addEventListener("abort", wake);
    });
  }

  async advance(ms: number): Promise<void> {
    this.#now += ms;
    for (const sleeper of this.#sleepers) if (sleeper.at <= this.#now) sleeper.wake();
    await settle();
  }
}

/** Lets every promise that can go on do so; a listing takes a few turns. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await Promise.resolve();
}

/** An engine that answers some turns later with what it held when it was asked. */
class FakeEngine {
  readonly containers = new Map<string, Container>();
  networks: readonly EngineNetwork[] = [];
  listings = 0;
  fault: AppError | null = null;
  #onEvent: ((event: EngineEvent) => void) | null = null;

  async listContainers(): Promise<readonly Container[]> {
    this.listings += 1;
    const { fault } = this;
    const held = [...this.containers.values()];
    for (let turn = 0; turn < 5; turn++) await Promise.resolve();
    if (fault !== null) throw fault;
    return held;
  }

  async inspectContainer(id: string): Promise<Container | null> {
    const { fault } = this;
    const held = this.containers.get(id) ?? null;
    for (let turn = 0; turn < 3; turn++) await Promise.resolve();
    if (fault !== null) throw fault;
    return held;
  }

  listNetworks(): Promise<readonly EngineNetwork[]> {
    return Promise.resolve(this.networks);
  }

  watch(onEvent: (event: EngineEvent) => void, signal: AbortSignal): Promise<void> {
    this.#onEvent = onEvent;
    return new Promise((resolve) => signal.addEventListener("abort", () => resolve()));
  }

  start(name: string, over: Partial<Container> = {}): void {
    this.containers.set(name, container(name, over));
    this.say("start", name);
  }

  say(action: string, id: string): void {
    this.#onEvent?.({ kind: "container", action, id });
  }
}

function container(name: string, over: Partial<Container> = {}): Container {
  return containerOf({
    id: name,
    name,
    env: { SERVICE_NAME: "web" },
    addresses: { apollo: parseIpv4("10.2.1.7") },
    exposedPorts: [{ port: 8080, protocol: "tcp" }],
    ...over,
  });
}

interface Setup {
  readonly state: AgentState;
  readonly engine: FakeEngine;
  readonly clock: ManualClock;
  readonly processes: FakeProcessWatcher;
  readonly stop: () => Promise<void>;
}

async function setUp(prepare?: (engine: FakeEngine, processes: FakeProcessWatcher) => void): Promise<Setup> {
  const state = new AgentState();
  const engine = new FakeEngine();
  const clock = new ManualClock();
  const processes = new FakeProcessWatcher();
  prepare?.(engine, processes);
  state.identity = { hostId: "x" as HostId, hostName: "h1", settings: DEFAULT_SETTINGS, blocks: [], epoch: "e" };
  state.hosts = [{ name: "h1", address: parseIpv4("192.168.0.1"), up: true }];
  const controller = new AbortController();
  const done = createRegistrationPart({ state, engine, clock, log: SILENT_LOG, processes }).run(controller.signal);
  await settle();
  return {
    state,
    engine,
    clock,
    processes,
    stop: async () => {
      controller.abort();
      await done;
    },
  };
}

const idsOf = (state: AgentState): readonly string[] => [...state.localEndpoints().keys()];

test("createRegistrationPart() registers what runs and what starts", async () => {
  const { state, engine, clock, stop } = await setUp((each) => each.containers.set("a", container("a")));
  expect(idsOf(state)).toEqual(["h1:a:8080"]);
  await clock.advance(1000);
  engine.start("b");
  await settle();
  expect(idsOf(state)).toEqual(["h1:a:8080", "h1:b:8080"]);
  await stop();
});

test("createRegistrationPart() drops a dead container within the event, before any listing", async () => {
  const { state, engine, clock, stop } = await setUp((each) => each.containers.set("a", container("a")));
  const { listings } = engine;
  engine.containers.set("a", container("a", { state: "exited" }));
  engine.say("die", "a");
  expect(idsOf(state)).toEqual([]);
  expect(engine.listings).toBe(listings);
  await clock.advance(1000);
  expect(idsOf(state)).toEqual([]);
  engine.start("a");
  await clock.advance(1000);
  expect(idsOf(state)).toEqual(["h1:a:8080"]);
  await stop();
});

test("createRegistrationPart() drops a container whose process ended before the engine says so, until it runs again", async () => {
  const { state, engine, clock, processes, stop } = await setUp((each, all) => {
    all.start(7, "/docker/a");
    each.containers.set("a", container("a", { pid: 7 }));
    each.containers.set("b", container("b", { pid: 8 }));
  });
  const { listings } = engine;
  processes.end(7);
  expect([idsOf(state), engine.listings]).toEqual([["h1:b:8080"], listings]);
  // A look from now on finds it running still: the engine has not noticed.
  engine.say("update", "b");
  await clock.advance(1000);
  expect([idsOf(state), engine.listings > listings]).toEqual([["h1:b:8080"], true]);
  engine.say("die", "a");
  processes.start(9, "/docker/a");
  engine.start("a", { pid: 9, startedAtMs: 2 });
  await settle();
  expect(idsOf(state).toSorted()).toEqual(["h1:a:8080", "h1:b:8080"]);
  expect(processes.watched()).toEqual([9]);
  await stop();
  expect(processes.watched()).toEqual([]);
});

test("createRegistrationPart() does not let a listing from before a death bring the container back", async () => {
  const { state, engine, clock, stop } = await setUp((each) => each.containers.set("a", container("a")));
  await clock.advance(1000);
  const { listings } = engine;
  engine.start("b");
  // The listing is under way and has seen "a" running.
  while (engine.listings === listings) await Promise.resolve();
  engine.containers.set("a", container("a", { state: "exited" }));
  engine.say("die", "a");
  const seen: (readonly string[])[] = [];
  state.on("local", () => seen.push(idsOf(state)));
  await clock.advance(1000);
  await clock.advance(1000);
  expect(seen.flat()).not.toContain("h1:a:8080");
  expect(idsOf(state)).toEqual(["h1:b:8080"]);
  await stop();
});

test("createRegistrationPart() registers nothing before reports can be believed, and then says so even of nothing", async () => {
  const state = new AgentState();
  const engine = new FakeEngine();
  state.identity = { hostId: "x" as HostId, hostName: "h1", settings: DEFAULT_SETTINGS, blocks: [], epoch: "e" };
  let known = false;
  let writes = 0;
  state.on("local", () => (writes += 1));
  const controller = new AbortController();
  const options = { state, engine, clock: new ManualClock(), log: SILENT_LOG, reportsKnown: () => known };
  const done = createRegistrationPart(options).run(controller.signal);
  await settle();
  expect(writes).toBe(0);
  known = true;
  state.emit("reports");
  expect([writes, idsOf(state)]).toEqual([1, []]);
  state.emit("reports");
  expect(writes).toBe(1);
  controller.abort();
  await done;
});

test("createRegistrationPart() folds a burst of events into few listings", async () => {
  const { state, engine, clock, stop } = await setUp();
  await clock.advance(1000);
  const { listings } = engine;
  for (let index = 0; index < 30; index++) engine.start(`c${index}`);
  await clock.advance(1000);
  await clock.advance(1000);
  expect(engine.listings - listings).toBeLessThanOrEqual(2);
  expect(state.localEndpoints().size).toBe(30);
  for (const action of ["exec_start: true", "exec_die", "create", "resize"]) engine.say(action, "c1");
  const after = engine.listings;
  await clock.advance(1000);
  expect(engine.listings).toBe(after);
  await stop();
});

test("createRegistrationPart() registers what started without waiting for the next listing, and forgets no death for it", async () => {
  const { state, engine, clock, stop } = await setUp((each) => each.containers.set("a", container("a")));
  await clock.advance(1000);
  engine.say("update", "a");
  await settle();
  // The listing that this asks for has been; the next one is not due yet.
  const { listings } = engine;
  engine.start("b");
  await settle();
  expect([engine.listings, idsOf(state)]).toEqual([listings, ["h1:a:8080", "h1:b:8080"]]);
  engine.say("die", "b");
  engine.say("start", "b");
  engine.say("die", "b");
  await settle();
  expect([engine.listings, idsOf(state)]).toEqual([listings, ["h1:a:8080"]]);
  await stop();
});

test("createRegistrationPart() writes the state only when something differs, and keeps unchanged objects", async () => {
  const { state, engine, clock, stop } = await setUp((each) => each.containers.set("a", container("a")));
  let writes = 0;
  state.on("local", () => (writes += 1));
  const before = state.localEndpoints().get("h1:a:8080");
  state.emit("reports");
  engine.say("start", "a");
  await clock.advance(1000);
  await clock.advance(31_000);
  expect(writes).toBe(0);
  engine.start("b");
  await clock.advance(1000);
  expect(writes).toBe(1);
  expect(state.localEndpoints().get("h1:a:8080")).toBe(before);
  await stop();
});

test("createRegistrationPart() keeps what is registered while the engine does not answer", async () => {
  const { state, engine, clock, stop } = await setUp((each) => each.containers.set("a", container("a")));
  engine.fault = new AppError("unavailable", "Cannot reach the engine: no socket");
  engine.say("start", "b");
  await clock.advance(1000);
  expect(idsOf(state)).toEqual(["h1:a:8080"]);
  expect(state.conditions().map(({ code }) => code)).toEqual(["registration-blind"]);
  engine.fault = null;
  await clock.advance(1000);
  await clock.advance(1000);
  expect(state.conditions()).toEqual([]);
  await stop();
});

test("createRegistrationPart() counts the engine's default network as ours when it is on our bridge", async () => {
  const onDefault = container("a", { addresses: { bridge: parseIpv4("10.2.1.9") } });
  const network = (bridge: string): EngineNetwork => ({
    id: "n",
    name: "bridge",
    driver: "bridge",
    subnet: null,
    ipRange: null,
    gateway: null,
    options: { "com.docker.network.bridge.name": bridge },
    containers: {},
  });
  const other = await setUp((engine) => {
    engine.containers.set("a", onDefault);
    engine.networks = [network("docker0")];
  });
  expect(idsOf(other.state)).toEqual([]);
  await other.stop();
  const ours = await setUp((engine) => {
    engine.containers.set("a", onDefault);
    engine.networks = [network("apollo0")];
  });
  expect(ours.state.localEndpoints().get("h1:a:8080")?.address).toBe(parseIpv4("10.2.1.9"));
  await ours.stop();
});

test("what a container's check and its image's HEALTHCHECK say is its endpoint's health", async () => {
  const env = { SERVICE_NAME: "web", SERVICE_CHECK_TCP: "true", SERVICE_CHECK_DEREGISTER_AFTER: "5m" };
  const { state, engine, clock, stop } = await setUp((each) => each.start("box", { env }));
  const endpoint = () => [...state.localEndpoints().values()].find(({ service }) => service === "web");
  const [check] = [...state.containerChecks.values()];
  expect(check).toMatchObject({
    type: "tcp",
    definition: { TCP: "10.2.1.7:8080", Interval: "10s" },
    status: "critical",
  });
  expect(endpoint()?.health).toBe("critical");
  const id = check?.id ?? "";
  state.setContainerResult(id, { id, status: "passing", output: "open" });
  expect(endpoint()?.health).toBe("passing");
  expect(endpoint()?.checks).toMatchObject([{ kind: "container", type: "tcp", status: "passing", output: "open" }]);
  const [box] = [...engine.containers.values()];
  if (box === undefined) throw new Error("there is no container");
  engine.containers.set(box.id, { ...box, health: "unhealthy" });
  engine.say("health_status: unhealthy", box.id);
  await settle();
  await clock.advance(1000);
  expect(endpoint()?.health).toBe("critical");
  expect(endpoint()?.checks).toHaveLength(2);
  engine.containers.set(box.id, { ...box, health: "healthy" });
  engine.say("health_status: healthy", box.id);
  await settle();
  await clock.advance(1000);
  expect(endpoint()?.health).toBe("passing");
  // Critical for longer than it lets itself be registered: gone, but still checked, and back once it is well.
  state.setContainerResult(id, { id, status: "critical", output: "refused" });
  for (let at = 0; at < 12; at += 1) await clock.advance(30_000);
  expect(endpoint()).toBeUndefined();
  expect(state.containerChecks.size).toBe(1);
  state.setContainerResult(id, { id, status: "passing", output: "open" });
  expect(endpoint()?.health).toBe("passing");
  await stop();
});
