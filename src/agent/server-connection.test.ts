import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AppError } from "../model/error.ts";
import { makeServerCertificate, makeCertificateAuthority, fingerprint } from "../platform/tls/certificates.ts";
import { httpsJoinClient } from "../platform/server-client/https-join-client.ts";
import { webSocketTransport } from "../platform/server-client/web-socket-transport.ts";
import { SERVER_TLS_NAME } from "../model/server-name.ts";

const CREDENTIAL = "right";
let caPem = "";
let otherCa = "";
let server: Bun.Server<undefined>;
let url = "";
let dir = "";
let sockets: Bun.ServerWebSocket<undefined>[] = [];
const frames: string[] = [];

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "apollo-link-"));
  const ca = await makeCertificateAuthority(Date.now());
  otherCa = (await makeCertificateAuthority(Date.now())).certificate;
  const { certificate, key } = await makeServerCertificate(ca, { dns: [SERVER_TLS_NAME], ips: [] }, Date.now());
  caPem = ca.certificate;
  server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    tls: { cert: certificate, key },
    fetch: async (request, self) => {
      const { pathname } = new URL(request.url);
      if (pathname === "/api/ca") return new Response(caPem);
      if (request.headers.get("authorization") !== `Bearer ${CREDENTIAL}`) return new Response("no", { status: 401 });
      if (pathname === "/api/join") return Response.json({ got: await request.json() });
      if (pathname === "/api/taken") {
        return Response.json(
          { error: { code: "conflict", message: "Cannot join: taken", hint: "Pass --name" } },
          { status: 409 },
        );
      }
      return self.upgrade(request) ? undefined : new Response(null, { status: 404 });
    },
    websocket: {
      open: (socket) => void sockets.push(socket),
      message: (socket, frame) => {
        frames.push(String(frame));
        socket.send(`echo ${String(frame)}`);
      },
    },
  });
  url = `https://127.0.0.1:${server.port}`;
});
afterAll(async () => {
  await server.stop(true);
  await rm(dir, { recursive: true });
});

async function refusal(attempt: Promise<unknown>): Promise<AppError> {
  const error = await attempt.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(AppError);
  return error as AppError;
}

const quiet = { frame: () => undefined, closed: () => undefined };

test("a verified, authenticated stream carries frames both ways and tells its end", async () => {
  const transport = webSocketTransport({ caPem, serverName: SERVER_TLS_NAME, credential: CREDENTIAL });
  const frame = Promise.withResolvers<string>();
  const closed = Promise.withResolvers<string>();
  const connection = await transport.connect(url, { frame: frame.resolve, closed: closed.resolve }, 5000);
  connection.send("hello");
  expect(await frame.promise).toBe("echo hello");
  expect(connection.bufferedBytes()).toBe(0);
  sockets.at(-1)?.close(1008, "this host was removed from the cluster");
  expect(await closed.promise).toBe("this host was removed from the cluster");
  connection.send("dropped");
});

test("a wrong credential, CA or name and a silent port are refused, each with its reason", async () => {
  const good = { caPem, serverName: SERVER_TLS_NAME, credential: CREDENTIAL };
  const denied = await refusal(webSocketTransport({ ...good, credential: "wrong" }).connect(url, quiet, 5000));
  expect(denied.code).toBe("denied");
  const otherServer = await refusal(webSocketTransport({ ...good, caPem: otherCa }).connect(url, quiet, 5000));
  expect(otherServer.code).toBe("unavailable");
  expect(otherServer.hint).toContain("join again");
  const otherName = await refusal(
    webSocketTransport({ ...good, serverName: "other.internal" }).connect(url, quiet, 5000),
  );
  expect(otherName.hint).toContain("join again");
  const nobody = await refusal(webSocketTransport(good).connect("https://127.0.0.1:1", quiet, 5000));
  expect(nobody.code).toBe("unavailable");
  const mute = Bun.listen({ port: 0, hostname: "127.0.0.1", socket: { data: () => undefined } });
  const silent = await refusal(webSocketTransport(good).connect(`https://127.0.0.1:${mute.port}`, quiet, 100));
  mute.stop(true);
  expect(silent.message).toContain("no answer within 0.1 s");
});

test("the join client shows the CA with its fingerprint, and posts only to a verified server", async () => {
  const client = httpsJoinClient(SERVER_TLS_NAME);
  expect(await client.fetchCa(url)).toEqual({ pem: caPem, fingerprint: fingerprint(caPem) });
  const request = { url, path: "/api/join", bearer: CREDENTIAL, caPem, body: { name: "h1" } };
  expect(await client.post(request)).toEqual({ got: { name: "h1" } });
  expect((await refusal(client.post({ ...request, caPem: otherCa }))).code).toBe("unavailable");
  expect((await refusal(client.post({ ...request, bearer: "wrong" }))).code).toBe("denied");
  const taken = await refusal(client.post({ ...request, path: "/api/taken" }));
  expect([taken.code, taken.message, taken.hint]).toEqual(["conflict", "Cannot join: taken", "Pass --name"]);
});
