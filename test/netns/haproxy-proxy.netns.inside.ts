/** The tests of haproxy-proxy.netns.test.ts that run in the namespace. */
import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { endpointFixture } from "../../src/ingress/endpoint.fixture.ts";
import { createIngressPart } from "../../src/agent/ingress-part.ts";
import { AgentState } from "../../src/agent/agent-state.ts";
import { defaultProxySettings } from "../../src/ingress/proxy-settings.ts";
import { DEFAULT_SETTINGS } from "../../src/model/cluster.ts";
import type { Endpoint } from "../../src/model/endpoint.ts";
import { AppError } from "../../src/model/error.ts";
import type { HostId } from "../../src/model/ids.ts";
import { proxyContract } from "../../src/sim/proxy.contract.ts";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { proxyPaths } from "../../src/platform/ports/proxy.ts";
import type { Runner } from "../../src/platform/ports/runner.ts";
import { HaproxyProxy } from "../../src/platform/haproxy/haproxy-proxy.ts";
import { type Load, startLoad } from "./http-load.fixture.ts";

const runner: Runner = {
  run: async (argv, options = {}) => {
    const child = Bun.spawn([...argv], { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
    const [stdout, stderr, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    if (!(options.okCodes ?? [0]).includes(code)) throw new AppError("unavailable", `${argv.join(" ")}: ${stderr}`);
    return { code, stdout, stderr };
  },
};

let dir = "";
beforeAll(async () => {
  await runner.run(["ip", "link", "set", "lo", "up"]);
  dir = await mkdtemp(`${tmpdir()}/apollo-haproxy-`);
});
afterAll(async () => {
  for (const backend of backends.values()) await backend.stop(true);
  await rm(dir, { recursive: true, force: true });
});

const agents: { finish(): Promise<void> }[] = [];
// Also after a failure: the next test needs port 80.
afterEach(async () => {
  for (const agent of agents.splice(0)) await agent.finish();
});

let runs = 0;
proxyContract("HaproxyProxy", () => {
  const paths = proxyPaths(`${dir}/contract-${++runs}`);
  return { proxy: new HaproxyProxy({ paths, runner, clock: systemClock }), settings: defaultProxySettings(paths) };
});

const backends = new Map<string, ReturnType<typeof Bun.serve>>();
const serve = (address: string): void => {
  backends.set(address, Bun.serve({ hostname: address, port: 8080, fetch: () => new Response(address) }));
};
const kill = async (address: string): Promise<void> => {
  await backends.get(address)?.stop(true);
  backends.delete(address);
};
const endpoint = (address: string, service = "web"): Endpoint => {
  if (!backends.has(address)) serve(address);
  return endpointFixture({ service, address, container: `${service}-${address}`, host: "host-2" });
};

/** An agent with its ingress part, on the files of `name`. */
function startAgent(name: string) {
  const paths = proxyPaths(`${dir}/${name}`);
  const proxy = new HaproxyProxy({ paths, runner, clock: systemClock });
  const state = new AgentState();
  const log: string[] = [];
  const note = (text: string, fields?: object): void => void log.push(`${text} ${JSON.stringify(fields ?? {})}`);
  const settings = defaultProxySettings(paths);
  const part = createIngressPart({
    state,
    proxy,
    clock: systemClock,
    log: { debug: note, info: note, warn: note, error: note },
    settings,
  });
  const end = new AbortController();
  const running = part.run(end.signal);
  let revision = 0;
  state.receive({
    type: "welcome",
    wire: 1,
    hostId: "h1" as HostId,
    hostName: "host-1",
    settings: DEFAULT_SETTINGS,
    blocks: [],
    epoch: "e",
  });
  const agent = {
    proxy,
    state,
    log,
    pid: async () => await readOr(paths.pid, ""),
    /** Resolves when the revision with these endpoints is served. */
    show: async (...endpoints: readonly Endpoint[]) => {
      revision += 1;
      const startMs = performance.now();
      state.receive({ type: "catalog", reset: true, revision, upsert: endpoints, remove: [], hosts: null });
      await until(`revision ${revision} to be served`, () => state.appliedRevision() === revision && applied(log));
      return performance.now() - startMs;
    },
    end: async () => {
      end.abort();
      await running;
    },
    finish: async () => {
      end.abort();
      await running;
      await proxy.stop();
    },
  };
  agents.push(agent);
  return agent;
}
/** `appliedRevision` is the catalog's own before the first pass. */
const applied = (log: readonly string[]): boolean => log.length > 0;

const get = async (
  host: string,
  path = "/",
  port = 80,
): Promise<{ readonly status: number; readonly text: string }> => {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, { headers: { host }, keepalive: false });
  return { status: answer.status, text: await answer.text() };
};

const loads = (): readonly Load[] => [
  startLoad({ port: 80, host: "web.example.com", method: "GET", perConnection: 1 }),
  startLoad({ port: 80, host: "WEB.Example.com:80", method: "GET", perConnection: 50 }),
  startLoad({ port: 80, host: "web.example.com.", method: "POST", perConnection: 7 }),
];
const finishLoads = async (running: readonly Load[]): Promise<Record<string, number>> => {
  const results = await Promise.all(running.map((load) => load.stop()));
  expect(results.flatMap((result) => result.failures)).toEqual([]);
  const bodies: Record<string, number> = {};
  for (const result of results) {
    expect(result.requests).toBeGreaterThan(10);
    for (const [body, count] of Object.entries(result.bodies)) bodies[body] = (bodies[body] ?? 0) + count;
  }
  return bodies;
};
const served = async (running: readonly Load[], more: number): Promise<void> => {
  const goal = running.map((load) => load.result().requests + more);
  await until(`${more} more requests`, () => running.every((load, i) => load.result().requests >= (goal[i] ?? 0)));
};

test("scales up and down under load: no reload, no failed request, every server gets its share", async () => {
  const agent = startAgent("scale");
  await agent.show(endpoint("127.0.1.1"));
  const pid = await agent.pid();
  const running = loads();
  const delays: number[] = [];
  for (const count of [4, 1, 3, 2, 4, 1]) {
    const addresses = Array.from({ length: count }, (_, i) => `127.0.1.${i + 1}`);
    delays.push(await agent.show(...addresses.map((address) => endpoint(address))));
    // What left is stopped as soon as the revision is served, as the server does with an instance.
    for (const address of backends.keys()) if (!addresses.includes(address)) await kill(address);
    await served(running, 40);
  }
  const bodies = await finishLoads(running);
  expect(Object.keys(bodies).toSorted()).toEqual(["127.0.1.1", "127.0.1.2", "127.0.1.3", "127.0.1.4"]);
  expect(await agent.pid()).toBe(pid);
  expect((await agent.proxy.observe()).structure).not.toBeNull();
  console.log(`change → served, ms: ${delays.map((ms) => ms.toFixed(1)).join(" ")}`);
}, 60_000);

test("says that a server is out only when its requests have ended, and gives it no new ones", async () => {
  const agent = startAgent("busy");
  const release = Promise.withResolvers<void>();
  const busy = Promise.withResolvers<void>();
  backends.set(
    "127.0.8.1",
    Bun.serve({
      hostname: "127.0.8.1",
      port: 8080,
      fetch: async () => {
        busy.resolve();
        await release.promise;
        return new Response("slow");
      },
    }),
  );
  await agent.show(endpoint("127.0.8.1"));
  const slow = fetch("http://127.0.0.1/", { method: "POST", body: "x", headers: { host: "web.example.com" } });
  await busy.promise;
  const out = agent.show(endpoint("127.0.8.2"));
  // Until then a request may still go to the slow one.
  await until("the server to leave", async () =>
    (await agent.proxy.observe()).servers.some((one) => one.state === "maint" && one.sessions > 0),
  );
  expect(await get("web.example.com")).toEqual({ status: 200, text: "127.0.8.2" });
  expect(agent.state.appliedRevision()).toBe(1);
  release.resolve();
  expect(await (await slow).text()).toBe("slow");
  await out;
  // As is done with its instance; idle connections to it would keep it for some seconds more.
  await kill("127.0.8.1");
  await until("the deletion", async () => (await agent.proxy.observe()).servers.length === 1);
}, 60_000);

test("reloads for new services under load without a failed request", async () => {
  const agent = startAgent("reload");
  const web = endpoint("127.0.2.1");
  await agent.show(web);
  const pid = await agent.pid();
  const running = loads();
  for (let i = 1; i <= 4; i++) {
    const services = Array.from({ length: i }, (_, n) => endpoint(`127.0.2.${n + 2}`, `s${n}`));
    await agent.show(web, ...services);
    // For a moment the old process takes new connections too: both have the socket.
    let text = "";
    await until("the new process", async () => {
      const answer = await get(`s${i - 1}.example.com`);
      text = answer.text;
      return answer.status === 200;
    });
    expect(text).toBe(`127.0.2.${i + 1}`);
    await served(running, 40);
  }
  await finishLoads(running);
  expect(await agent.pid()).not.toBe(pid);
}, 60_000);

test("serves a request of which the server just died from another one", async () => {
  const agent = startAgent("retry");
  await agent.show(endpoint("127.0.3.1"), endpoint("127.0.3.2"));
  await kill("127.0.3.1");
  const running = loads();
  await served(running, 30);
  expect(Object.keys(await finishLoads(running))).toEqual(["127.0.3.2"]);
}, 60_000);

test("answers 503 with a reason for an unknown name and for a service without instances, and on the status page", async () => {
  const agent = startAgent("answers");
  await agent.show();
  expect(await get("x", "/haproxy_status", 34180)).toMatchObject({ status: 503 });
  const sick: Endpoint = { ...endpoint("127.0.4.2", "sick"), health: "critical" };
  await agent.show(endpoint("127.0.4.1"), sick);
  expect(await get("nobody.example.com")).toEqual({
    status: 503,
    text: 'No service has the name "nobody.example.com" here.\n',
  });
  expect(await get("sick.example.com")).toEqual({ status: 503, text: "Service sick has no healthy instance.\n" });
  expect(await get("x", "/haproxy_status", 34180)).toMatchObject({ status: 200 });
}, 60_000);

test("starts a killed HAProxy again, and one that lost its socket is taken over", async () => {
  const agent = startAgent("killed");
  await agent.show(endpoint("127.0.5.1"));
  const pid = await agent.pid();
  process.kill(Number(pid), "SIGKILL");
  await until("another process", async () => (await agent.pid()) !== pid && (await isServing()));
  const second = await agent.pid();
  await rm(proxyPaths(`${dir}/killed`).socket);
  await until("a third process", async () => (await agent.pid()) !== second && (await isServing()));
  await until("the second one to end", async () => !(await isAlive(second)));
  const third = await agent.pid();
  await agent.finish();
  expect(await isAlive(third)).toBe(false);
}, 60_000);
const isServing = async (): Promise<boolean> => (await get("web.example.com").catch(() => null))?.status === 200;

test("outlives its agent, and the next agent adopts it without a reload", async () => {
  const agent = startAgent("adopt");
  await agent.show(endpoint("127.0.6.1"), endpoint("127.0.6.2"));
  const pid = await agent.pid();
  await agent.end();
  expect(await isServing()).toBe(true);
  const next = startAgent("adopt");
  await next.show(endpoint("127.0.6.2"), endpoint("127.0.6.3"));
  expect(await next.pid()).toBe(pid);
  expect((await next.proxy.observe()).servers.filter((server) => server.state === "ready")).toHaveLength(2);
  await next.finish();
  expect(await isServing()).toBe(false);
}, 60_000);

test("names the program that has port 80, and starts when it is gone", async () => {
  const holder = Bun.serve({ port: 80, hostname: "0.0.0.0", fetch: () => new Response("me") });
  const agent = startAgent("taken");
  await until("the condition", () => agent.state.conditions().length > 0);
  const [condition] = agent.state.conditions();
  expect(condition?.code).toBe("ingress-port-taken");
  expect(condition?.text).toMatch(/^Cannot start HAProxy: port 80 is taken by .+ \(pid \d+\)$/);
  await holder.stop(true);
  await until("the condition to clear", () => agent.state.conditions().length === 0);
}, 60_000);

test("keeps the last good configuration when HAProxy refuses one", async () => {
  const agent = startAgent("refused");
  await agent.show(endpoint("127.0.7.1"));
  await agent.end();
  const before = await configured(agent.proxy);
  const bad = agent.proxy.apply({ kind: "load", text: "global\n  nonsense here\n", map: {}, structure: "0" });
  const error = await bad.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(AppError);
  expect(String(error)).toContain("unknown keyword 'nonsense'");
  expect(await configured(agent.proxy)).toEqual(before);
  expect(await isServing()).toBe(true);
}, 60_000);
/** What it runs, without what its servers do at this moment: HAProxy keeps a connection for a while after the answer. */
async function configured(proxy: HaproxyProxy): Promise<object> {
  const { servers, ...state } = await proxy.observe();
  return {
    ...state,
    servers: servers.map(({ backend, name, address, port, state: set }) => [backend, name, address, port, set]),
  };
}

/** A zombie has an empty command line: nobody in this namespace waits for daemons. */
async function isAlive(pid: string): Promise<boolean> {
  return (await readOr(`/proc/${pid}/cmdline`, "")) !== "";
}

async function readOr(path: string, fallback: string): Promise<string> {
  return (await readFile(path, "utf8").catch(() => fallback)).trim();
}

/** A process that was replaced goes on for as long as its clients keep idle connections, which is ten seconds. */
const WAIT_MS = 40_000;
async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + WAIT_MS;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`Waited ${WAIT_MS / 1000} s for ${what}`);
    await systemClock.sleep(5);
  }
}
