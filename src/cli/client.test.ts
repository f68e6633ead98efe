import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { AppError } from "../model/error.ts";
import { openChannel } from "./channel.ts";
import { ApolloClient, appPath } from "./client.ts";
import { Interrupted } from "./format-error.ts";
import { SERVER_TLS_NAME } from "../model/server-name.ts";

interface Authority {
  readonly ca: string;
  issue(name: string): Promise<{ readonly cert: string; readonly key: string }>;
}

let dir = "";

/** A CA with OpenSSL's own program: what checks certificates must not be what made them. */
async function createAuthority(id: string): Promise<Authority> {
  const path = (name: string): string => `${dir}/${id}-${name}`;
  const openssl = async (...argv: string[]): Promise<void> => {
    const child = Bun.spawn(["openssl", ...argv], { stdout: "ignore", stderr: "pipe" });
    const [err, code] = await Promise.all([new Response(child.stderr).text(), child.exited]);
    if (code !== 0) throw new Error(`openssl ${argv.join(" ")}: ${err}`);
  };
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout"];
  await openssl("req", "-x509", ...key, path("ca.key"), "-out", path("ca.pem"), "-days", "2", "-subj", `/CN=${id}`);
  return {
    ca: await readFile(path("ca.pem"), "utf8"),
    issue: async (name) => {
      const file = (end: string): string => path(`${name}.${end}`);
      await writeFile(file("ext"), `subjectAltName=DNS:${name}`);
      await openssl("req", ...key, file("key"), "-out", file("csr"), "-subj", "/CN=server");
      const signer = ["-CA", path("ca.pem"), "-CAkey", path("ca.key"), "-CAcreateserial"];
      await openssl(
        "x509",
        "-req",
        "-in",
        file("csr"),
        ...signer,
        "-days",
        "2",
        "-extfile",
        file("ext"),
        "-out",
        file("pem"),
      );
      return { cert: await readFile(file("pem"), "utf8"), key: await readFile(file("key"), "utf8") };
    },
  };
}

type EchoServer = ReturnType<typeof serveEcho>;

/** Answers requests, and channels by a small program: each input comes back, `resize` is reported, the end has code 3. */
function serveEcho(tls: { readonly cert: string; readonly key: string }) {
  return Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    tls,
    fetch: (request, server) => {
      const url = new URL(request.url);
      if (url.pathname === "/slow") return new Promise<Response>(() => undefined);
      if (request.headers.get("authorization") !== "Bearer t")
        return Response.json({ error: { code: "denied", message: "no" } }, { status: 401 });
      if (server.upgrade(request)) return undefined;
      return Response.json({ ok: true });
    },
    websocket: {
      message: (socket, message) => {
        const frame = typeof message === "string" ? Buffer.from(message) : message;
        if (frame[0] === 0) socket.send(Buffer.concat([Buffer.from([1]), frame.subarray(1)]));
        if (frame[0] === 1) socket.send(Buffer.concat([Buffer.from([3]), Buffer.from('{"exitCode":3,"error":null}')]));
        if (frame[0] === 2) socket.send(Buffer.concat([Buffer.from([2]), frame.subarray(1)]));
      },
    },
  });
}

let authority: Authority;
let other: Authority;
let good: EchoServer;
let misnamed: EchoServer;
beforeAll(async () => {
  dir = await mkdtemp(`${tmpdir()}/apollo-ca-`);
  [authority, other] = await Promise.all([createAuthority("ours"), createAuthority("other")]);
  good = serveEcho(await authority.issue(SERVER_TLS_NAME));
  misnamed = serveEcho(await authority.issue("other.example.com"));
});
afterAll(async () => {
  await Promise.all([good.stop(true), misnamed.stop(true)]);
  await rm(dir, { recursive: true });
});

const clientOf = (server: EchoServer, ca: string | null, signal = new AbortController().signal): ApolloClient =>
  new ApolloClient({ url: `https://127.0.0.1:${server.port}`, token: "t", ca, source: "test" }, signal);

async function failure(promise: Promise<unknown>): Promise<unknown> {
  return await promise.then(
    () => "no error",
    (error: unknown) => error,
  );
}

test("ApolloClient trusts the given CA for the server's own name, by whatever address", async () => {
  expect(await clientOf(good, authority.ca).get<unknown>("/x")).toEqual({ ok: true });
});

test("ApolloClient trusts no other CA, no system CA instead, and no other name of the right CA", async () => {
  for (const client of [clientOf(good, other.ca), clientOf(good, null), clientOf(misnamed, authority.ca)]) {
    const error = await failure(client.get("/x"));
    expect(error).toBeInstanceOf(AppError);
    expect((error as AppError).code).toBe("denied");
    expect(String(error)).toContain("its certificate is not of the expected CA");
    const channel = openChannel(client, "/channel", () => undefined);
    const broken = await failure(channel.done);
    expect(broken).toBeInstanceOf(AppError);
    expect((broken as AppError).code).toBe("denied");
  }
});

test("ApolloClient has a deadline, and ends at Ctrl-C", async () => {
  const late = await failure(clientOf(good, authority.ca).get("/slow", { timeoutMs: 50 }));
  expect(String(late)).toContain("no answer in time");
  const end = new AbortController();
  const pending = failure(clientOf(good, authority.ca, end.signal).get("/slow"));
  end.abort();
  expect(await pending).toBeInstanceOf(Interrupted);
});

test("openChannel() carries input, output, size and exit code", async () => {
  const output: string[] = [];
  const channel = openChannel(clientOf(good, authority.ca), "/channel", (stream, bytes) =>
    output.push(`${stream} ${Buffer.from(bytes).toString("utf8")}`),
  );
  // Written before the connection is there: it must not be lost.
  channel.write(Buffer.from("hello"));
  channel.resize(80, 24);
  channel.write(Buffer.from([0xc3, 0xbc]));
  channel.endInput();
  expect(await channel.done).toEqual({ exitCode: 3, error: null });
  expect(output).toEqual(["stdout hello", 'stderr {"columns":80,"rows":24}', "stdout ü"]);
});

test("openChannel() ends from here without an exit code, and breaks with the server", async () => {
  const closed = openChannel(clientOf(good, authority.ca), "/channel", () => undefined);
  closed.close();
  expect(await closed.done).toEqual({ exitCode: null, error: null });
  const server = serveEcho(await authority.issue(SERVER_TLS_NAME));
  const broken = openChannel(clientOf(server, authority.ca), "/channel", () => void server.stop(true));
  broken.write(Buffer.from("x"));
  expect(await failure(broken.done)).toBeInstanceOf(AppError);
});

test("appPath() makes one segment of an id", () => {
  expect(appPath("/shop/web", "/scale")).toBe("/api/apps/shop%2Fweb/scale");
});
