/** The program as a process: exit codes, signals and pipes. */
import { afterEach, expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { appJson, instanceJson, startTestServer, type TestServer } from "./test-server.fixture.ts";

const MAIN = new URL("main.ts", import.meta.url).pathname;
let server: TestServer | null = null;
afterEach(async () => {
  await server?.stop();
  server = null;
});

function start(argv: readonly string[], env: Readonly<Record<string, string>> = {}, stdin: Blob | "ignore" = "ignore") {
  return Bun.spawn([process.execPath, MAIN, ...argv], {
    env: { PATH: process.env["PATH"], HOME: "/nonexistent", ...env },
    stdin,
    stdout: "pipe",
    stderr: "pipe",
  });
}

async function run(argv: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const child = start(argv, env);
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { out, err, code };
}

test("exit codes reach the shell", async () => {
  server = startTestServer({ "GET /api/apps": () => [] });
  const env = { APOLLO_SERVER: server.url };
  expect((await run(["help", "exit-codes"])).code).toBe(0);
  expect((await run(["frob"])).code).toBe(2);
  expect((await run(["app", "show", "web"], env)).code).toBe(3);
  expect((await run(["status"], { APOLLO_SERVER: "http://127.0.0.1:1" })).code).toBe(5);
});

test("a configuration file that others can read is refused", async () => {
  const dir = await mkdtemp(`${tmpdir()}/apollo-cli-`);
  try {
    const path = `${dir}/admin.json`;
    await writeFile(path, JSON.stringify({ url: "http://127.0.0.1:1", token: "t" }), { mode: 0o644 });
    const refused = await run(["status"], { APOLLO_CONFIG: path });
    expect(refused.code).toBe(6);
    expect(refused.err).toContain(`chmod 600 ${path}`);
  } finally {
    await rm(dir, { recursive: true });
  }
});

test("Ctrl-C while waiting ends with 130 and says that the deployment goes on", async () => {
  const looked = Promise.withResolvers<void>();
  server = startTestServer({
    "POST /api/apps/web/scale": () => ({ version: "v", deploymentId: "d1" }),
    "GET /api/deployments": () => [{ id: "d1" }],
    "GET /api/apps/web": () => appJson({ instances: 3, deployments: ["d1"] }),
    "GET /api/instances": () => {
      looked.resolve();
      return [instanceJson()];
    },
  });
  const child = start(["app", "scale", "web", "3"], { APOLLO_SERVER: server.url });
  await looked.promise;
  child.kill("SIGINT");
  expect(await child.exited).toBe(130);
  const err = await new Response(child.stderr).text();
  expect(err).toContain("Stopped waiting; the deployment goes on.\n");
  expect(err).toContain("apollo deployment cancel d1\n");
});

test("a reader that goes away ends it quietly", async () => {
  const many = Array.from({ length: 3000 }, (_, index) => appJson({ id: `/app-${index}` }));
  server = startTestServer({ "GET /api/apps": () => many });
  const child = start(["app", "list", "--json"], { APOLLO_SERVER: server.url });
  const reader = child.stdout.getReader();
  await reader.read();
  await reader.cancel();
  expect(await child.exited).toBe(0);
  expect(await new Response(child.stderr).text()).toBe("");
});

test("a long output arrives whole", async () => {
  const many = Array.from({ length: 3000 }, (_, index) => appJson({ id: `/app-${index}` }));
  server = startTestServer({ "GET /api/apps": () => many });
  const { out, code } = await run(["app", "list", "--json"], { APOLLO_SERVER: server.url });
  expect(code).toBe(0);
  expect(JSON.parse(out)).toHaveLength(3000);
});
