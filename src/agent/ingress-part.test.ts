import { expect, test } from "bun:test";
import { endpointFixture as endpoint } from "../ingress/endpoint.fixture.ts";
import { defaultProxySettings } from "../ingress/proxy-settings.ts";
import { DEFAULT_SETTINGS } from "../model/cluster.ts";
import type { Endpoint } from "../model/endpoint.ts";
import type { HostId } from "../model/ids.ts";
import type { Clock } from "../platform/ports/clock.ts";
import { proxyPaths } from "../platform/ports/proxy.ts";
import { FakeProxy } from "../sim/fake-proxy.ts";
import { AgentState } from "./agent-state.ts";
import { createIngressPart } from "./ingress-part.ts";
import { SILENT_LOG } from "../sim/silent-log.ts";

const SETTINGS = defaultProxySettings(proxyPaths("/run/apollo/ingress"));

/** Time that moves only when told; everything that can run without it has run when `advance` returns. */
class StepClock implements Clock {
  #now = 0;
  readonly #sleepers = new Set<{ readonly atMs: number; readonly wake: () => void }>();
  nowMs(): number {
    return this.#now;
  }
  monotonicMs(): number {
    return this.#now;
  }
  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    const sleeper = { atMs: this.#now + ms, wake: resolve };
    this.#sleepers.add(sleeper);
    const abort = (): void => {
      this.#sleepers.delete(sleeper);
      resolve();
    };
    signal?.addEventListener("abort", abort);
    return promise.finally(() => signal?.removeEventListener("abort", abort));
  }
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    await settle();
    for (;;) {
      const next = [...this.#sleepers].toSorted((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined || next.atMs > end) break;
      this.#sleepers.delete(next);
      this.#now = next.atMs;
      next.wake();
      await settle();
    }
    this.#now = end;
  }
}

/** Lets all promise callbacks run: a macrotask comes after every microtask. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

interface World {
  readonly state: AgentState;
  readonly proxy: FakeProxy;
  readonly clock: StepClock;
  start(): void;
  stop(): Promise<void>;
  serve(revision: number, ...endpoints: readonly Endpoint[]): Promise<void>;
}

function createWorld(): World {
  const clock = new StepClock();
  const state = new AgentState();
  const proxy = new FakeProxy({ clock, latencyMs: 1 });
  const part = createIngressPart({ state, proxy, clock, log: SILENT_LOG, settings: SETTINGS });
  const end = new AbortController();
  let running = Promise.resolve();
  return {
    state,
    proxy,
    clock,
    start: () => {
      running = part.run(end.signal);
    },
    stop: async () => {
      end.abort();
      await clock.advance(100);
      await running;
    },
    serve: async (revision, ...endpoints) => {
      state.receive({ type: "catalog", reset: true, revision, upsert: endpoints, remove: [], hosts: null });
      await clock.advance(50);
    },
  };
}

function welcome(state: AgentState, epoch = "e1"): void {
  state.receive({
    type: "welcome",
    wire: 1,
    hostId: "h1" as HostId,
    hostName: "host-1",
    settings: DEFAULT_SETTINGS,
    blocks: [],
    epoch,
  });
}

const A = endpoint({ container: "a", address: "10.2.2.2", host: "host-2" });
const B = endpoint({ container: "b", address: "10.2.2.3", host: "host-2" });
const OWN = endpoint({ container: "own", address: "10.2.1.2", host: "host-1" });
const containers = (proxy: FakeProxy): readonly string[] =>
  proxy.ready().map((key) => key.replace("svc_web/", "").replace(/-[0-9a-f]{8}$/, ""));

test("IngressPart starts nothing before it knows who it is", async () => {
  const world = createWorld();
  world.start();
  await world.clock.advance(10_000);
  expect(world.proxy.state().running).toBe(false);
  await world.stop();
});

test("IngressPart follows the catalog and says which revision it serves", async () => {
  const world = createWorld();
  world.start();
  welcome(world.state);
  await world.serve(1, A);
  expect(containers(world.proxy)).toEqual(["a"]);
  expect(world.state.appliedRevision()).toBe(1);
  await world.serve(2, A, B);
  expect(containers(world.proxy)).toEqual(["a", "b"]);
  expect(world.state.appliedRevision()).toBe(2);
  expect(world.proxy.loads).toBe(1);
  await world.stop();
});

test("IngressPart holds a revision back while a server that left has requests under way, 5 s at most", async () => {
  const world = createWorld();
  world.start();
  welcome(world.state);
  await world.serve(1, A, B);
  const busy = (sessions: number): void => {
    for (const server of world.proxy.state().servers) {
      if (server.name.startsWith("a")) world.proxy.setConnections("svc_web", server.name, { sessions, idle: 0 });
    }
  };
  busy(1);
  await world.serve(2, B);
  expect(containers(world.proxy)).toEqual(["b"]);
  expect(world.state.appliedRevision()).toBe(1);
  busy(0);
  await world.clock.advance(200);
  expect(world.state.appliedRevision()).toBe(2);
  await world.clock.advance(2000);
  expect(world.proxy.state().servers).toHaveLength(1);

  await world.serve(3, A, B);
  busy(1);
  await world.serve(4, B);
  await world.clock.advance(4000);
  expect(world.state.appliedRevision()).toBe(3);
  await world.clock.advance(1200);
  expect(world.state.appliedRevision()).toBe(4);
  expect(world.proxy.state().servers).toHaveLength(2);
  await world.stop();
});

test("IngressPart starts a killed proxy again without any event", async () => {
  const world = createWorld();
  world.start();
  welcome(world.state);
  await world.serve(1, A);
  world.proxy.kill();
  await world.clock.advance(2500);
  expect(containers(world.proxy)).toEqual(["a"]);
  await world.stop();
});

test("IngressPart adopts the proxy of the agent before it, and does not drop this host's servers meanwhile", async () => {
  const world = createWorld();
  world.start();
  welcome(world.state);
  world.state.setLocalEndpoints([OWN]);
  await world.serve(1, A, OWN);
  expect(containers(world.proxy)).toEqual(["a", "own"]);
  await world.stop();

  const next = new AgentState();
  next.restore(world.state.snapshot());
  const end = new AbortController();
  const { clock, proxy } = world;
  const running = createIngressPart({ state: next, proxy, clock, log: SILENT_LOG, settings: SETTINGS }).run(end.signal);
  await clock.advance(100);
  expect(containers(proxy)).toEqual(["a", "own"]);
  next.setLocalEndpoints([]);
  await clock.advance(100);
  expect(containers(proxy)).toEqual(["a"]);
  expect(proxy.loads).toBe(1);
  end.abort();
  await clock.advance(100);
  await running;
});

test("IngressPart says who has port 80, holds nobody up, and starts once the port is free", async () => {
  const world = createWorld();
  world.proxy.portHolder = "nginx (pid 7)";
  world.start();
  welcome(world.state);
  await world.serve(3, A);
  expect(world.state.conditions()).toEqual([
    {
      code: "ingress-port-taken",
      severity: "error",
      text: "Cannot start HAProxy: port 80 is taken by nginx (pid 7)",
      hint: "Stop the program that has the port",
    },
  ]);
  expect(world.state.appliedRevision()).toBe(3);
  world.proxy.portHolder = null;
  await world.clock.advance(1500);
  expect(world.state.conditions()).toEqual([]);
  expect(containers(world.proxy)).toEqual(["a"]);
  await world.stop();
});

test("IngressPart keeps serving what it had when HAProxy refuses a configuration", async () => {
  const world = createWorld();
  world.start();
  welcome(world.state);
  await world.serve(1, A);
  world.proxy.refuses = "line 3: no";
  await world.serve(2, A, endpoint({ service: "other", host: "host-2" }));
  expect(containers(world.proxy)).toEqual(["a"]);
  expect(world.state.conditions().map((condition) => condition.code)).toEqual(["ingress-config-refused"]);
  expect(world.state.appliedRevision()).toBe(1);
  await world.stop();
});

test("IngressPart reports an outside name that two services want", async () => {
  const world = createWorld();
  world.start();
  welcome(world.state);
  const meta = { "ingress.host": "web.example.com" };
  await world.serve(1, A, endpoint({ service: "other", container: "o", host: "host-2", meta }));
  expect(world.state.conditions().map((condition) => condition.text)).toEqual([
    "Service other asks for the outside name web.example.com, which leads to service web",
  ]);
  await world.stop();
});

test("IngressPart serves nothing before its first pass", async () => {
  const world = createWorld();
  welcome(world.state);
  await world.serve(7, A);
  world.state.setApplied("dns", 7);
  expect(world.state.appliedRevision()).toBe(0);
  world.start();
  await world.clock.advance(100);
  expect(world.state.appliedRevision()).toBe(7);
  await world.stop();
});

test("IngressPart does not take a former server's revision for one of the next", async () => {
  const world = createWorld();
  world.start();
  welcome(world.state);
  await world.serve(9, A);
  const seen = new Set<number>();
  world.state.on("applied", () => seen.add(world.state.appliedRevision()));
  // A pass on revision 10 is under way when another server, which counts anew, takes A out in its revision 2.
  const { state } = world;
  state.receive({ type: "catalog", reset: true, revision: 10, upsert: [A, B], remove: [], hosts: null });
  await world.clock.advance(1);
  welcome(state, "e2");
  state.receive({ type: "catalog", reset: true, revision: 2, upsert: [B], remove: [], hosts: null });
  state.setApplied("dns", 2);
  const early: string[] = [];
  state.on("applied", () => {
    if (state.appliedRevision() === 2) early.push(...containers(world.proxy));
  });
  await world.clock.advance(100);
  expect(seen).toContain(2);
  expect(early).toEqual(["b"]);
  await world.stop();
});
