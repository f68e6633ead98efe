import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../clock/system-clock.ts";
import { AppError } from "../../model/error.ts";
import { openIdentity, type Identity } from "../tls/identity.ts";
import type { HttpRequest, HttpResponse, HttpUpgrade } from "../ports/http.ts";
import { prefixRouter } from "./prefix-router.ts";
import { serveHttps, type RunningServer } from "./serve-https.ts";
import { SERVER_TLS_NAME } from "../../model/server-name.ts";

let directory = "";
let identity: Identity;
let server: RunningServer;
const logged: string[] = [];
let streamEnded = Promise.withResolvers<void>();

const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const text = (body: string): HttpResponse => ({ status: 200, headers: { "content-type": "text/plain" }, body });

async function handle(request: HttpRequest): Promise<HttpResponse | HttpUpgrade> {
  switch (request.path.split("/")[1]) {
    case "body": {
      const body = decode(await request.body());
      return text(`${request.method} ${body.length} ${decode(await request.body()).slice(0, 20)}`);
    }
    case "refuse":
      throw new AppError("conflict", "Cannot do it: taken");
    case "crash":
      throw new TypeError("secret internals");
    case "slow":
      await new Promise<void>((resolve) => request.signal.addEventListener("abort", () => resolve()));
      return text("late");
    case "wait":
      await systemClock.sleep(300);
      return text("done");
    case "big":
      return text("x".repeat(10_000));
    case "stream":
      return { status: 200, headers: { "content-type": "text/event-stream" }, body: endless() };
    case "socket":
      return {
        upgrade: (socket) => ({
          message: (frame) => void socket.send(frame),
          closed: () => undefined,
        }),
      };
    default:
      return text(JSON.stringify([request.path, request.query.all("q"), request.peer.loopback, request.peer.secure]));
  }
}

async function* endless(): AsyncGenerator<string> {
  try {
    for (let n = 0; ; n++) {
      yield `data: ${n}\n\n`;
      await systemClock.sleep(5);
    }
  } finally {
    streamEnded.resolve();
  }
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "apollo-http-"));
  identity = await openIdentity(directory, [], Date.now());
  server = serveHttps({
    hostname: "127.0.0.1",
    port: 0,
    identity,
    plainPort: 0,
    handle,
    bodyBytesMax: 1000,
    requestTimeoutMs: 1000,
    clock: systemClock,
    onInternalError: (id, error, request) => logged.push(`${id} ${request.path} ${String(error)}`),
  });
});

afterAll(async () => {
  await server.close(0);
  rmSync(directory, { recursive: true, force: true });
});

async function curl(path: string, ...options: readonly string[]): Promise<string> {
  const base = `https://${SERVER_TLS_NAME}:${server.port}`;
  const resolve = `${SERVER_TLS_NAME}:${server.port}:127.0.0.1`;
  const trust = ["--cacert", join(directory, "ca.crt"), "--resolve", resolve];
  const argv = ["curl", "-sS", "--path-as-is", "-w", " %{http_code}", ...trust, ...options, base + path];
  const child = Bun.spawn(argv, { stdout: "pipe", stderr: "pipe" });
  const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return out + err;
}

test.each([
  ["/v2/apps//foo/bar", "/v2/apps//foo/bar"],
  ["/v2/apps/%2Ffoo%2Fbar", "/v2/apps/%2Ffoo%2Fbar"],
  ["//foo", "//foo"],
  ["/a/%2", "/a/%2"],
  ["/v2/apps/?x", "/v2/apps/"],
])("path %s reaches the handler as it was sent", async (sent, seen) => {
  expect(await curl(sent)).toBe(`${JSON.stringify([seen, [], true, true])} 200`);
});

test("query lists come in both spellings, decoded", async () => {
  expect(await curl("/x?q=a&q%5B%5D=b%2Fc&q[]=d", "-g")).toBe('["/x",["a","b/c","d"],true,true] 200');
});

test("bodies: chunked, empty and too large", async () => {
  const chunked = ["-H", "Transfer-Encoding: chunked"];
  expect(await curl("/body", ...chunked, "-d", "hello")).toBe("POST 5 hello 200");
  expect(await curl("/body", "-X", "PUT")).toBe("PUT 0  200");
  expect(await curl("/body", "-d", "x".repeat(1000))).toBe(`POST 1000 ${"x".repeat(20)} 200`);
  for (const options of [
    ["-d", "x".repeat(1001)],
    [...chunked, "-d", "x".repeat(90_000)],
  ]) {
    const answer = await curl("/body", ...options);
    expect(answer).toContain('"message":"Cannot read request body: it is larger than 1000 bytes"');
    expect(answer).toEndWith(" 413");
  }
});

test("errors: AppError by its code, anything else as an id that the log has", async () => {
  expect(await curl("/refuse")).toBe(
    '{"message":"Cannot do it: taken","error":{"code":"conflict","message":"Cannot do it: taken"}} 409',
  );
  const answer = await curl("/crash");
  expect(answer).toEndWith(" 500");
  expect(answer).not.toContain("secret");
  const id = /under ([0-9a-f-]{36})/.exec(answer)?.[1];
  expect(logged).toEqual([`${id} /crash TypeError: secret internals`]);
});

test("a request that takes too long is answered 503 and its signal aborts", async () => {
  expect(await curl("/slow")).toEndWith("503");
});

test("HEAD has no body; unknown WebSocket use is 426", async () => {
  expect(await curl("/big", "-I")).toContain("HTTP/1.1 200");
  expect(await curl("/socket")).toEndWith(" 426");
});

test("gzip only for those who ask", async () => {
  expect((await curl("/big", "-D", "-")).toLowerCase()).not.toContain("content-encoding");
  const packed = (await curl("/big", "-D", "-", "--compressed")).toLowerCase();
  expect(packed).toContain("content-encoding: gzip");
  expect(packed).toContain("x".repeat(10_000));
});

test("a stream ends when its client goes", async () => {
  streamEnded = Promise.withResolvers<void>();
  const answer = await fetch(`http://127.0.0.1:${server.plainPort}/stream`);
  const reader = answer.body?.getReader();
  expect(decode((await reader?.read())?.value ?? new Uint8Array())).toStartWith("data: 0\n\n");
  await reader?.cancel();
  await streamEnded.promise;
});

test("the plain listener says that it is not secure", async () => {
  const answer = await fetch(`http://127.0.0.1:${server.plainPort}/x`);
  expect(await answer.text()).toBe('["/x",[],true,false]');
});

test("WebSockets echo text and bytes over TLS", async () => {
  const tls = { ca: identity.ca, serverName: SERVER_TLS_NAME };
  const socket = new WebSocket(`wss://127.0.0.1:${server.port}/socket`, { tls } as unknown as string[]);
  socket.binaryType = "arraybuffer";
  const frames: unknown[] = [];
  await new Promise<void>((resolve) => {
    socket.onopen = () => {
      socket.send("text");
      socket.send(new Uint8Array([1, 2]));
    };
    socket.onmessage = (event) => {
      frames.push(typeof event.data === "string" ? event.data : [...new Uint8Array(event.data as ArrayBuffer)]);
      if (frames.length === 2) resolve();
    };
  });
  socket.close();
  expect(frames).toEqual(["text", [1, 2]]);
});

test("a taken port is a conflict", () => {
  const again = (): RunningServer =>
    serveHttps({
      hostname: "127.0.0.1",
      port: server.port,
      identity,
      plainPort: null,
      handle,
      clock: systemClock,
      onInternalError: () => undefined,
    });
  expect(again).toThrow(/the port is taken/);
});

test("close() lets requests under way finish and tells sockets", async () => {
  const other = serveHttps({
    hostname: "127.0.0.1",
    port: 0,
    identity,
    plainPort: 0,
    handle,
    clock: systemClock,
    onInternalError: () => undefined,
  });
  const socket = new WebSocket(`ws://127.0.0.1:${other.plainPort}/socket`);
  const code = new Promise<number>((resolve) => {
    socket.onclose = (event) => resolve(event.code);
  });
  await new Promise<void>((resolve) => {
    socket.onopen = () => resolve();
  });
  const under = fetch(`http://127.0.0.1:${other.plainPort}/wait`).then((answer) => answer.text());
  await fetch(`http://127.0.0.1:${other.plainPort}/x`);
  await other.close(5000);
  expect(await under).toBe("done");
  expect(await code).toBe(1001);
  expect(await fetch(`http://127.0.0.1:${other.plainPort}/x`).catch(() => "refused")).toBe("refused");
});

test("prefixRouter() takes the longest prefix and nothing that only looks like it", async () => {
  const say = (name: string) => async () => text(name);
  const route = prefixRouter(
    [
      { prefix: "/v2", handle: say("v2") },
      { prefix: "/v2/apps", handle: say("apps") },
      { prefix: "/ui/", handle: say("ui") },
    ],
    say("none"),
  );
  const at = async (path: string): Promise<string> => {
    const answer = await route({ path } as HttpRequest);
    return "body" in answer ? (answer.body as string) : "upgrade";
  };
  expect(await Promise.all(["/v2", "/v2/", "/v2/apps//x", "/v2/appsx", "/v2x", "/ui", "/ui/a", "/"].map(at))).toEqual([
    "v2",
    "v2",
    "apps",
    "v2",
    "none",
    "ui",
    "ui",
    "none",
  ]);
});

test("a Host header of nonsense and a missing one are harmless", async () => {
  const send = async (head: string): Promise<string> => {
    const done = Promise.withResolvers<string>();
    let got = "";
    await Bun.connect({
      hostname: "127.0.0.1",
      port: server.plainPort ?? 0,
      socket: {
        open: (socket) => void socket.write(head),
        data: (_, bytes) => void (got += decode(bytes)),
        close: () => done.resolve(got),
      },
    });
    return await done.promise;
  };
  expect(await send("GET /x HTTP/1.1\r\nHost: a b/%%\r\nConnection: close\r\n\r\n")).toMatch(/^HTTP\/1\.1 (200|400)/);
  expect(await send("GET /x HTTP/1.0\r\n\r\n")).toMatch(/^HTTP\/1\.[01] (200|400)/);
});
