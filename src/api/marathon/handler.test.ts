import { expect, test } from "bun:test";
import fc from "fast-check";
import { AppError } from "../../model/error.ts";
import { parseAppId } from "../../model/ids.ts";
import type { HttpResponse } from "../../platform/ports/http.ts";
import { FakeAppService } from "../../sim/fake-app-service.ts";
import { fakeRequest } from "../../sim/fake-request.ts";
import { createMarathonHandler } from "./handler.ts";
import { parseLabelSelector } from "./label-selector.ts";

const NOW = Date.parse("2026-01-01T00:00:00.000Z");
const app = (id: string, more: object = {}) => ({ id, container: { docker: { image: "x:1" } }, ...more });

/** Answers have many shapes, and a test only names what it looks at: the type that JSON.parse gives. */
type Body = ReturnType<typeof JSON.parse>;

interface Answer {
  readonly status: number;
  readonly body: Body;
  readonly headers: Readonly<Record<string, string>>;
}

class Client {
  readonly apps = new FakeAppService(NOW);
  readonly actions: string[] = [];
  denied: AppError | null = null;
  readonly #handle = createMarathonHandler({
    apps: this.apps,
    authorize: (_, action) => {
      this.actions.push(`${action.verb} ${action.resource}`);
      if (this.denied !== null) throw this.denied;
      return { kind: "admin" };
    },
    nowMs: () => NOW,
    version: "0.1.0",
    leader: "apollo:8443",
    httpsPort: 8443,
    plainPort: null,
  });

  async send(method: string, target: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    const request = fakeRequest(method, target, { body, headers });
    const answer = (await this.#handle(request)) as HttpResponse;
    const text = answer.body as string | null;
    const isJson = answer.headers["content-type"] === "application/json";
    return {
      status: answer.status,
      body: isJson && text !== null ? JSON.parse(text) : text,
      headers: answer.headers,
    };
  }
}

async function clientWith(...apps: readonly object[]): Promise<Client> {
  const client = new Client();
  for (const one of apps) expect((await client.send("POST", "/v2/apps", one)).status).toBe(201);
  return client;
}

test("POST /v2/apps makes an app; the answer is it, with Location and the deployment", async () => {
  const client = new Client();
  const { status, body, headers } = await client.send("POST", "/v2/apps", app("shop/web", { instances: 2 }));
  expect(status).toBe(201);
  expect(headers).toMatchObject({ location: "/v2/apps/shop/web", "marathon-deployment-id": body.deployments[0].id });
  expect(body).toMatchObject({
    id: "/shop/web",
    instances: 2,
    tasksRunning: 0,
    tasksStaged: 0,
    labels: {},
    uris: [],
    ports: [],
  });
  const again = await client.send("POST", "/v2/apps", app("/shop/web"));
  expect([again.status, again.body]).toEqual([409, { message: "An app with id [/shop/web] already exists." }]);
});

test.each([
  "/v2/apps/shop/web",
  "/v2/apps//shop/web",
  "/v2/apps/%2Fshop%2Fweb",
  "/v2/apps/shop/web/",
  "/v2/apps/%2fshop/web",
])("GET %s finds the app however its slashes are written", async (path) => {
  const client = await clientWith(app("/shop/web"));
  const { status, body } = await client.send("GET", path);
  expect([status, body.app?.id]).toEqual([200, "/shop/web"]);
});

test("GET /v2/apps/ID has counts, deployments, tasks with addresses", async () => {
  const container = { docker: { image: "x" }, portMappings: [{ containerPort: 8080 }] };
  const client = await clientWith({ id: "/web", instances: 2, container, healthChecks: [{ path: "/" }] });
  const { body } = await client.send("GET", "/v2/apps//web");
  expect(body.app).toMatchObject({
    tasksRunning: 2,
    tasksHealthy: 2,
    tasksUnhealthy: 0,
    tasksStaged: 0,
    deployments: [],
    networks: [{ mode: "container", name: "apollo" }],
    versionInfo: { lastScalingAt: body.app.version, lastConfigChangeAt: body.app.version },
  });
  expect(body.app.tasks[0]).toEqual({
    id: "web.instance-00000000-0000-4000-8000-000000000001._app.1",
    appId: "/web",
    host: "h1",
    ports: [],
    slaveId: "host-1",
    state: "TASK_RUNNING",
    stagedAt: "2026-01-01T00:00:01.000Z",
    startedAt: "2026-01-01T00:00:01.000Z",
    version: body.app.version,
    ipAddresses: [{ ipAddress: "10.2.1.2", protocol: "IPv4" }],
    healthCheckResults: [
      {
        instanceId: "web.instance-00000000-0000-4000-8000-000000000001",
        taskId: "web.instance-00000000-0000-4000-8000-000000000001._app.1",
        alive: true,
        consecutiveFailures: 0,
        firstSuccess: "2026-01-01T00:00:01.000Z",
        lastSuccess: "2026-01-01T00:00:01.000Z",
        lastFailure: null,
        lastFailureCause: null,
      },
    ],
    localVolumes: [],
    role: "*",
  });
});

test("GET /v2/apps filters and embeds", async () => {
  const client = await clientWith(
    app("/a/web", { labels: { tier: "front" }, cmd: "run Web" }),
    app("/a/db", { labels: { tier: "back", hot: "" } }),
  );
  const ids = async (query: string): Promise<string[]> =>
    (await client.send("GET", `/v2/apps?${query}`)).body.apps.map((one: { id: string }) => one.id);
  expect(await ids("")).toEqual(["/a/db", "/a/web"]);
  expect(await ids("id=WEB")).toEqual(["/a/web"]);
  expect(await ids("cmd=run+web")).toEqual(["/a/web"]);
  expect(await ids("label=tier%3D%3Dback")).toEqual(["/a/db"]);
  expect(await ids("label=hot&label=tier")).toEqual(["/a/db"]);
  const keys = async (query: string): Promise<string[]> =>
    Object.keys((await client.send("GET", `/v2/apps?${query}`)).body.apps[0]);
  expect(await keys("")).toContain("tasksRunning");
  expect(await keys("")).not.toContain("tasks");
  expect(await keys("embed=apps.tasks&embed=nonsense")).toContain("tasks");
  expect(await keys("embed=none")).not.toContain("tasksRunning");
  expect((await client.send("GET", "/v2/apps/a/*")).body["*"]).toHaveLength(2);
});

test("PUT merges, replaces with partialUpdate=false, creates with 201, rolls back by version", async () => {
  const client = await clientWith(app("/web", { instances: 2, env: { A: "1" } }));
  const first = (await client.send("GET", "/v2/apps/web")).body.app.version;
  const merged = await client.send("PUT", "/v2/apps//web", '{"instances": 3.000000}');
  expect([merged.status, Object.keys(merged.body)]).toEqual([200, ["version", "deploymentId"]]);
  expect(merged.headers["marathon-deployment-id"]).toBe(merged.body.deploymentId);
  expect((await client.send("GET", "/v2/apps/web")).body.app).toMatchObject({
    instances: 3,
    env: { A: "1" },
    tasksRunning: 3,
  });

  await client.send("PUT", "/v2/apps/web?partialUpdate=false", app("/web"));
  expect((await client.send("GET", "/v2/apps/web")).body.app).toMatchObject({ instances: 1, env: {} });
  expect((await client.send("PUT", "/v2/apps/new", app("/new"))).status).toBe(201);

  expect((await client.send("PUT", "/v2/apps/web", { version: first })).status).toBe(200);
  expect((await client.send("GET", "/v2/apps/web")).body.app).toMatchObject({ instances: 2, env: { A: "1" } });
  const mixed = await client.send("PUT", "/v2/apps/web", { version: first, instances: 9 });
  expect([mixed.status, mixed.body.details[0].errors]).toEqual([
    422,
    ["The 'version' field may only be combined with the 'id' field."],
  ]);
  const missing = await client.send("PUT", "/v2/apps/web", { version: "2000-01-01T00:00:00.000Z" });
  expect([missing.status, missing.body.message]).toEqual([
    404,
    "App '/web' does not exist in version 2000-01-01T00:00:00.000Z",
  ]);
});

test("what was got can be edited and put", async () => {
  const container = { docker: { image: "x", network: "BRIDGE", portMappings: [{ containerPort: 8080, hostPort: 0 }] } };
  const client = await clientWith({ id: "/web", container, healthChecks: [{ path: "/" }], ports: [10_004] });
  const { app: got } = (await client.send("GET", "/v2/apps/web")).body;
  const put = await client.send("PUT", "/v2/apps/web", { ...got, instances: 4 });
  expect([put.status, put.body.message]).toEqual([200, undefined]);
  const { app: after } = (await client.send("GET", "/v2/apps/web")).body;
  expect(after).toMatchObject({ instances: 4, ports: [10_004], container: got.container });
});

test("PUT and PATCH of a list are one deployment", async () => {
  const client = await clientWith(app("/a"), app("/b"));
  const put = await client.send("PUT", "/v2/apps", [{ id: "/a", instances: 2 }, app("/c")]);
  expect([put.status, client.apps.list().map((one) => one.current.spec.instances)]).toEqual([200, [2, 1, 1]]);
  const patch = await client.send("PATCH", "/v2/apps", [{ id: "/a", instances: 3 }, app("/d")]);
  expect([patch.status, patch.body.message]).toEqual([404, "App '/d' does not exist"]);
  expect(client.apps.get(parseAppId("/a"))?.current.spec.instances).toBe(2);
});

test("versions: newest first; each as it was", async () => {
  const client = await clientWith(app("/web"));
  await client.send("PUT", "/v2/apps/web", { instances: 5 });
  const { versions } = (await client.send("GET", "/v2/apps/web/versions")).body;
  expect(versions).toEqual(["2026-01-01T00:00:02.000Z", "2026-01-01T00:00:01.000Z"]);
  const old = await client.send("GET", `/v2/apps//web/versions/${encodeURIComponent(versions[1])}`);
  expect(old.body).toMatchObject({ id: "/web", instances: 1, version: versions[1] });
  const none = await client.send("GET", "/v2/apps/web/versions/2000-01-01T00:00:00.000Z");
  expect([none.status, none.body.message]).toEqual([
    404,
    "App '/web' does not exist in version 2000-01-01T00:00:00.000Z",
  ]);
  const bad = await client.send("GET", "/v2/apps/web/versions/soon");
  expect([bad.status, bad.body.message]).toEqual([
    422,
    "Invalid timestamp provided 'soon'. Expecting ISO-8601 datetime string.",
  ]);
});

test("restart and delete answer with their deployment", async () => {
  const client = await clientWith(app("/web"));
  const restart = await client.send("POST", "/v2/apps//web/restart?force=true", { force: false });
  expect([restart.status, typeof restart.body.deploymentId]).toEqual([200, "string"]);
  const gone = await client.send("DELETE", "/v2/apps/web");
  expect([gone.status, client.apps.list()]).toEqual([200, []]);
});

test("tasks: list, kill one, kill by host, kill and scale", async () => {
  const client = await clientWith(app("/web", { instances: 4 }));
  const ids = async (): Promise<string[]> =>
    (await client.send("GET", "/v2/apps/web/tasks")).body.tasks.map((task: { id: string }) => task.id);
  const [first = "", ...rest] = await ids();
  const one = await client.send("DELETE", `/v2/apps//web/tasks/${first}`);
  expect([one.status, one.body.task.id]).toEqual([200, first]);
  expect(await ids()).toHaveLength(4);
  expect(await ids()).not.toContain(first);
  const unknown = await client.send("DELETE", "/v2/apps/web/tasks/nope");
  expect([unknown.status, unknown.body.message]).toEqual([404, "Task 'nope' does not exist"]);
  const scaled = await client.send("DELETE", `/v2/apps/web/tasks/${rest[0]}?scale=true`);
  expect([scaled.status, Object.keys(scaled.body)]).toEqual([200, ["version", "deploymentId"]]);
  expect(client.apps.get(parseAppId("/web"))?.current.spec.instances).toBe(3);
  const both = await client.send("DELETE", "/v2/apps/web/tasks?scale=true&wipe=true");
  expect([both.status, both.body.message]).toEqual([400, "You cannot use scale and wipe at the same time."]);
  const hosts = await client.send("DELETE", "/v2/apps/web/tasks?host=h3");
  expect(hosts.body.tasks.map((task: { host: string }) => task.host)).toEqual(["h3"]);
  const many = await client.send("POST", "/v2/tasks/delete", { ids: await ids() });
  expect(many.body.tasks).toHaveLength(3);
  const bad = await client.send("POST", "/v2/tasks/delete", { ids: ["x"] });
  expect([bad.status, bad.body.message]).toEqual([400, "Invalid task id 'x'"]);
});

test("GET /v2/tasks: JSON with service ports; text for those who only take text", async () => {
  const container = { docker: { image: "x" }, portMappings: [{ containerPort: 8080, servicePort: 10_001 }] };
  const client = await clientWith({ id: "/shop/web", instances: 2, container }, app("/plain"));
  const { tasks } = (await client.send("GET", "/v2/tasks?status=running")).body;
  expect(tasks.map((task: { servicePorts: number[] }) => task.servicePorts)).toEqual([[], [10_001], [10_001]]);
  expect((await client.send("GET", "/v2/tasks?status=staging")).body.tasks).toEqual([]);
  const lines = (await client.send("GET", "/v2/tasks", undefined, { accept: "text/plain" })).body;
  expect(lines).toBe("plain\t \th1 \nshop_web\t10001\t10.2.1.2:8080\t10.2.2.3:8080\t\n");
  const wide = await client.send("GET", "/v2/tasks", undefined, { accept: "text/plain, */*" });
  expect(wide.body.tasks).toHaveLength(3);
});

const MARATHONCTL = { "user-agent": "Go-http-client/1.1", accept: "application/json" };

test("deployments: modern shape, the old one for marathonctl, cancel with and without force", async () => {
  const client = new Client();
  client.apps.hold = true;
  const { body: created } = await client.send("POST", "/v2/apps", app("/web"));
  const modern = (await client.send("GET", "/v2/deployments")).body;
  expect(modern).toEqual([
    {
      id: created.deployments[0].id,
      version: created.version,
      affectedApps: ["/web"],
      affectedPods: [],
      steps: [{ actions: [{ action: "StartApplication", app: "/web" }] }],
      currentActions: [{ action: "StartApplication", app: "/web", readinessCheckResults: [] }],
      currentStep: 1,
      totalSteps: 1,
    },
  ]);
  const legacy = (await client.send("GET", "/v2/deployments", undefined, MARATHONCTL)).body;
  expect(legacy[0].steps).toEqual([[{ action: "StartApplication", app: "/web" }]]);
  const zipped = { ...MARATHONCTL, "accept-encoding": "gzip" };
  expect((await client.send("GET", "/v2/deployments", undefined, zipped)).body).toEqual(modern);

  const locked = await client.send("PUT", "/v2/apps/web", { instances: 2 });
  expect([locked.status, locked.body]).toEqual([
    409,
    {
      message:
        "App is locked by one or more deployments. Override with the option '?force=true'. View details at '/v2/deployments/<DEPLOYMENT_ID>'.",
      deployments: [{ id: created.deployments[0].id }],
    },
  ]);
  expect((await client.send("PUT", "/v2/apps/web?force=true", { instances: 2 })).status).toBe(200);
  const [running] = (await client.send("GET", "/v2/deployments")).body;
  const dropped = await client.send("DELETE", `/v2/deployments/${running.id}?force=true`);
  expect([dropped.status, dropped.body]).toEqual([202, null]);
  await client.send("PUT", "/v2/apps/web", { instances: 7 });
  const [next] = (await client.send("GET", "/v2/deployments")).body;
  const back = await client.send("DELETE", `/v2/deployments/${next.id}`);
  expect([back.status, client.apps.list()[0]?.current.spec.instances]).toEqual([200, 2]);
  const none = await client.send("DELETE", "/v2/deployments/x");
  expect([none.status, none.body.message]).toEqual([404, "DeploymentPlan x does not exist"]);
});

test("queue: what waits and why it may not start yet; its delay can be ended once", async () => {
  const client = await clientWith(app("/web"));
  const problem = {
    appId: parseAppId("/web"),
    code: "backoff",
    message: "m",
    count: 2,
    hosts: [],
    retryAtMs: NOW + 1500,
  } as const;
  client.apps.waiting.set(problem.appId, problem);
  const { queue } = (await client.send("GET", "/v2/queue")).body;
  expect(queue).toMatchObject([{ app: { id: "/web" }, count: 2, delay: { timeLeftSeconds: 2, overdue: false } }]);
  const legacy = (await client.send("GET", "/v2/queue", undefined, MARATHONCTL)).body;
  expect(legacy.queue[0].delay).toEqual({ overdue: false });
  expect((await client.send("DELETE", "/v2/queue//web/delay")).status).toBe(204);
  const again = await client.send("DELETE", "/v2/queue//web/delay");
  expect([again.status, again.body.message]).toEqual([404, "Application /web not found in tasks queue."]);
});

test("groups are the paths of apps", async () => {
  const client = await clientWith(app("/shop/web"), app("/shop/db/main"), app("/top"));
  const root = (await client.send("GET", "/v2/groups")).body;
  expect(root).toMatchObject({
    id: "/",
    apps: [{ id: "/top" }],
    groups: [
      { id: "/shop", apps: [{ id: "/shop/web" }], groups: [{ id: "/shop/db", apps: [{ id: "/shop/db/main" }] }] },
    ],
  });
  expect((await client.send("GET", "/v2/groups//shop/db")).body.apps).toHaveLength(1);
  const none = await client.send("GET", "/v2/groups/nope");
  expect([none.status, none.body.message]).toEqual([404, "Group '/nope' does not exist"]);
});

test("info, leader, plugins, ping", async () => {
  const client = new Client();
  expect((await client.send("GET", "/v2/info")).body).toMatchObject({
    name: "marathon",
    leader: "apollo:8443",
    elected: true,
  });
  expect((await client.send("GET", "/v2/leader")).body).toEqual({ leader: "apollo:8443" });
  expect((await client.send("GET", "/v2/plugins")).body).toEqual({ plugins: [] });
  expect((await client.send("GET", "/v2/plugins/x/y")).body).toEqual({ message: "No plugin with this pluginId: x" });
  client.denied = new AppError("denied", "no");
  const accepts = [undefined, "application/json", "image/png"];
  const pings = await Promise.all(
    accepts.map((accept) => client.send("GET", "/ping", undefined, accept === undefined ? {} : { accept })),
  );
  expect(pings.map(({ status, body }) => [status, body])).toEqual([
    [200, "pong"],
    [200, "pong"],
    [204, null],
  ]);
});

test.each<[string, string, unknown, number, unknown]>([
  ["POST", "/v2/apps", "{", 400, { message: "Invalid JSON", details: expect.any(String) }],
  ["POST", "/v2/apps", "", 400, { message: "Please specify data in JSON format", details: expect.any(String) }],
  ["POST", "/v2/apps", "[]", 400, { message: "Please specify data in JSON format", details: expect.any(String) }],
  ["PUT", "/v2/apps", "{}", 400, { message: "Please specify data in JSON format" }],
  [
    "POST",
    "/v2/apps",
    { ...app("/a"), id: 1 },
    422,
    { message: "Invalid JSON", details: [{ path: "/id", errors: ["error.expected.jsstring"] }] },
  ],
  [
    "POST",
    "/v2/apps",
    app("/a", { upgradeStrategy: { minimumHealthCapacity: 2 } }),
    422,
    {
      message: "Object is not valid",
      details: [{ path: "/upgradeStrategy/minimumHealthCapacity", errors: ["is greater than 1"] }],
    },
  ],
  [
    "POST",
    "/v2/apps",
    app("/a", { foo: 1 }),
    422,
    { message: "Object is not valid", details: [{ path: "/foo", errors: ["is not a known field"] }] },
  ],
  [
    "PUT",
    "/v2/apps/A_B",
    app("x"),
    422,
    {
      message: "Object is not valid",
      details: [{ path: "/id", errors: [expect.stringContaining("regular expression")] }],
    },
  ],
  ["GET", "/v2/apps/nope", undefined, 404, { message: "App '/nope' does not exist" }],
  ["GET", "/v2/apps/A_B", undefined, 404, { message: "App '/A_B' does not exist" }],
  ["DELETE", "/v2/apps/nope", undefined, 404, { message: "App '/nope' does not exist" }],
  ["PATCH", "/v2/apps/nope", {}, 404, { message: "App '/nope' does not exist" }],
  ["POST", "/v2/apps/nope/restart", undefined, 404, { message: "App '/nope' does not exist" }],
  ["GET", "/v2/apps/nope/tasks", undefined, 404, { message: "App '/nope' does not exist" }],
  ["GET", "/v2/apps/nope/versions", undefined, 404, { message: "App '/nope' does not exist" }],
  [
    "GET",
    "/v2/apps?label=a+b",
    undefined,
    422,
    { message: 'Can not parse label selector a b. Reason: unknown operator "b"' },
  ],
  ["GET", "/v2/nothing", undefined, 404, { message: "Not Found" }],
  ["GET", "/v2/apps/%E0%A4%A", undefined, 404, { message: "Not Found" }],
  ["GET", "/v2", undefined, 404, { message: "Not Found" }],
  ["DELETE", "/v2/apps", undefined, 405, { message: "Method Not Allowed" }],
  ["POST", "/v2/apps/a", undefined, 405, { message: "Method Not Allowed" }],
  ["POST", "/v2/deployments", undefined, 405, { message: "Method Not Allowed" }],
])("%s %s with %p is %d", async (method, path, body, status, expected) => {
  const answer = await (await clientWith()).send(method, path, body);
  expect([answer.status, answer.body]).toEqual([status, expected]);
});

test("media types: 415 for forms, 406 for what we do not have; none at all is fine", async () => {
  const client = new Client();
  const post = async (headers: Record<string, string>): Promise<number> =>
    (await client.send("POST", "/v2/apps", app("/a"), headers)).status;
  expect(await post({ "content-type": "application/x-www-form-urlencoded" })).toBe(415);
  expect(await post({ "content-type": "text/plain" })).toBe(415);
  expect(await post({ "content-type": "application/json; charset=utf-8" })).toBe(201);
  expect(await post({ accept: "image/png" })).toBe(406);
  const get = await client.send("GET", "/v2/apps", undefined, { accept: "image/png" });
  expect([get.status, get.body]).toEqual([406, { message: "Not Acceptable" }]);
  expect((await client.send("GET", "/v2/apps", undefined, { accept: "text/html,*/*;q=0.8" })).status).toBe(200);
});

test("access is asked before anything else, by verb; 401 names the scheme", async () => {
  const client = await clientWith();
  client.denied = new AppError("denied", "Invalid username or password.", { details: { status: 401 } });
  const answer = await client.send("POST", "/v2/apps", "{");
  expect([answer.status, answer.body]).toEqual([401, { message: "Invalid username or password." }]);
  expect(answer.headers["www-authenticate"]).toBe('Basic realm="Apollo"');
  client.denied = new AppError("denied", "Not Authorized to perform this action!");
  expect((await client.send("GET", "/v2/nothing")).status).toBe(403);
  expect(client.actions).toEqual(["write marathon/apps", "read marathon/nothing"]);
});

test("every answer carries Marathon's headers", async () => {
  const { headers } = await new Client().send("GET", "/v2/nothing");
  expect(headers).toMatchObject({
    "x-marathon-leader": "https://apollo:8443",
    "cache-control": "no-cache, no-store, must-revalidate",
    "x-frame-options": "DENY",
  });
});

test.each<[string, Record<string, string>, boolean]>([
  ["a", { a: "" }, true],
  ["a", {}, false],
  ["a==x, b!=y", { a: "x" }, true],
  ["a==x,b!=y", { a: "x", b: "y" }, false],
  ["a in (x, y)", { a: "y" }, true],
  ["a notin (x,y)", { a: "y" }, false],
  ["a notin (x,y)", {}, true],
  ["a==x\\,y", { a: "x,y" }, true],
  ["in", { in: "1" }, true],
  ["in in (in)", { in: "in" }, true],
  ["constructor", {}, false],
])("label selector %s on %p is %p", (selector, labels, expected) => {
  expect(parseLabelSelector(selector)(labels)).toBe(expected);
});

test.each(["", ",", "a=b", "a==", "a in", "a in x", "a in (x", "a b c", "(", "a,,b"])(
  "label selector %p is refused",
  (selector) => {
    expect(() => parseLabelSelector(selector)).toThrow(/^Can not parse label selector/);
  },
);

test("any selector and any path give a value or an AppError's answer", async () => {
  const word = fc.string({ unit: fc.constantFrom("a", "b", " ", ",", "=", "!", "(", ")", "\\", "in", "notin") });
  fc.assert(
    fc.property(word, (selector) => {
      try {
        parseLabelSelector(selector)({ a: "b" });
      } catch (error) {
        expect(error).toBeInstanceOf(AppError);
      }
    }),
  );
  const client = await clientWith(app("/a/b"));
  const segment = fc.constantFrom(
    "v2",
    "apps",
    "a",
    "b",
    "tasks",
    "versions",
    "restart",
    "*",
    "%2F",
    "",
    "..",
    "%zz",
    "queue",
    "delay",
    "groups",
  );
  const method = fc.constantFrom("GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS");
  await fc.assert(
    fc.asyncProperty(method, fc.array(segment, { maxLength: 6 }), async (verb, segments) => {
      const { status } = await client.send(verb, `/${segments.join("/")}`);
      expect(status).toBeLessThan(500);
    }),
    { numRuns: 500 },
  );
});
