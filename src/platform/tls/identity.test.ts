import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AppError } from "../../model/error.ts";
import { fingerprint, readCertificate } from "./certificates.ts";
import { openIdentity, type Identity } from "./identity.ts";
import { SERVER_TLS_NAME } from "../../model/server-name.ts";

const NOW = Date.now();
const DAY = 86_400_000;
const directories: string[] = [];

function directory(): string {
  const made = mkdtempSync(join(tmpdir(), "apollo-tls-"));
  directories.push(made);
  return made;
}

afterEach(() => {
  for (const path of directories.splice(0)) rmSync(path, { recursive: true, force: true });
});

function serve(identity: Identity) {
  return Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    tls: { cert: identity.certificate, key: identity.key },
    fetch: (request, server) => (server.upgrade(request) ? undefined : new Response("hello")),
    websocket: { message: (socket, frame) => void socket.send(frame) },
  });
}

/** Resolves with what an echo brought back, or "refused". */
async function echo(url: string, tls: object): Promise<string> {
  return await new Promise((resolve) => {
    const socket = new WebSocket(url, { tls } as unknown as string[]);
    socket.onopen = () => socket.send("ping");
    socket.onmessage = (event) => {
      resolve(String(event.data));
      socket.close();
    };
    socket.onerror = () => resolve("refused");
  });
}

async function get(url: string, tls: object): Promise<string> {
  try {
    return await (await fetch(url, { tls })).text();
  } catch {
    return "refused";
  }
}

test("openIdentity() makes keys that only their owner reads, and loads the same later", async () => {
  const at = directory();
  const first = await openIdentity(at, ["10.0.0.1", "apollo.example.com"], NOW);
  const second = await openIdentity(at, ["10.0.0.1", "apollo.example.com"], NOW + DAY);
  expect(second).toEqual(first);
  expect(["ca.key", "server.key"].map((name) => statSync(join(at, name)).mode & 0o777)).toEqual([0o600, 0o600]);
  expect(readCertificate(first.certificate).names).toEqual({
    dns: [SERVER_TLS_NAME, "localhost", "apollo.example.com"],
    ips: ["127.0.0.1", "::1", "10.0.0.1"],
  });
  expect(first.caFingerprint).toMatch(/^[A-Za-z0-9_-]{43}$/);
  expect(fingerprint(first.ca)).toBe(first.caFingerprint);
  expect(readCertificate(first.ca).notAfterMs - NOW).toBe(Math.floor((NOW + 3650 * DAY) / 1000) * 1000 - NOW);
});

test("openIdentity() renews the server certificate under the same CA", async () => {
  const at = directory();
  const first = await openIdentity(at, [], NOW);
  const near = await openIdentity(at, [], NOW + 310 * DAY);
  expect(near.certificate).not.toBe(first.certificate);
  expect(near.ca).toBe(first.ca);
  const named = await openIdentity(at, ["10.9.8.7"], NOW + 310 * DAY);
  expect(readCertificate(named.certificate).names.ips).toContain("10.9.8.7");
  writeFileSync(join(at, "server.crt"), "damaged");
  expect((await openIdentity(at, [], NOW)).ca).toBe(first.ca);
  const other = await openIdentity(directory(), [], NOW);
  writeFileSync(join(at, "server.crt"), other.certificate);
  writeFileSync(join(at, "server.key"), other.key);
  expect((await openIdentity(at, [], NOW)).certificate).not.toBe(other.certificate);
});

test("openIdentity() refuses a CA without its key, and never replaces one", async () => {
  const at = directory();
  const { ca } = await openIdentity(at, [], NOW);
  unlinkSync(join(at, "ca.key"));
  const messageOf = async (path: string): Promise<string> =>
    await openIdentity(path, [], NOW).then(
      () => "opened",
      (error: unknown) => (error instanceof AppError ? error.message : "no AppError"),
    );
  expect(await messageOf(at)).toContain("ca.key is missing");
  expect(readFileSync(join(at, "ca.crt"), "utf8")).toBe(ca);
  expect(await messageOf(join(at, "ca.crt"))).toStartWith("Cannot make directory");
});

test("fetch and WebSocket accept the right CA and refuse another, by our fixed server name", async () => {
  const identity = await openIdentity(directory(), [], NOW);
  const stranger = await openIdentity(directory(), [], NOW);
  const server = serve(identity);
  const address = `127.0.0.1:${server.port}`;
  const right = { ca: identity.ca, serverName: SERVER_TLS_NAME };
  const results = {
    fetchRight: await get(`https://${address}/`, right),
    fetchByAddress: await get(`https://${address}/`, { ca: identity.ca }),
    fetchWrongCa: await get(`https://${address}/`, { ca: stranger.ca, serverName: SERVER_TLS_NAME }),
    fetchNoCa: await get(`https://${address}/`, {}),
    fetchWrongName: await get(`https://${address}/`, { ca: identity.ca, serverName: "other.example.com" }),
    socketRight: await echo(`wss://${address}/`, right),
    socketWrongCa: await echo(`wss://${address}/`, { ca: stranger.ca, serverName: SERVER_TLS_NAME }),
    socketNoCa: await echo(`wss://${address}/`, {}),
  };
  await server.stop(true);
  expect(results).toEqual({
    fetchRight: "hello",
    fetchByAddress: "hello",
    fetchWrongCa: "refused",
    fetchNoCa: "refused",
    fetchWrongName: "refused",
    socketRight: "ping",
    socketWrongCa: "refused",
    socketNoCa: "refused",
  });
});

test("openssl agrees about the chain", async () => {
  const at = directory();
  await openIdentity(at, [], NOW);
  const argv = ["openssl", "verify", "-x509_strict", "-CAfile", "ca.crt", "server.crt"];
  const child = Bun.spawn(argv, { cwd: at, stdout: "pipe", stderr: "pipe" });
  expect(await new Response(child.stdout).text()).toBe("server.crt: OK\n");
});
