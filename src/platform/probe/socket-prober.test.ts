import { afterAll, beforeAll, expect, test } from "bun:test";
import { parseIpv4 } from "../../model/ip.ts";
import { parseStatusLine } from "./parse-status-line.ts";
import { socketProber } from "./socket-prober.ts";

const LOOPBACK = parseIpv4("127.0.0.1");
const requests: string[] = [];
let plain: Bun.Server<undefined>;
let mute: Bun.TCPSocketListener;

beforeAll(() => {
  plain = Bun.serve({
    port: 0,
    hostname: LOOPBACK,
    fetch: (request) => {
      const { pathname, search } = new URL(request.url);
      requests.push(`${request.method} ${pathname}${search} ${request.headers.get("user-agent")}`);
      if (pathname === "/moved") return new Response(null, { status: 302, headers: { location: "/gone" } });
      if (pathname === "/big") return new Response("x".repeat(4 * 1024 * 1024));
      return new Response("body", { status: pathname === "/bad" ? 503 : 200 });
    },
  });
  mute = Bun.listen({
    port: 0,
    hostname: LOOPBACK,
    socket: { data: (socket, data) => void (data.includes("/noise") && socket.end("what?\n")) },
  });
});
afterAll(async () => {
  mute.stop(true);
  await plain.stop(true);
});

const ask = (path: string, port = plain.port ?? 0): ReturnType<typeof socketProber.http> =>
  socketProber.http({ address: LOOPBACK, port, path, tls: false, timeoutMs: 2000 });

test("http() gives the status, follows no redirect and sends the query", async () => {
  expect(await ask("/ok?a=b c")).toEqual({ ok: true, answer: 200 });
  expect(requests.at(-1)).toBe("GET /ok?a=b%20c apollo-health-check");
  expect(await ask("/bad")).toEqual({ ok: true, answer: 503 });
  expect(await ask("/moved")).toEqual({ ok: true, answer: 302 });
  expect(await ask("/big")).toEqual({ ok: true, answer: 200 });
  expect(requests.some((line) => line.includes("/gone"))).toBe(false);
});

test("a path cannot smuggle header lines", async () => {
  expect(await ask("/ok HTTP/1.1\r\nX-Evil: 1")).toEqual({ ok: true, answer: 200 });
  expect(requests.at(-1)).toStartWith("GET /ok%20HTTP/1.1%0D%0AX-Evil:%201");
});

test("what does not answer says why", async () => {
  expect(await ask("/", 1)).toEqual({ ok: false, cause: "connection refused" });
  expect(await ask("/noise", mute.port)).toEqual({ ok: false, cause: "the answer is not HTTP" });
  const silent = await socketProber.http({ address: LOOPBACK, port: mute.port, path: "/", tls: false, timeoutMs: 50 });
  expect(silent).toEqual({ ok: false, cause: "no answer within 0.05 s" });
});

test("tcp() asks only whether the port is open", async () => {
  expect(await socketProber.tcp(LOOPBACK, mute.port, 1000)).toEqual({ ok: true, answer: null });
  expect(await socketProber.tcp(LOOPBACK, 1, 1000)).toEqual({ ok: false, cause: "connection refused" });
});

test("parseStatusLine() waits for the whole line", () => {
  expect(parseStatusLine("HTTP/1.1 20")).toBeNull();
  expect(parseStatusLine("HTTP/1.1 204\r\n")).toBe(204);
  expect(parseStatusLine("HTTP/1.0 404 Not Found\r\nX: y\r\n")).toBe(404);
  expect(parseStatusLine("SSH-2.0-OpenSSH\r\n")).toBeNull();
});
