/** Consul's API of a real server: HTTP on loopback, SQLite on disk, the platform's access control. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { type ConsulServer, startConsulServer } from "./consul-server.ts";

const tls = { rejectUnauthorized: false };

let directory = "";
let running: ConsulServer;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "apollo-consul-"));
  running = await startConsulServer(directory, "off");
});

afterAll(async () => {
  await running.stop();
  rmSync(directory, { recursive: true, force: true });
});

async function put(path: string, body: string | object = ""): Promise<unknown> {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const answer = await fetch(`${running.base}/${path}`, { method: "PUT", body: text });
  if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  const said = await answer.text();
  return said === "" ? null : JSON.parse(said);
}

async function get(path: string): Promise<{ readonly index: number; readonly value: unknown }> {
  const answer = await fetch(`${running.base}/${path}`);
  return { index: Number(answer.headers.get("x-consul-index")), value: await answer.json() };
}

test("a blocking query over HTTP ends with the change that it waits for", async () => {
  await put("kv/web/color", "red");
  const { index } = await get("kv/web/color");
  const blocked = get(`kv/web/color?index=${index}&wait=60s`);
  // Another key must not end it: were it to, the answer below would still be red.
  await put("kv/web/other", "x");
  await put("kv/web/color", "blue");
  const { value, index: next } = await blocked;
  expect(value).toMatchObject([{ Key: "web/color", Value: btoa("blue") }]);
  expect(next).toBeGreaterThan(index);
});

test("a client that goes frees its place", async () => {
  const { watches } = running.server.consul.parts.registry;
  const gone = new AbortController();
  const blocked = fetch(`${running.base}/kv/nothing?index=1000000000&wait=5m`, { signal: gone.signal }).catch(
    () => "gone",
  );
  await until(() => watches.waiting === 1);
  gone.abort();
  expect(await blocked).toBe("gone");
  await until(() => watches.waiting === 0);
});

async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; !holds(); tries += 1) {
    if (tries > 2000) throw new Error("it did not come true");
    await systemClock.sleep(5);
  }
}

test("the server is a node with a healthy consul service, and takes registrations that are found in health", async () => {
  const { value: self } = await get("agent/self");
  const node = (self as { Config: { NodeName: string } }).Config.NodeName;
  await put("agent/service/register", { Name: "db", Port: 5432, Check: { TTL: "30s" } });
  expect((await get("health/service/db?passing")).value).toEqual([]);
  await put("agent/check/pass/service:db");
  expect((await get("health/service/db?passing")).value).toMatchObject([
    { Node: { Node: node }, Service: { Port: 5432 } },
  ]);
  expect((await get("health/service/consul?passing")).value).toMatchObject([
    { Node: { Node: node }, Service: { ID: "consul" } },
  ]);
});

test("what was acknowledged is there after a restart; the HTTPS port needs the admin token", async () => {
  await put("kv/kept?flags=3304740253564472344", "yes");
  const token = (JSON.parse(await Bun.file(running.server.adminFile).text()) as { token: string }).token;
  await running.stop();
  running = await startConsulServer(directory, "off");
  const raw = await fetch(`${running.base}/kv/kept`);
  expect(await raw.text()).toContain('"Flags":3304740253564472344,"Value":"eWVz"');
  const secure = `https://127.0.0.1:${running.server.http.port}/v1/kv/kept?raw`;
  const asked = await fetch(secure, { tls, headers: { "x-consul-token": token } } as RequestInit);
  expect(await asked.text()).toBe("yes");
  expect((await fetch(`${running.base}/kv/kept`, { headers: { origin: "https://evil.example.org" } })).status).toBe(
    403,
  );
  expect((await fetch(`${running.base}/kv/kept`, { headers: { host: "evil.example.org" } })).status).toBe(403);
});

test("a snapshot larger than any other body comes back whole", async () => {
  const value = "x".repeat(400_000);
  for (let n = 0; n < 20; n += 1) await put(`kv/large/${n}`, value);
  const snapshot = await (await fetch(`${running.base}/snapshot`)).bytes();
  expect(snapshot.byteLength).toBeGreaterThan(8 * 1024 * 1024);
  expect((await fetch(`${running.base}/kv/large/?recurse`, { method: "DELETE" })).status).toBe(200);
  const restored = await fetch(`${running.base}/snapshot`, { method: "PUT", body: snapshot });
  expect([restored.status, await restored.text()]).toEqual([200, ""]);
  expect(((await get("kv/large/?keys")).value as unknown[]).length).toBe(20);
  const other = await fetch(`${running.base}/kv/large/0`, { method: "PUT", body: snapshot });
  expect(other.status).toBe(413);
  await fetch(`${running.base}/kv/large/?recurse`, { method: "DELETE" });
});

test("metrics tell of this process", async () => {
  const { value } = await get("agent/metrics");
  const { Gauges, Samples } = value as { Gauges: { Name: string; Value: number }[]; Samples: { Name: string }[] };
  const gauges = new Map(Gauges.map(({ Name, Value }) => [Name, Value]));
  expect(gauges.get("consul.runtime.alloc_bytes")).toBeGreaterThan(1_000_000);
  expect(gauges.get("consul.runtime.sys_bytes")).toBeGreaterThan(10_000_000);
  expect(gauges.get("consul.server.isLeader")).toBe(1);
  expect(Samples.map(({ Name }) => Name)).toContain("consul.api.http");
});

test("with ACLs on, the first token is made once and others do what their policies say", async () => {
  await running.stop();
  running = await startConsulServer(directory, "deny");
  const call = async (method: string, path: string, token: string, body?: unknown): Promise<Response> =>
    await fetch(`${running.base}/${path}`, {
      method,
      headers: { "x-consul-token": token },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
  expect((await fetch(`${running.base}/kv/kept`)).status).toBe(403);
  const boot = (await (await call("PUT", "acl/bootstrap", "")).json()) as { SecretID: string };
  expect((await call("PUT", "acl/bootstrap", "")).status).toBe(403);
  expect((await call("GET", "kv/kept", boot.SecretID)).status).toBe(200);
  const rules = 'key_prefix "app/" { policy = "write" }\nkey_prefix "" { policy = "read" }';
  expect((await call("PUT", "acl/policy", boot.SecretID, { Name: "app", Rules: rules })).status).toBe(200);
  const made = await call("PUT", "acl/token", boot.SecretID, { Policies: [{ Name: "app" }] });
  const { SecretID: secret } = (await made.json()) as { SecretID: string };
  expect((await call("PUT", "kv/app/x", secret, "1")).status).toBe(200);
  const refused = await call("PUT", "kv/other", secret, "1");
  expect([refused.status, await refused.text()]).toEqual([
    403,
    expect.stringContaining("lacks permission 'key:write' on \"other\""),
  ]);
  expect(await (await call("GET", `kv/kept?raw&token=${secret}`, "")).text()).toBe("yes");
  expect((await fetch(`${running.base}/kv/kept`, { headers: { authorization: `Bearer ${secret}` } })).status).toBe(200);
  expect(await (await call("GET", "acl/token/self", secret)).json()).toMatchObject({ Policies: [{ Name: "app" }] });
  expect((await call("GET", "acl/tokens", secret)).status).toBe(403);
  expect((await call("GET", "kv/kept", "no-such-token")).status).toBe(403);

  const templated = { TemplatedPolicies: [{ TemplateName: "builtin/service", TemplateVariables: { Name: "api" } }] };
  const service = (await (await call("PUT", "acl/token", boot.SecretID, templated)).json()) as { SecretID: string };
  const register = async (name: string): Promise<number> =>
    (await call("PUT", "agent/service/register", service.SecretID, { Name: name })).status;
  expect([await register("api"), await register("api-sidecar-proxy"), await register("other")]).toEqual([
    200, 200, 403,
  ]);
  expect((await call("GET", "kv/kept", service.SecretID)).status).toBe(403);
});

test("a server with a rate refuses what is beyond it", async () => {
  const own = mkdtempSync(join(tmpdir(), "apollo-consul-rate-"));
  const slow = await startConsulServer(own, "off", { rates: { readsPerSecond: 0.001, writesPerSecond: Infinity } });
  const read = async (): Promise<number> => (await fetch(`${slow.base}/status/leader`)).status;
  expect([await read(), await read()]).toEqual([200, 429]);
  expect((await fetch(`${slow.base}/kv/a`, { method: "PUT", body: "1" })).status).toBe(200);
  await slow.stop();
  rmSync(own, { recursive: true, force: true });
});

test("the root leads to the console", async () => {
  const answer = await fetch(running.base.replace("/v1", "/"), { redirect: "manual" });
  expect(answer.status).toBe(301);
  expect(answer.headers.get("location")).toMatch(/^https:\/\/127\.0\.0\.1:\d+\/ui\/$/);
});
