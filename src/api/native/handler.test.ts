import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Principal } from "../../cluster/access.ts";
import { AppError } from "../../model/error.ts";
import { parseAppId, type HostId } from "../../model/ids.ts";
import { parseIpv4 } from "../../model/ip.ts";
import type { HttpUpgrade } from "../../platform/ports/http.ts";
import { FakeAppService } from "../../sim/fake-app-service.ts";
import { fakeRequest } from "../../sim/fake-request.ts";
import { createNativeHandler } from "./handler.ts";
import { parseJoin } from "./parse-join.ts";
import { renderAppJson, renderInstanceJson, renderWhyJson } from "./render-app.ts";
import type { NativeServices } from "./services.ts";
import type { HostJson, StatusJson } from "./shapes.ts";

const NOW = Date.parse("2026-01-01T00:00:00.000Z");
const app = (id: string, more: object = {}) => ({ id, container: { docker: { image: "x:1" } }, ...more });
const HOST: HostJson = {
  id: "host-1",
  name: "h1",
  address: "192.0.2.1",
  phase: "up",
  cordoned: false,
  blocks: ["10.2.1.0/24"],
  cpus: { total: 2, used: 0 },
  memoryMiB: { total: 1000, used: 0 },
  instances: 0,
  labels: {},
  agentVersion: "0.1.0",
  lastSeenMs: NOW,
  joinedAtMs: NOW,
  conditions: [],
};
const STATUS = { version: "0.1.0", uptimeMs: 1 } as StatusJson;

/** Notes what it was asked, and answers as a server with one host would. */
class FakeServices implements NativeServices {
  readonly version = "0.1.0";
  readonly ca = "-----BEGIN CERTIFICATE-----\n";
  readonly calls: string[] = [];
  readonly hosts = () => [HOST];
  readonly status = () => STATUS;
  readonly services = () => [];
  readonly links = () => [];
  readonly serviceOf = () => "web";
  readonly joinToken = () => "apollo1.x.y";
  readonly setCordoned = async (name: string, cordoned: boolean) => {
    if (name !== "h1") throw new AppError("not-found", `Cannot find host "${name}"`);
    return { ...HOST, cordoned };
  };
  readonly removeHost = async (name: string, { force }: { force: boolean }) => {
    if (!force) throw new AppError("conflict", `Cannot remove host "${name}": it is up`);
    this.calls.push(`remove ${name}`);
  };
  readonly dns = async (name: string, type: string) => {
    return { name, type, code: "NXDOMAIN" as const, answers: [], excluded: [] };
  };
  readonly join = async (request: { name: string }) => ({
    hostId: "host-9",
    credential: "c",
    block: `of ${request.name}`,
  });
  readonly leave = async (hostId: HostId) => `name of ${hostId}`;
  readonly openSession = (token: string) => {
    if (token !== "secret") throw new AppError("denied", "Invalid username or password.", { details: { status: 401 } });
    return { value: "1.ab", maxAgeS: 60 };
  };
  readonly #socket = (name: string): HttpUpgrade => {
    this.calls.push(name);
    return { upgrade: () => ({ message: () => undefined, closed: () => undefined }) };
  };
  readonly sockets = {
    feed: () => this.#socket("feed"),
    agent: (_: unknown, hostId: HostId) => this.#socket(`agent ${hostId}`),
    logs: (id: string, options: object) => this.#socket(`logs ${id} ${JSON.stringify(options)}`),
    exec: (id: string, options: object) => this.#socket(`exec ${id} ${JSON.stringify(options)}`),
  };
}

class Client {
  readonly apps = new FakeAppService(NOW);
  readonly services = new FakeServices();
  readonly actions: string[] = [];
  principal: Principal | null = { kind: "admin" };
  readonly #handle = createNativeHandler({
    apps: this.apps,
    services: this.services,
    authorize: (_, { verb, resource }) => {
      this.actions.push(`${verb} ${resource}`);
      if (this.principal === null) throw new AppError("denied", "no", { details: { status: 401 } });
      return this.principal;
    },
  });

  /** Status and body, "upgrade" for a WebSocket. */
  async send(
    method: string,
    target: string,
    body?: unknown,
  ): Promise<readonly [number, ReturnType<typeof JSON.parse>]> {
    const answer = await this.#handle(fakeRequest(method, target, { body }));
    if ("upgrade" in answer) return [101, "upgrade"];
    const isJson = answer.headers["content-type"] === "application/json";
    if (answer.headers["set-cookie"] !== undefined) return [answer.status, answer.headers["set-cookie"]];
    return [answer.status, isJson ? JSON.parse(answer.body as string) : answer.body];
  }
}

async function clientWith(...apps: readonly object[]): Promise<Client> {
  const client = new Client();
  for (const one of apps) expect((await client.send("POST", "/api/apps", one))[0]).toBe(201);
  return client;
}

test("apps: create, list, show, update, scale, roll back, restart, destroy", async () => {
  const client = await clientWith(app("/shop/web", { instances: 2 }));
  expect(await client.send("GET", "/api/apps")).toEqual([
    200,
    [
      {
        id: "/shop/web",
        image: "x:1",
        instances: 2,
        running: 2,
        healthy: 0,
        unhealthy: 0,
        staging: 0,
        cpus: 1,
        memoryMiB: 128,
        service: "web",
        version: "2026-01-01T00:00:01.000Z",
        status: "running",
        deployments: [],
        problem: null,
        labels: {},
      },
    ],
  ]);
  for (const path of ["shop%2Fweb", "shop/web", "%2Fshop%2Fweb"]) {
    expect((await client.send("GET", `/api/apps/${path}`))[1].id).toBe("/shop/web");
  }
  const [status, ref] = await client.send("PUT", "/api/apps/shop%2Fweb", { cpus: 0.5 });
  expect([status, Object.keys(ref)]).toEqual([200, ["version", "deploymentId"]]);
  expect((await client.send("POST", "/api/apps/shop%2Fweb/scale", { instances: 5 }))[0]).toBe(200);
  expect((await client.send("GET", "/api/apps/shop%2Fweb"))[1]).toMatchObject({ cpus: 0.5, instances: 5, running: 5 });
  const [, versions] = await client.send("GET", "/api/apps/shop%2Fweb/versions");
  expect(versions.map((one: object) => Object.values(one).slice(1))).toEqual([
    ["x:1", 5, true],
    ["x:1", 2, false],
    ["x:1", 2, false],
  ]);
  expect((await client.send("POST", "/api/apps/shop%2Fweb/rollback"))[0]).toBe(200);
  expect((await client.send("GET", "/api/apps/shop%2Fweb"))[1].instances).toBe(2);
  expect((await client.send("POST", "/api/apps/shop%2Fweb/rollback", { version: versions[2].version }))[0]).toBe(200);
  expect((await client.send("GET", "/api/apps/shop%2Fweb"))[1].cpus).toBe(1);
  expect((await client.send("POST", "/api/apps/shop%2Fweb/restart"))[0]).toBe(200);
  expect((await client.send("DELETE", "/api/apps/shop%2Fweb"))[0]).toBe(200);
  expect(client.apps.list()).toEqual([]);
});

test("an app whose last part is one of our words is reached by its encoded id", async () => {
  const client = await clientWith(app("/shop/why"), app("/shop"));
  expect((await client.send("GET", "/api/apps/shop%2Fwhy"))[1].id).toBe("/shop/why");
  expect((await client.send("GET", "/api/apps/shop/why"))[1]).toMatchObject({
    app: "/shop",
    summary: "Running as declared",
  });
});

test("instances: list, by app, show, replace", async () => {
  const container = { docker: { image: "x" }, portMappings: [{ containerPort: 8080 }] };
  const client = await clientWith({ id: "/web", instances: 2, container, healthChecks: [{}] }, app("/other"));
  expect((await client.send("GET", "/api/instances"))[1]).toHaveLength(3);
  const [, [first]] = await client.send("GET", "/api/instances?app=web");
  expect(first).toMatchObject({
    app: "/web",
    host: "h1",
    goal: "running",
    phase: "running",
    health: "healthy",
    address: "10.2.1.2",
    ports: [8080],
    current: true,
    message: null,
  });
  expect((await client.send("GET", `/api/instances/${first.id}`))[1]).toEqual(first);
  expect(await client.send("DELETE", `/api/instances/${first.id}`)).toEqual([204, null]);
  expect((await client.send("GET", `/api/instances/${first.id}`))[0]).toBe(404);
  expect((await client.send("GET", "/api/instances?app=web"))[1]).toHaveLength(2);
});

test("deployments: list, lock, cancel", async () => {
  const client = new Client();
  client.apps.hold = true;
  const [, ref] = await client.send("POST", "/api/apps", app("/web"));
  expect((await client.send("GET", "/api/deployments"))[1]).toEqual([
    {
      id: ref.deploymentId,
      version: ref.version,
      apps: ["/web"],
      step: 1,
      steps: 1,
      actions: [{ action: "StartApplication", app: "/web" }],
      startedAtMs: NOW + 1000,
    },
  ]);
  expect(await client.send("POST", "/api/apps/web/scale", { instances: 2 })).toMatchObject([
    409,
    { error: { code: "conflict", hint: "Wait for it, or pass --force", details: { deployments: [ref.deploymentId] } } },
  ]);
  expect((await client.send("POST", "/api/apps/web/scale?force=true", { instances: 2 }))[0]).toBe(200);
  const [, [running]] = await client.send("GET", "/api/deployments");
  expect((await client.send("DELETE", `/api/deployments/${running.id}?force=true`))[0]).toBe(202);
  expect((await client.send("DELETE", `/api/deployments/${running.id}`))[0]).toBe(404);
});

test("hosts, status, token, services, DNS", async () => {
  const client = new Client();
  expect(await client.send("GET", "/api/hosts")).toEqual([200, [HOST]]);
  expect(await client.send("GET", "/api/hosts/h1")).toEqual([200, HOST]);
  expect((await client.send("GET", "/api/hosts/h2"))[0]).toBe(404);
  expect((await client.send("POST", "/api/hosts/h1/cordon"))[1].cordoned).toBe(true);
  expect((await client.send("POST", "/api/hosts/h1/uncordon"))[1].cordoned).toBe(false);
  expect((await client.send("DELETE", "/api/hosts/h1"))[0]).toBe(409);
  expect(await client.send("DELETE", "/api/hosts/h1?force=true")).toEqual([204, null]);
  expect(await client.send("GET", "/api/status")).toEqual([200, STATUS]);
  expect(await client.send("GET", "/api/join-token")).toEqual([200, { token: "apollo1.x.y" }]);
  expect(await client.send("GET", "/api/services")).toEqual([200, []]);
  expect((await client.send("GET", "/api/dns?name=web.service.consul&type=srv"))[1]).toMatchObject({
    name: "web.service.consul",
    type: "SRV",
  });
  expect((await client.send("GET", "/api/dns"))[0]).toBe(422);
  expect(client.actions).toContain("admin join-token");
  expect(client.actions).toContain("admin hosts");
});

test("what needs no token, and only that", async () => {
  const client = new Client();
  client.principal = null;
  expect(await client.send("GET", "/api/info")).toEqual([200, { name: "apollo", version: "0.1.0" }]);
  expect(await client.send("GET", "/api/ca")).toEqual([200, client.services.ca]);
  expect(await client.send("POST", "/api/session", { token: "secret" })).toEqual([
    204,
    "apollo_session=1.ab; Path=/; HttpOnly; SameSite=Strict; Secure; Max-Age=60",
  ]);
  expect(await client.send("DELETE", "/api/session")).toEqual([
    204,
    "apollo_session=; Path=/; HttpOnly; SameSite=Strict; Secure; Max-Age=0",
  ]);
  expect((await client.send("POST", "/api/session", { token: "guess" }))[0]).toBe(401);
  expect((await client.send("POST", "/api/session", {}))[0]).toBe(422);
  for (const path of [
    "apps",
    "hosts",
    "status",
    "join-token",
    "services",
    "dns",
    "feed",
    "agent",
    "leave",
    "join",
    "nothing",
    "info/x",
    "",
  ]) {
    expect(await client.send("GET", `/api/${path}`)).toMatchObject([401, { error: { code: "denied" } }]);
  }
});

test("join: parsed, passed on; the right to join is asked for; leave is for hosts", async () => {
  const client = new Client();
  const join = {
    name: "H2",
    address: "192.0.2.2",
    labels: {},
    resources: { cpus: 1, memoryMiB: 1, diskMiB: 1 },
    hostRanges: ["192.0.2.0/24"],
    newer: 1,
  };
  expect(await client.send("POST", "/api/join", join)).toEqual([
    200,
    { hostId: "host-9", credential: "c", block: "of h2" },
  ]);
  expect(client.actions).toEqual(["join join"]);
  expect(
    await client.send("POST", "/api/join", { ...join, name: "a.b", address: "1.2.3", hostRanges: ["x"] }),
  ).toMatchObject([
    422,
    { error: { code: "invalid", fields: [{ path: "/name" }, { path: "/address" }, { path: "/hostRanges(0)" }] } },
  ]);
  expect((await client.send("POST", "/api/leave", {}))[0]).toBe(404);
  client.principal = { kind: "host", hostId: "host-9" as HostId };
  expect(await client.send("POST", "/api/leave", {})).toEqual([200, { left: "name of host-9" }]);
});

test("WebSockets are handed to the server with what they asked for", async () => {
  const client = await clientWith(app("/web"));
  const [, [{ id }]] = await client.send("GET", "/api/instances");
  const argv = encodeURIComponent('["sh","-c","ls"]');
  expect(await client.send("GET", "/api/feed")).toEqual([101, "upgrade"]);
  expect(await client.send("GET", `/api/instances/${id}/logs?follow=true&tail=10`)).toEqual([101, "upgrade"]);
  expect(await client.send("GET", `/api/instances/${id}/exec?argv=${argv}&tty=true`)).toEqual([101, "upgrade"]);
  expect((await client.send("GET", `/api/instances/${id}/exec?argv=[1]`))[0]).toBe(422);
  expect((await client.send("GET", `/api/instances/${id}/exec`))[0]).toBe(422);
  expect((await client.send("GET", `/api/instances/${id}/logs?tail=x`))[0]).toBe(422);
  expect((await client.send("GET", "/api/instances/nope/logs"))[0]).toBe(404);
  expect((await client.send("GET", "/api/agent"))[0]).toBe(404);
  client.principal = { kind: "host", hostId: "host-7" as HostId };
  expect(await client.send("GET", "/api/agent")).toEqual([101, "upgrade"]);
  expect(client.services.calls).toEqual([
    "feed",
    `logs ${id} {"follow":true,"tail":10}`,
    `exec ${id} {"argv":["sh","-c","ls"],"tty":true,"stdin":false}`,
    "agent host-7",
  ]);
  expect(client.actions).toContain("write exec");
});

test.each<[string, string, unknown, number, object]>([
  ["POST", "/api/apps", "{", 400, { code: "invalid", message: expect.stringContaining("Invalid JSON: ") }],
  [
    "POST",
    "/api/apps",
    { id: "a", container: { docker: {} } },
    422,
    {
      code: "invalid",
      message: "Cannot use app definition: /container/docker/image is missing",
      fields: [{ path: "/container/docker/image", message: "is missing" }],
    },
  ],
  ["POST", "/api/apps", app("/web"), 409, { code: "conflict", message: 'Cannot create app "/web": it exists' }],
  [
    "PUT",
    "/api/apps/web",
    { id: "/other" },
    422,
    { code: "invalid", fields: [{ path: "/id", message: "must be /web, as in the address, or left out" }] },
  ],
  [
    "PUT",
    "/api/apps/web",
    { instnaces: 1 },
    422,
    { fields: [{ path: "/instnaces", message: 'is not a known field; did you mean "instances"?' }] },
  ],
  [
    "GET",
    "/api/apps/nope",
    undefined,
    404,
    { code: "not-found", message: 'Cannot find app "nope"', hint: 'See the apps with "apollo app list"' },
  ],
  ["GET", "/api/apps/A_B", undefined, 404, { code: "not-found" }],
  [
    "POST",
    "/api/apps/web/scale",
    { instances: -1 },
    422,
    { fields: [{ path: "/instances", message: "got -1, expected 0 or more" }] },
  ],
  [
    "POST",
    "/api/apps/web/scale",
    { instances: 1.5 },
    422,
    { fields: [{ path: "/instances", message: "must be a whole number" }] },
  ],
  ["POST", "/api/apps/web/scale", {}, 422, { fields: [{ path: "/instances", message: "is missing" }] }],
  ["POST", "/api/apps/web/scale", "", 400, { code: "invalid" }],
  [
    "POST",
    "/api/apps/web/rollback",
    undefined,
    409,
    { message: 'Cannot roll back app "/web": it has only one version' },
  ],
  ["POST", "/api/apps/web/rollback", { version: "2000-01-01T00:00:00.000Z" }, 404, { code: "not-found" }],
  ["POST", "/api/apps/web/rollback", { version: "soon" }, 422, { code: "invalid" }],
  ["GET", "/api/nothing", undefined, 404, { code: "not-found" }],
  ["GET", "/api", undefined, 404, { code: "not-found" }],
  ["GET", "/api/status/x", undefined, 404, { code: "not-found" }],
  ["GET", "/api/apps/%zz", undefined, 404, { code: "not-found" }],
  ["PATCH", "/api/apps", undefined, 405, { code: "invalid", message: "Cannot do that here: use GET or POST" }],
  ["POST", "/api/status", undefined, 405, { code: "invalid" }],
  ["POST", "/api/info", undefined, 405, { code: "invalid" }],
])("%s %s with %p is %d", async (method, path, body, status, error) => {
  const client = await clientWith(app("/web"));
  expect(await client.send(method, path, body)).toMatchObject([status, { error }]);
});

test("renderWhyJson() says what an app waits for", async () => {
  const client = await clientWith(app("/web", { instances: 2 }));
  const view = client.apps.get(parseAppId("/web"));
  if (view === null) throw new Error("the app was just made");
  const [a, b] = view.instances;
  if (a === undefined || b === undefined || a.status?.phase !== "running") throw new Error("two instances run");
  const why = (...instances: readonly (typeof a)[]) => renderWhyJson({ ...view, instances }).summary;
  expect(why(a, b)).toBe("Running as declared");
  expect(why(a)).toBe("Waits for 1 of 2 instances to start");
  expect(why(a, { ...b, hostUp: false, hostName: "h2" })).toBe(
    "Waits for replacements of instances on h2, which cannot be reached",
  );
  expect(why(a, { ...b, status: { ...a.status, health: "unhealthy" } })).toBe(
    "1 of 2 instances fail their health checks",
  );
  expect(why(a, { ...b, status: { ...a.status, health: "unknown" } })).toBe(
    "Waits for the first health check of 1 of 2 instances",
  );
  expect(why(a, { ...b, current: false })).toBe("Waits for 1 instance of an older version to be replaced");
  expect(why(a, b, b)).toBe("Waits for 1 instance to stop");
  const hosts = [{ host: "h1", reason: "needs 9 CPUs, 2 free" }];
  const problem = {
    appId: view.current.spec.id,
    code: "no-capacity",
    message: "No host has 9 CPUs free",
    count: 1,
    hosts,
    retryAtMs: null,
  } as const;
  expect(renderWhyJson({ ...view, problem })).toMatchObject({
    code: "no-capacity",
    summary: "No host has 9 CPUs free",
    hosts,
  });
  expect(renderAppJson({ ...view, problem }, null)).toMatchObject({
    status: "waiting",
    problem: "No host has 9 CPUs free",
  });
  expect(renderAppJson({ ...view, problem: { ...problem, code: "backoff" } }, null).status).toBe("delayed");
});

test.each<[object, object]>([
  [{ status: null }, { phase: "assigned", health: "unknown", address: null, message: null }],
  [{ status: { phase: "staging", step: "pulling", sinceMs: 1 } }, { phase: "staging", message: "pulling" }],
  [{ status: { phase: "failed", reason: "exit 1", exitCode: 1, atMs: 1 } }, { phase: "failed", message: "exit 1" }],
  [{ hostUp: false }, { phase: "lost" }],
])("renderInstanceJson() of %p", async (change, expected) => {
  const client = await clientWith(app("/web"));
  const view = client.apps.get(parseAppId("/web"));
  const [instance] = view?.instances ?? [];
  if (view === null || instance === undefined) throw new Error("the app was just made");
  expect(renderInstanceJson({ ...instance, ...change })).toMatchObject(expected);
});

test("parseJoin() gives a value or an AppError for any JSON", () => {
  const good = { name: "h1", address: "192.0.2.1", resources: {}, hostRanges: ["10.0.0.0/8"], labels: {} };
  expect(parseJoin(good)).toMatchObject({ name: "h1", address: parseIpv4("192.0.2.1"), credential: null });
  fc.assert(
    fc.property(
      fc.oneof(
        fc.jsonValue(),
        fc.record({ name: fc.jsonValue(), hostRanges: fc.jsonValue() }).map((part) => ({ ...good, ...part })),
      ),
      (value) => {
        try {
          parseJoin(value);
        } catch (error) {
          expect(error).toBeInstanceOf(AppError);
        }
      },
    ),
  );
});

test("any path and body give an answer below 500", async () => {
  const client = await clientWith(app("/a/b"));
  const segment = fc.constantFrom(
    "api",
    "apps",
    "a",
    "a%2Fb",
    "scale",
    "rollback",
    "versions",
    "why",
    "hosts",
    "h1",
    "cordon",
    "instances",
    "logs",
    "deployments",
    "session",
    "join",
    "",
    "%zz",
  );
  const method = fc.constantFrom("GET", "PUT", "POST", "DELETE", "PATCH", "HEAD");
  await fc.assert(
    fc.asyncProperty(method, fc.array(segment, { maxLength: 5 }), fc.jsonValue(), async (verb, segments, body) => {
      expect((await client.send(verb, `/api/${segments.join("/")}`, body))[0]).toBeLessThan(500);
    }),
    { numRuns: 500 },
  );
});
