import { afterAll, beforeAll, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { connect } from "node:net";
import { canConnect, findFreePort } from "./forward.ts";
import { findProgram } from "./run-command.ts";
import { readHello } from "./tour-world.ts";
import { waitFor } from "./wait-for.ts";

const SERVER = new URL("../../examples/nodejs-rest-api/server.mjs", import.meta.url).pathname;
let port = 0;
let server: ChildProcess;
let ended: Promise<number | null>;

beforeAll(async () => {
  port = await findFreePort();
  const env = { PORT: String(port), APP_VERSION: "1.0.0", MESOS_TASK_ID: "web.instance-1", HOST: "h1" };
  server = spawn(findProgram("node"), [SERVER], { stdio: "ignore", env });
  ended = new Promise((resolve) => server.on("exit", resolve));
  await waitFor(() => canConnect(port), { what: "the example server", timeoutMs: 10_000 });
});

afterAll(() => {
  server.kill("SIGKILL");
});

function ask(path: string, method = "GET"): Promise<Response> {
  return fetch(`http://127.0.0.1:${port}${path}`, { method, signal: AbortSignal.timeout(5000) });
}

test("the example says who answers", async () => {
  const response = await ask("/?any=query");
  expect(response.headers.get("content-type")).toBe("application/json; charset=utf-8");
  expect(readHello(await response.text())).toEqual({
    name: "nodejs-rest-api",
    version: "1.0.0",
    instance: "web.instance-1",
    host: "h1",
  });
});

test("the example refuses other paths and verbs", async () => {
  expect((await ask("/none")).status).toBe(404);
  const refused = await ask("/", "DELETE");
  expect([refused.status, refused.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
});

test("the example fails its check once it is sick, and ends when asked, in spite of idle connections", async () => {
  expect((await ask("/sick", "POST")).status).toBe(202);
  expect((await ask("/")).status).toBe(503);
  const idle = connect({ host: "127.0.0.1", port });
  const closed = new Promise((resolve) => idle.on("close", resolve));
  await new Promise<void>((resolve) => idle.on("connect", () => resolve()));
  idle.on("error", () => undefined);
  idle.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  await new Promise<void>((resolve) => idle.once("data", () => resolve()));
  server.kill("SIGTERM");
  await closed;
  expect(await ended).toBe(0);
});
