/** Consul's API on an agent, over real HTTP and TLS, with and without the server that it is joined to. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { HttpRequest } from "../../src/platform/ports/http.ts";
import { fakeRequest } from "../../src/sim/fake-request.ts";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { type ConsulAgent, startConsulAgent } from "./consul-agent.fixture.ts";
import { type ConsulServer, startConsulServer } from "./consul-server.ts";

let directory = "";
let server: ConsulServer;
let agent: ConsulAgent;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "apollo-consul-agent-"));
  server = await startConsulServer(directory, "off");
  agent = await startConsulAgent(server.server, "h1");
});

afterAll(async () => {
  await agent.stop();
  await server.stop();
  rmSync(directory, { recursive: true, force: true });
});

interface Said {
  readonly status: number;
  readonly text: string;
  readonly header: (name: string) => string | null;
}

async function ask(method: string, path: string, init: RequestInit = {}): Promise<Said> {
  const answer = await fetch(`${agent.base}/${path}`, { method, ...init });
  return { status: answer.status, text: await answer.text(), header: (name) => answer.headers.get(name) };
}

async function put(path: string, body: string | object = ""): Promise<string> {
  const answer = await ask("PUT", path, { body: typeof body === "string" ? body : JSON.stringify(body) });
  if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${answer.text}`);
  return answer.text;
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await systemClock.sleep(5);
}

test("the agent's own host is the local node, and what is registered with it is everywhere", async () => {
  const self = JSON.parse((await ask("GET", "agent/self")).text) as { Config: { NodeName: string; Server: boolean } };
  expect(self.Config).toMatchObject({ NodeName: "h1", Server: false });
  await put("agent/service/register", { Name: "web", ID: "w1", Port: 80, Tags: ["v1"], Check: { TTL: "1m" } });
  await put("agent/check/pass/service:w1");
  const seen = await fetch(`${server.base}/health/service/web?passing`);
  expect(await seen.json()).toMatchObject([{ Node: { Node: "h1" }, Service: { ID: "w1", Port: 80 } }]);
  // The same through the stream: this is what DNS and ingress of every host are made of.
  await until(() => agent.state.endpoints().some(({ health }) => health === "passing"));
  expect(agent.state.endpoints()).toMatchObject([
    { id: "registry/h1/w1", service: "web", address: "192.0.2.21", port: 80, host: "h1", health: "passing" },
  ]);
});

test("a server speaks for its own machine alone: an agent that does not say what it runs has its scripts taken", async () => {
  const body = JSON.stringify({ Name: "disk", Args: ["true"], Interval: "1h" });
  const own = await fetch(`${server.base}/agent/check/register`, { method: "PUT", body });
  expect([own.status, await own.text()]).toEqual([500, expect.stringContaining("Scripts are disabled")]);
  await put("agent/check/register", body);
  await put("agent/check/deregister/disk");
});

test("a blocking query through the agent ends with the change, and a client that goes frees its place", async () => {
  await put("kv/color", "red");
  const index = (await ask("GET", "kv/color")).header("x-consul-index");
  const blocked = ask("GET", `kv/color?index=${index}&wait=60s&raw`);
  const { watches } = server.server.consul.parts.registry;
  await until(() => watches.waiting === 1);
  await put("kv/color", "blue");
  expect((await blocked).text).toBe("blue");
  const gone = new AbortController();
  const left = fetch(`${agent.base}/kv/none?index=900000000&wait=5m`, { signal: gone.signal }).catch(() => "gone");
  await until(() => watches.waiting === 1);
  gone.abort();
  expect(await left).toBe("gone");
  await until(() => watches.waiting === 0);
});

test("clients of one host that wait for the same cost the server one query", async () => {
  const { watches } = server.server.consul.parts.registry;
  const index = (await ask("GET", "kv/color")).header("x-consul-index");
  const blocked = Array.from({ length: 30 }, () => ask("GET", `kv/color?index=${index}&wait=60s&raw`));
  const alone = ask("GET", `kv/color?index=${index}&wait=61s&raw`);
  await until(() => watches.waiting === 2);
  await systemClock.sleep(20);
  expect(watches.waiting).toBe(2);
  await put("kv/color", "green");
  expect((await Promise.all([...blocked, alone])).map(({ text }) => text)).toEqual(Array(31).fill("green"));
});

test("an event wakes who waits on the agents of the nodes that it is for, and on no other", async () => {
  const fire = async (name: string, node: string): Promise<void> => {
    const fired = await fetch(`${server.base}/event/fire/${name}?node=${node}`, { method: "PUT", body: "now" });
    expect(fired.status).toBe(200);
  };
  const list = async (query = ""): Promise<Said & { readonly names: readonly string[] }> => {
    const said = await ask("GET", `event/list${query}`);
    return { ...said, names: (JSON.parse(said.text) as { Name: string }[]).map(({ Name }) => Name) };
  };
  await fire("first", "^h1$");
  const { header, names } = await list();
  expect(names).toEqual(["first"]);
  const { watches } = server.server.consul.parts.registry;
  let answered = false;
  const blocked = list(`?index=${header("x-consul-index")}&wait=60s`);
  void blocked.then(() => (answered = true));
  await until(() => watches.waiting === 1);
  await fire("elsewhere", "^other$");
  // It waits again, since that one was not for this node.
  await until(() => watches.waiting === 1);
  expect([answered, (await list()).names]).toEqual([false, ["first"]]);
  await fire("second", "^h1$");
  expect((await blocked).names).toEqual(["first", "second"]);
});

test("one client that is not this machine's has 200 requests under way at most", async () => {
  const from = (address: string): HttpRequest => {
    const peer = { address, loopback: false, secure: false };
    return { ...fakeRequest("GET", "/v1/kv/color"), peer };
  };
  const statusOf = async (request: HttpRequest): Promise<number> => {
    const answer = await agent.handle(request);
    return "status" in answer ? answer.status : 0;
  };
  const statuses = Array.from({ length: 201 }, () => statusOf(from("192.0.2.99")));
  expect(await statuses[200]).toBe(429);
  expect(await statusOf(from("192.0.2.98"))).toBe(403);
  expect(new Set(await Promise.all(statuses.slice(0, 200)))).toEqual(new Set([403]));
});

test("pages of a browser get nothing, and what an operator does needs the token", async () => {
  expect((await ask("GET", "kv/color", { headers: { origin: "http://evil.example" } })).status).toBe(403);
  expect((await ask("GET", "kv/color", { headers: { host: "evil.example" } })).status).toBe(403);
  expect((await ask("GET", "snapshot")).status).toBe(403);
  const admin = JSON.parse(await Bun.file(server.server.adminFile).text()) as { token: string };
  const snapshot = await ask("GET", `snapshot?token=${admin.token}`);
  expect([snapshot.status, snapshot.text.includes("color")]).toEqual([200, true]);
});

test("packed answers stay packed, errors stay Consul's, and no header of ours leaks", async () => {
  await put("kv/long", "x".repeat(5000));
  const packed = await fetch(`${agent.base}/kv/long?raw`, { headers: { "accept-encoding": "gzip" } });
  expect([packed.headers.get("content-encoding"), (await packed.text()).length]).toEqual(["gzip", 5000]);
  expect(await ask("GET", "kv/")).toMatchObject({ status: 400, text: "Missing key name" });
  expect(await ask("GET", "nope")).toMatchObject({ status: 404, text: 'Invalid URL path: "/v1/nope"' });
  expect((await ask("POST", "kv/x")).header("allow")).toBe("OPTIONS,GET,PUT,DELETE");
});

test("without a server the catalog is answered from what is known, and nothing can be changed", async () => {
  const index = Number((await ask("GET", "health/service/web")).header("x-consul-index"));
  const blocked = ask("GET", `health/service/web?index=${index}&wait=60s`);
  await until(() => server.server.consul.parts.registry.watches.waiting === 1);
  await server.stop();
  await until(() => !agent.state.connected);
  const waited = await blocked;
  expect([waited.status, JSON.parse(waited.text).length]).toEqual([200, 1]);
  const answer = await ask("GET", `health/service/web?passing&index=${index}&wait=60s`);
  expect(JSON.parse(answer.text)).toMatchObject([
    { Node: { Node: "h1", Address: "192.0.2.21" }, Service: { ID: "w1", Service: "web", Port: 80, Tags: ["v1"] } },
  ]);
  expect(answer.header("x-consul-knownleader")).toBe("false");
  expect(answer.header("x-consul-effective-consistency")).toBe("stale");
  expect(Number(answer.header("x-consul-index"))).toBeLessThan(index);
  expect(Object.keys(JSON.parse((await ask("GET", "agent/services")).text) as object)).toEqual(["w1"]);
  const refused = { status: 500, text: "No cluster leader" };
  expect(await ask("PUT", "kv/color", { body: "x" })).toMatchObject(refused);
  expect(await ask("GET", "kv/color")).toMatchObject(refused);
  expect(await ask("PUT", "agent/service/register", { body: '{"Name":"db"}' })).toMatchObject(refused);
  expect(await ask("GET", "health/service/web?consistent")).toMatchObject(refused);
  expect((await ask("GET", "status/leader")).text).toBe('""');
});
