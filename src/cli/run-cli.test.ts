import { afterEach, expect, test } from "bun:test";
import { EXIT_CODE } from "../model/error.ts";
import { VERSION } from "./version.ts";
import { buildProgram } from "./command-tree.ts";
import { type CliRun, createTestContext, runTestCli } from "./test-cli.fixture.ts";
import {
  appJson,
  errorResponse,
  hostJson,
  instanceJson,
  startTestServer,
  type TestAnswer,
  type TestServer,
} from "./test-server.fixture.ts";

let server: TestServer | null = null;
afterEach(async () => {
  await server?.stop();
  server = null;
});

function serve(answers: Readonly<Record<string, TestAnswer>>): TestServer {
  server = startTestServer(answers);
  return server;
}

async function apollo(argv: readonly string[], stdin?: string): Promise<CliRun> {
  const env = { APOLLO_SERVER: server?.url ?? "http://127.0.0.1:1", APOLLO_TOKEN: "secret" };
  return await runTestCli(argv, { env, ...(stdin === undefined ? {} : { stdin }) });
}

const APPS: TestAnswer = () => [
  appJson(),
  appJson({ id: "/shop/db", service: null, healthy: 0, running: 1, problem: "no host" }),
];

test("apollo app list prints a table, and JSON for programs, with the token sent along", async () => {
  const { requests } = serve({ "GET /api/apps": APPS });
  const table = await apollo(["app", "list"]);
  expect(table).toMatchObject({ code: 0, err: "" });
  expect(table.out.split("\n").map((line) => line.split(/ {2,}/).slice(0, 3).join("|"))).toEqual([
    "APP|STATUS|HEALTHY",
    "web|running|2/2",
    "shop/db|running|1/2",
    "",
  ]);
  const json = await apollo(["app", "ls", "--json"]);
  expect(JSON.parse(json.out)).toHaveLength(2);
  expect(await apollo(["--json", "app", "list"])).toEqual(json);
  expect(requests.map((request) => request.authorization)).toEqual(["Bearer secret", "Bearer secret", "Bearer secret"]);
});

test("an app that is not there: near names, exit code 3", async () => {
  serve({ "GET /api/apps": APPS });
  expect(await apollo(["app", "show", "wep"])).toEqual({
    code: EXIT_CODE["not-found"],
    out: "",
    err: 'Error: Cannot find app "wep"\nHint: Did you mean "web"?\n',
  });
  const other = await apollo(["why", "zzz"]);
  expect(other.err).toContain('Run "apollo app list"');
});

test("ids are taken with and without the leading slash, and sent as one segment", async () => {
  const { requests } = serve({
    "GET /api/apps/shop%2Fdb": () => appJson({ id: "/shop/db" }),
    "GET /api/instances": () => [],
  });
  expect((await apollo(["ps", "/shop/db"])).out).toBe("No instances.\n");
  expect((await apollo(["ps", "shop/db"])).code).toBe(0);
  expect(requests.map((request) => request.path)).toEqual([
    "/api/apps/shop%2Fdb",
    "/api/instances?app=%2Fshop%2Fdb",
    "/api/apps/shop%2Fdb",
    "/api/instances?app=%2Fshop%2Fdb",
  ]);
});

test("apollo ps names instances by what other commands take", async () => {
  serve({
    "GET /api/instances": () => [
      instanceJson(),
      instanceJson({ phase: "staging", address: null, health: "unknown", startedAtMs: null }),
    ],
  });
  const { out } = await apollo(["ps"]);
  const [, first = "", second = ""] = out.split("\n");
  expect(first).toMatch(/^3f2a9c11 {2}web +host-1 +10\.2\.1\.2:8080 +running +healthy +\S.*ago$/);
  expect(second).toMatch(/^3f2a9c11 {2}web +host-1 +- +staging +unknown +-$/);
});

test("the server's errors come through with fields, hint and exit code, also as JSON", async () => {
  const fields = [{ path: "/cpus", message: "must be a number" }];
  serve({
    "POST /api/apps": () =>
      errorResponse(422, { code: "invalid", message: "Cannot create app", fields, hint: "Correct it" }),
  });
  const text = await apollo(["app", "create", "-"], '{"id": "web", "cpus": "x"}');
  expect(text).toEqual({
    code: 2,
    out: "",
    err: "Error: Cannot create app\n  /cpus: must be a number\nHint: Correct it\n",
  });
  const json = await apollo(["app", "create", "-", "--json"], '{"id": "web", "cpus": "x"}');
  expect(JSON.parse(json.err)).toEqual({
    error: { code: "invalid", message: "Cannot create app", hint: "Correct it", fields },
  });
  for (const [status, code] of [
    [401, 6],
    [403, 6],
    [409, 4],
    [503, 5],
    [500, 1],
  ] as const) {
    await server?.stop();
    serve({ "GET /api/status": () => new Response("oh", { status }) });
    expect((await apollo(["status"])).code).toBe(code);
  }
});

test("a file that is no app is refused before anything is sent", async () => {
  const { requests } = serve({});
  const cases: readonly (readonly [string, string])[] = [
    ['{"id": "web",}', "line 1, column 14: a name in double quotes is expected"],
    ["[]", "it must hold one app"],
    ["{}", 'the app has no "id"'],
  ];
  for (const [stdin, message] of cases) {
    const run = await apollo(["app", "create", "-"], stdin);
    expect(run.code).toBe(2);
    expect(run.err).toContain(message);
  }
  expect((await apollo(["app", "create", "/none.json"])).err).toContain("Cannot read /none.json: it does not exist");
  expect((await apollo(["app", "scale", "web", "2", "--timeout", "soon"])).err).toContain("--timeout");
  expect(requests).toEqual([]);
});

test("apollo app scale --detach sends the number and does not wait", async () => {
  const ref = { version: "v", deploymentId: "d1" };
  const { requests } = serve({ "POST /api/apps/web/scale": () => ref });
  expect(await apollo(["app", "scale", "web", "4", "-d"])).toEqual({
    code: 0,
    out: "Scaled to 4: web: deployment d1 is under way\n",
    err: "",
  });
  expect(JSON.parse((await apollo(["app", "scale", "/web", "4", "-d", "--json"])).out)).toEqual({
    ...ref,
    app: "/web",
    done: false,
  });
  expect(requests.map((request) => request.body)).toEqual([{ instances: 4 }, { instances: 4 }]);
});

test("an app may be named by its service when no other app runs that, but not to be destroyed", async () => {
  const { requests } = serve({
    "POST /api/apps/web.v1/scale": () => ({ version: "v", deploymentId: "d1" }),
    "GET /api/apps": () => [appJson({ id: "/web.v1", service: "web" }), appJson({ id: "/db", service: "db" })],
  });
  expect(await apollo(["app", "scale", "web", "4", "-d"])).toMatchObject({
    code: 0,
    out: expect.stringContaining("web.v1"),
  });
  expect(await apollo(["app", "destroy", "web"])).toMatchObject({ code: 3 });
  expect(requests.some(({ method, path }) => method === "DELETE" && path.includes("web.v1"))).toBe(false);
});

test("apollo app destroy waits until the app is gone", async () => {
  let looks = 0;
  serve({
    "DELETE /api/apps/web": ({ path }) => ({ version: "v", deploymentId: path }),
    "GET /api/deployments": () => (++looks > 2 ? [] : [{ id: "/api/apps/web?force=true" }]),
    "GET /api/instances": () => (looks > 1 ? [] : [instanceJson({ goal: "draining" })]),
  });
  const run = await apollo(["app", "destroy", "web", "--force"]);
  expect(run.code).toBe(0);
  expect(run.out).toMatch(/^Destroyed web in \d+ ms\n$/);
  expect(run.err).toBe("web: 1 instance left · 3f2a9c11 draining on host-1\nweb: 0 instances left\n");
});

test("apollo app export prints what create takes", async () => {
  const definition = { id: "/shop/web", cpus: 0.3, container: { docker: { image: "x" } } };
  serve({
    "GET /v2/apps//shop/web": () => ({
      app: { ...definition, tasks: [], tasksRunning: 2, versionInfo: {}, user: null },
    }),
  });
  const run = await apollo(["app", "export", "shop/web"]);
  expect(JSON.parse(run.out)).toEqual(definition);
});

test("apollo host list shows hosts and what is wrong with them", async () => {
  const conditions = [{ code: "c", severity: "error" as const, text: "port 80 is taken", hint: "stop nginx" }];
  serve({
    "GET /api/hosts": () => [hostJson(), hostJson({ name: "host-2", phase: "down", cordoned: true, conditions })],
  });
  const { out } = await apollo(["host", "list"]);
  expect(out).toContain("down, cordoned");
  expect(out).toContain("host-2: error: port 80 is taken (stop nginx)\n");
});

test("apollo host cordon and remove: near names for a host that is not there", async () => {
  const { requests } = serve({
    "POST /api/hosts/host-2/cordon": () => hostJson({ name: "host-2", cordoned: true }),
    "DELETE /api/hosts/host-2": () => new Response(null, { status: 204 }),
    "GET /api/hosts": () => [hostJson({ name: "host-2" })],
  });
  expect((await apollo(["host", "cordon", "host-2"])).out).toBe("Host host-2 is cordoned\n");
  expect((await apollo(["host", "remove", "host-2", "--force"])).out).toBe("Removed host host-2\n");
  expect((await apollo(["host", "cordon", "host-3"])).err).toContain('Did you mean "host-2"?');
  expect(requests[1]?.path).toBe("/api/hosts/host-2?force=true");
});

test("apollo dns and why print answers and reasons", async () => {
  serve({
    "GET /api/dns": () => ({
      name: "web.service.consul",
      type: "SRV",
      code: "NOERROR",
      answers: [{ name: "web.service.consul", type: "SRV", ttl: 0, data: "1 1 8080 a.addr.consul" }],
      excluded: [{ endpoint: "host-1:web-2:8080", reason: "critical" }],
    }),
    "GET /api/apps/web/why": () => ({
      app: "/web",
      wanted: 2,
      running: 1,
      summary: "Waits for a host with 4 cpus free",
      code: "no-capacity",
      hosts: [{ host: "host-1", reason: "2 cpus, 0.5 free" }],
      retryAtMs: null,
      lastFailure: { instance: "web.instance-3f2a9c11-x", host: "host-2", message: "exit code 1", atMs: 0 },
    }),
  });
  const dns = await apollo(["dns", "web.service.consul", "srv"]);
  expect(dns.out).toContain("1 1 8080 a.addr.consul");
  expect(dns.out).toContain("host-1:web-2:8080  critical");
  const why = await apollo(["why", "web"]);
  expect(why.out).toContain("web: Waits for a host with 4 cpus free (1 of 2 run)");
  expect(why.out).toContain("host-1  2 cpus, 0.5 free");
  expect(why.out).toContain("Last failure: 3f2a9c11 on host-2");
});

test("apollo deployment cancel takes the start of an id", async () => {
  const { requests } = serve({
    "GET /api/deployments": () => [{ id: "abc-1" }, { id: "abd-2" }],
    "DELETE /api/deployments/abc-1": () => ({ version: "v", deploymentId: "back" }),
  });
  expect((await apollo(["deployment", "cancel", "abc"])).out).toBe(
    "Cancelled deployment abc-1; deployment back goes back\n",
  );
  expect((await apollo(["deployment", "cancel", "ab"])).code).toBe(2);
  expect((await apollo(["deployment", "cancel", "x"])).code).toBe(3);
  expect(requests.filter((request) => request.method === "DELETE")).toHaveLength(1);
});

test("a server that is not there, or is none of ours, is said so", async () => {
  expect(await apollo(["status"])).toEqual({
    code: 5,
    out: "",
    err: 'Error: Cannot reach the server at http://127.0.0.1:1: nothing listens there\nHint: Check that it runs and that the address, from APOLLO_SERVER, is right; "apollo up" starts one here\n',
  });
  serve({ "GET /api/status": () => new Response("<html>") });
  expect((await apollo(["status"])).err).toContain("it is not JSON");
});

test("apollo version prints both versions, and its own without a server", async () => {
  serve({ "GET /api/info": () => ({ name: "apollo", version: "9.9.9" }) });
  expect((await apollo(["version"])).out).toBe(`apollo ${VERSION}\nserver 9.9.9\n`);
  expect((await apollo(["--version"])).out).toBe(`${VERSION}\n`);
  const alone = await runTestCli(["version"]);
  expect(alone.out).toStartWith(`apollo ${VERSION}\nserver unknown (`);
});

test("usage errors end with code 2 and the way to help", async () => {
  const cases: readonly (readonly [readonly string[], string])[] = [
    [["lst"], 'ee "apollo --help"'],
    [["app", "lst"], "Did you mean one of list, ls?"],
    [["app", "scale", "web"], 'See "apollo app scale --help"'],
    [["app", "list", "--frob"], "unknown option '--frob'"],
    [["app", "scale", "web", "-1"], "must be a whole number"],
    [["app", "scale", "web", "many"], "must be a whole number"],
    [["completion", "tcsh"], "Allowed choices are bash, zsh, fish"],
    [["help", "ap"], 'Did you mean "app"'],
  ];
  for (const [argv, message] of cases) {
    const run = await apollo(argv);
    expect(run.code).toBe(2);
    expect(run.err).toContain(message);
    expect(run.out).toBe("");
  }
});

test("every command has help with examples, and a description", async () => {
  const visit = async (path: readonly string[], names: readonly string[]): Promise<number> => {
    const { out, code } = await apollo(["help", ...path]);
    expect(code).toBe(0);
    if (names.length === 0 && path.join(" ") !== "help") expect(out).toContain("\nExamples:\n");
    return out.length;
  };
  const program = buildProgram(createTestContext());
  const walk = async (command: typeof program, path: readonly string[]): Promise<void> => {
    for (const child of command.commands) {
      if (child.name().startsWith("__")) continue;
      const next = [...path, child.name()];
      expect(child.description()).not.toBe("");
      expect(
        await visit(
          next,
          child.commands.map((one) => one.name()),
        ),
      ).toBeGreaterThan(50);
      await walk(child, next);
    }
  };
  await walk(program, []);
});

test("programs get their flags and the signal, and their exit code comes back", async () => {
  const seen: unknown[] = [];
  const programs = {
    runAgent: async (flags: unknown) => void seen.push(flags),
    runServer: async (flags: unknown) => void seen.push(flags),
    runLab: async (argv: readonly string[]) => {
      seen.push(argv);
      return 7;
    },
    runDemo: async (flags: unknown) => {
      seen.push(flags);
      return 1;
    },
  };
  const run = async (...argv: string[]): Promise<number> => (await runTestCli(argv, { programs })).code;
  expect(
    await run(
      "agent",
      "--server",
      "https://s:8443",
      "--token",
      "t",
      "--name",
      "h",
      "--data-dir",
      "/d",
      "--label",
      "a=1",
      "--label",
      "b=2",
    ),
  ).toBe(0);
  expect(await run("server", "--data-dir", "/d", "--advertise", "192.0.2.1")).toBe(0);
  expect(await run("lab", "exec", "host-1", "--help", "--", "ls", "-l")).toBe(7);
  expect(await run("demo", "--once")).toBe(1);
  expect(seen).toEqual([
    { server: "https://s:8443", token: "t", name: "h", dataDir: "/d", label: ["a=1", "b=2"], fastPath: true },
    { dataDir: "/d", advertise: "192.0.2.1" },
    ["exec", "host-1", "--help", "--", "ls", "-l"],
    { once: true },
  ]);
});
