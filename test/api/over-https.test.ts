/** The APIs as clients meet them: curl, TLS and the access rules over a server whose apps are in memory. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createMarathonHandler } from "../../src/api/marathon/handler.ts";
import { AccessControl, authorizeWith } from "../../src/cluster/access.ts";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { nodeDigest } from "../../src/platform/digest/node-digest.ts";
import { prefixRouter } from "../../src/platform/http/prefix-router.ts";
import { serveHttps, type RunningServer } from "../../src/platform/http/serve-https.ts";
import { openIdentity } from "../../src/platform/tls/identity.ts";
import { FakeAppService } from "../../src/sim/fake-app-service.ts";
import { SERVER_TLS_NAME } from "../../src/model/server-name.ts";

const TOKEN = "admin-token-of-this-test";
let directory = "";
let server: RunningServer;
let apps: FakeAppService;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "apollo-api-"));
  apps = new FakeAppService(Date.now());
  const rules = {
    adminTokenHash: nodeDigest.sha256(TOKEN),
    joinSecretHash: nodeDigest.sha256("join"),
    sessionKey: "key",
    anonymous: true,
    hostByCredential: () => null,
  };
  const marathon = createMarathonHandler({
    apps,
    authorize: authorizeWith(new AccessControl(rules, nodeDigest, () => Date.now())),
    nowMs: () => Date.now(),
    version: "0.1.0",
    leader: "apollo:8443",
    httpsPort: 8443,
    plainPort: null,
  });
  const mounts = ["/v2", "/ping"].map((prefix) => ({ prefix, handle: marathon }));
  server = serveHttps({
    // All of 127/8 is loopback; the access rules must not take the listener's address for the client's.
    hostname: "127.0.0.1",
    port: 0,
    identity: await openIdentity(join(directory, "tls"), [], Date.now()),
    plainPort: 0,
    handle: prefixRouter(mounts, async () => ({ status: 404, headers: {}, body: "elsewhere" })),
    clock: systemClock,
    onInternalError: (id, error) => {
      throw new Error(id, { cause: error });
    },
  });
  const container = {
    docker: { image: "x:1", network: "BRIDGE", portMappings: [{ containerPort: 8080, hostPort: 0 }] },
  };
  writeFileSync(join(directory, "app.json"), JSON.stringify({ id: "foo/bar", instances: 2, container }));
});

afterAll(async () => {
  await server.close(0);
  rmSync(directory, { recursive: true, force: true });
});

async function curl(path: string, ...options: readonly string[]): Promise<string> {
  const tls = [
    "--cacert",
    join(directory, "tls", "ca.crt"),
    "--resolve",
    `${SERVER_TLS_NAME}:${server.port}:127.0.0.1`,
  ];
  const argv = ["curl", "-sS", "--path-as-is", "-g", "-w", " %{http_code}", ...tls, ...options];
  const child = Bun.spawn([...argv, `https://${SERVER_TLS_NAME}:${server.port}${path}`], {
    stdout: "pipe",
    stderr: "pipe",
  });
  return (await new Response(child.stdout).text()) + (await new Response(child.stderr).text());
}

const admin = ["-u", `anyone:${TOKEN}`];
const json = ["-H", "Content-Type: application/json"];

test("marathonctl's way: a chunked POST, then every spelling of the id, then PUT with doubled slashes", async () => {
  const file = ["--data-binary", `@${join(directory, "app.json")}`];
  const created = await curl("/v2/apps", ...admin, ...json, "-H", "Transfer-Encoding: chunked", ...file);
  expect(created).toEndWith(" 201");
  for (const path of ["/v2/apps/foo/bar", "/v2/apps//foo/bar", "/v2/apps/%2Ffoo%2Fbar", "/v2/apps/foo/bar/?embed=x"]) {
    expect(await curl(path, ...admin)).toMatch(/^\{"app":\{"id":"\/foo\/bar".* 200$/s);
  }
  const chunked = ["-H", "Transfer-Encoding: chunked", "-X", "PUT", "-d", '{"instances": 3.000000}'];
  const updated = await curl("/v2/apps//foo/bar?force=true", ...admin, ...json, ...chunked);
  expect(updated).toMatch(/^\{"version":"[^"]+","deploymentId":"[^"]+"\} 200$/);
  expect(apps.list()[0]?.instances).toHaveLength(3);
  const [version = ""] = (await apps.versions(apps.list()[0]?.current.spec.id ?? ("/" as never))).map(
    (one) => one.version,
  );
  expect(await curl(`/v2/apps//foo/bar/versions/${encodeURIComponent(version)}`, ...admin)).toEndWith(" 200");
});

test("every kind of credential, over TLS", async () => {
  const codeOf = async (...options: readonly string[]): Promise<string> =>
    (await curl("/v2/leader", ...options)).split(" ").at(-1) ?? "";
  expect(await codeOf("-H", `Authorization: Bearer ${TOKEN}`)).toBe("200");
  expect(await codeOf("-H", `Authorization: token=${TOKEN}`)).toBe("200");
  expect(await codeOf("-H", `X-Consul-Token: ${TOKEN}`)).toBe("200");
  expect(await codeOf("-u", "marathon:wrong")).toBe("401");
  expect(await codeOf("-H", "Authorization: Bearer join")).toBe("403");
  // Anonymous is on and this is loopback, but the request names another host than a loopback one.
  expect(await codeOf()).toBe("401");
  const plain = await fetch(`http://127.0.0.1:${server.plainPort}/v2/leader`);
  expect([plain.status, await plain.json()]).toEqual([200, { leader: "apollo:8443" }]);
  const foreign = await fetch(`http://127.0.0.1:${server.plainPort}/v2/leader`, {
    headers: { origin: "https://evil.example" },
  });
  expect(foreign.status).toBe(403);
});

test("a wrong CA is refused by the client; ping needs no token; other paths are not ours", async () => {
  expect(await curl("/ping", "-H", "Accept: application/json")).toBe('"pong" 200');
  expect(await curl("/v2x", ...admin)).toBe("elsewhere 404");
  const child = Bun.spawn(["curl", "-sS", `https://127.0.0.1:${server.port}/ping`], { stdout: "pipe", stderr: "pipe" });
  expect(await child.exited).toBe(60);
});

test("malformed bodies and wrong media are refused in Marathon's form", async () => {
  expect(await curl("/v2/apps", ...admin, ...json, "-d", "{")).toMatch(
    /^\{"message":"Invalid JSON","details":".*"\} 400$/,
  );
  expect(await curl("/v2/apps", ...admin, "-d", "{}")).toBe('{"message":"Unsupported Media Type"} 415');
  const large = join(directory, "large.json");
  writeFileSync(large, `"${"x".repeat(9 * 1024 * 1024)}"`);
  expect(await curl("/v2/apps", ...admin, ...json, "--data-binary", `@${large}`)).toMatch(
    /^\{"message":"Cannot read request body: .* 413$/,
  );
});

test("10,000 apps with 5 instances each are listed in one answer", async () => {
  const many = new FakeAppService(Date.now());
  const first = apps.list()[0];
  if (first === undefined) throw new Error("the first test made an app");
  const view = { ...first, instances: Array.from({ length: 5 }, () => first.instances[0] ?? first.instances).flat() };
  Object.assign(many, { list: () => Array.from({ length: 10_000 }, () => view) });
  const handle = createMarathonHandler({
    apps: many,
    authorize: () => ({ kind: "admin" }),
    nowMs: () => 0,
    version: "0",
    leader: "a:1",
    httpsPort: 1,
    plainPort: null,
  });
  const { fakeRequest } = await import("../../src/sim/fake-request.ts");
  const started = performance.now();
  const answer = await handle(fakeRequest("GET", "/v2/apps?embed=apps.tasks"));
  const elapsedMs = performance.now() - started;
  expect("body" in answer && typeof answer.body === "string" ? answer.body.length : 0).toBeGreaterThan(10_000_000);
  // The figure is for the reader: machines differ, and a test that fails on a busy one says nothing.
  console.log(`GET /v2/apps with tasks, 10,000 apps: ${Math.round(elapsedMs)} ms`);
});
