/** The console's way in, over TLS, at a whole server: session cookie, header and feed. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { systemRandom } from "../../src/platform/clock/system-random.ts";
import { nodeDigest } from "../../src/platform/digest/node-digest.ts";
import { SqliteStore } from "../../src/platform/sqlite/sqlite-store.ts";
import { makeServerConfig } from "../../src/server/server-config.ts";
import { startServer, type StartedServer } from "../../src/server/start-server.ts";
import { SILENT_LOG } from "../../src/sim/silent-log.ts";

const stop = new AbortController();
let directory = "";
let server: StartedServer;
let store: SqliteStore;
let token = "";
/** The lab's CA is not the machine's; that it is checked is tested elsewhere. */
const tls = { rejectUnauthorized: false };

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "apollo-session-"));
  const input = { dataDir: directory, listen: "127.0.0.1:1", consulListen: "off" };
  const config = { ...makeServerConfig([input], { version: "0.1.0", ownAddress: "127.0.0.1" }), port: 0 };
  store = SqliteStore.open(join(directory, "state.db"));
  const adapters = { store, clock: systemClock, random: systemRandom, digest: nodeDigest, log: SILENT_LOG };
  server = await startServer(config, adapters, stop.signal);
  token = JSON.parse(await Bun.file(server.adminFile).text()).token;
});

afterAll(async () => {
  stop.abort();
  await server.http.close(0);
  await server.done;
  await store.close();
  rmSync(directory, { recursive: true, force: true });
});

const url = (path: string, scheme = "https"): string => `${scheme}://127.0.0.1:${server.http.port}${path}`;

async function signIn(secret = token): Promise<{ status: number; cookie: string }> {
  const response = await fetch(url("/api/session"), { method: "POST", body: JSON.stringify({ token: secret }), tls });
  return { status: response.status, cookie: response.headers.get("set-cookie")?.split(";")[0] ?? "" };
}

/** First message of the feed, or that it was refused; browsers see no more of a refusal either. */
function openFeed(headers: Readonly<Record<string, string>>): Promise<string> {
  return new Promise((resolve) => {
    const socket = new WebSocket(url("/api/feed", "wss"), { headers, tls });
    socket.onmessage = ({ data }) => {
      resolve(String(JSON.parse(String(data)).type));
      socket.close();
    };
    socket.onclose = () => resolve("refused");
  });
}

const upgrade = {
  connection: "Upgrade",
  upgrade: "websocket",
  "sec-websocket-version": "13",
  "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
};

async function feedStatus(headers: Readonly<Record<string, string>>): Promise<number> {
  return (await fetch(url("/api/feed"), { headers: { ...upgrade, ...headers }, tls })).status;
}

test("a session opens the feed; none, a made-up one, and one used by another origin do not", async () => {
  const { status, cookie } = await signIn();
  expect([status, cookie.startsWith("apollo_session=")]).toEqual([204, true]);
  const own = { cookie, origin: url("") };
  expect(await openFeed(own)).toBe("snapshot");
  expect(await openFeed({ cookie, origin: "https://evil.example" })).toBe("refused");
  expect(await openFeed({ cookie: `${cookie}0`, origin: url("") })).toBe("refused");
  expect(await feedStatus({})).toBe(401);
  expect(await feedStatus({ cookie: `${cookie}0`, origin: url("") })).toBe(401);
  expect(await feedStatus({ cookie: "apollo_session=", origin: url("") })).toBe(401);
  expect(await feedStatus({ cookie, origin: "https://evil.example" })).toBe(403);
  expect((await signIn("wrong")).status).toBe(401);
});

test("changes by cookie need the console's header; by token they do not", async () => {
  const { cookie } = await signIn();
  const destroy = async (headers: Readonly<Record<string, string>>): Promise<number> =>
    (await fetch(url("/api/apps/none"), { method: "DELETE", headers, tls })).status;
  expect(await destroy({ cookie })).toBe(403);
  expect(await destroy({ cookie, origin: url("") })).toBe(403);
  expect(await destroy({ cookie, "x-apollo-console": "1", origin: "https://evil.example" })).toBe(403);
  expect(await destroy({ cookie, "x-apollo-console": "1", origin: url("") })).toBe(404);
  expect(await destroy({ authorization: `Bearer ${token}` })).toBe(404);
  expect((await fetch(url("/api/status"), { headers: { cookie }, tls })).status).toBe(200);
});
