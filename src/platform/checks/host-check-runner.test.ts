import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createSocket, type Socket as DatagramSocket } from "node:dgram";
import {
  createSecureServer as createSecureHttp2,
  createServer as createHttp2,
  type Http2SecureServer,
  type Http2Server,
  type ServerHttp2Stream,
} from "node:http2";
import { createServer as createTcp, type Server } from "node:net";
import { openIdentity } from "../tls/identity.ts";
import type { CheckAnswer, CheckTarget } from "../ports/check-runner.ts";
import { HostCheckRunner } from "./host-check-runner.ts";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const runner = new HostCheckRunner({ engine: null, allowsScript: () => true });
const NO_TLS = { serverName: "", skipVerify: false };
const directory = mkdtempSync(join(tmpdir(), "apollo-checks-"));

async function run(target: CheckTarget, timeoutMs = 3000, outputMax = 4096): Promise<CheckAnswer> {
  const answer = await runner.run(target, { timeoutMs, outputMax, signal: new AbortController().signal });
  if (answer === null) throw new Error("the runner says nothing");
  return answer;
}

function http(url: string, change: Partial<CheckTarget & { kind: "http" }> = {}): CheckTarget {
  const plain = {
    kind: "http",
    url,
    method: "GET",
    headers: {},
    body: "",
    tls: NO_TLS,
    followRedirects: true,
  } as const;
  return { ...plain, ...change };
}

let web: Bun.Server<undefined>;
let secure: Bun.Server<undefined>;
let silent: Server;
let h2: Http2Server;
let secureH2: Http2SecureServer;
let echo: DatagramSocket;

beforeAll(async () => {
  const answer = async (request: Request): Promise<Response> => {
    const url = new URL(request.url);
    if (url.pathname === "/moved") return new Response("", { status: 302, headers: { location: "/ok" } });
    if (url.pathname === "/loop") return new Response("", { status: 302, headers: { location: "/loop" } });
    if (url.pathname === "/long") return new Response("x".repeat(100_000));
    if (url.pathname === "/say")
      return new Response(
        `${request.method} ${request.headers.get("x-a")} ${request.headers.get("user-agent")} ${await request.text()}`,
      );
    return new Response("well", { status: Number(url.searchParams.get("status") ?? 200) });
  };
  web = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: answer });
  const { certificate, key } = await openIdentity(directory, ["127.0.0.1"], Date.now());
  secure = Bun.serve({ hostname: "127.0.0.1", port: 0, tls: { cert: certificate, key }, fetch: answer });
  silent = createTcp(() => undefined);
  await listening(silent);
  h2 = createHttp2();
  secureH2 = createSecureHttp2({ cert: certificate, key });
  for (const server of [h2, secureH2]) {
    server.on("stream", answerGrpc);
    await listening(server);
  }
  echo = createSocket("udp4");
  echo.on("message", (message, from) => echo.send(message, from.port, from.address));
  await new Promise<void>((resolve) => echo.bind(0, "127.0.0.1", () => resolve()));
});

afterAll(() => {
  rmSync(directory, { recursive: true });
  void web.stop(true);
  void secure.stop(true);
  silent.close();
  h2.close();
  secureH2.close();
  echo.close();
});

/** gRPC's health service; how the service is called says how it is. */
function answerGrpc(stream: ServerHttp2Stream): void {
  let asked = Buffer.alloc(0);
  stream.on("data", (piece: Buffer) => {
    asked = Buffer.concat([asked, piece]);
  });
  stream.on("end", () => {
    const name = asked.subarray(7).toString();
    stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": name === "unknown" ? "5" : "0" }));
    stream.end(name === "unknown" ? undefined : Buffer.from([0, 0, 0, 0, 2, 8, name === "sick" ? 2 : 1]));
  });
}

function listening(server: Server | Http2Server | Http2SecureServer): Promise<void> {
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
}

function portOf(server: Server | Http2Server | Http2SecureServer): number {
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("it does not listen");
  return address.port;
}

/** A port where nobody listens. */
async function closedPort(): Promise<number> {
  const server = createTcp();
  await listening(server);
  const port = portOf(server);
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return port;
}

describe("HTTP", () => {
  const url = (path: string): string => `http://127.0.0.1:${web.port}${path}`;

  test("2xx is passing, 429 a warning, all else critical", async () => {
    const statuses = [];
    for (const status of [200, 204, 429, 404, 500]) statuses.push((await run(http(url(`/?status=${status}`)))).status);
    expect(statuses).toEqual(["passing", "passing", "warning", "critical", "critical"]);
  });

  test("sends method, headers and body as declared, and shows what came back", async () => {
    const answer = await run(http(url("/say"), { method: "PUT", headers: { "X-A": ["one"] }, body: "hello" }));
    expect(answer.output).toBe(`HTTP PUT ${url("/say")}: 200 OK Output: PUT one Consul Health Check hello`);
  });

  test("follows redirects unless told not to, and not for ever", async () => {
    expect((await run(http(url("/moved")))).output).toContain("200 OK Output: well");
    expect((await run(http(url("/moved"), { followRedirects: false }))).status).toBe("critical");
    expect((await run(http(url("/loop")))).output).toContain("more than 10 redirects");
  });

  test("keeps no more of the body than it may", async () => {
    const { status, output } = await run(http(url("/long")), 3000, 100);
    expect(status).toBe("passing");
    expect(output.endsWith(`Output: ${"x".repeat(100)}`)).toBe(true);
  });

  test("believes no certificate that it cannot verify, unless told to", async () => {
    const place = `https://127.0.0.1:${secure.port}/`;
    expect((await run(http(place))).status).toBe("critical");
    expect((await run(http(place, { tls: { serverName: "", skipVerify: true } }))).status).toBe("passing");
  });

  test("gives up on one that does not answer, and says so", async () => {
    const { status, output } = await run(http(`http://127.0.0.1:${portOf(silent)}/`), 100);
    expect(status).toBe("critical");
    expect(output).toEndWith("no answer within 0.1 s");
  });

  test("says that nobody listens", async () => {
    const port = await closedPort();
    expect((await run(http(`http://127.0.0.1:${port}/`))).status).toBe("critical");
  });
});

describe("TCP and UDP", () => {
  test("an open port is passing, a closed one is not", async () => {
    const open = await run({ kind: "tcp", host: "127.0.0.1", port: portOf(silent), tls: null });
    expect(open).toEqual({ status: "passing", output: `TCP connect 127.0.0.1:${portOf(silent)}: Success` });
    const closed = await run({ kind: "tcp", host: "127.0.0.1", port: await closedPort(), tls: null });
    expect(closed.status).toBe("critical");
    expect(closed.output).toContain("connection refused");
  });

  test("with TLS the certificate counts, unless told that it does not", async () => {
    const place = { kind: "tcp", host: "127.0.0.1", port: secure.port ?? 0 } as const;
    expect((await run({ ...place, tls: NO_TLS })).status).toBe("critical");
    expect((await run({ ...place, tls: { serverName: "", skipVerify: true } })).status).toBe("passing");
  });

  test("an answer and silence are passing, the kernel's refusal is not", async () => {
    expect((await run({ kind: "udp", host: "127.0.0.1", port: echo.address().port })).status).toBe("passing");
    const mute = createSocket("udp4");
    await new Promise<void>((resolve) => mute.bind(0, "127.0.0.1", () => resolve()));
    expect((await run({ kind: "udp", host: "127.0.0.1", port: mute.address().port }, 100)).status).toBe("passing");
    const { port } = mute.address();
    await new Promise<void>((resolve) => mute.close(() => resolve()));
    expect((await run({ kind: "udp", host: "127.0.0.1", port })).status).toBe("critical");
  });
});

describe("HTTP/2 and gRPC", () => {
  const grpc = (service: string): CheckTarget => {
    return { kind: "grpc", host: "127.0.0.1", port: portOf(h2), service, tls: null };
  };

  test("a ping is acknowledged by a server of HTTP/2 alone", async () => {
    const ping = (port: number): CheckTarget => ({ kind: "h2ping", host: "127.0.0.1", port, tls: null });
    expect((await run(ping(portOf(h2)))).status).toBe("passing");
    expect((await run(ping(await closedPort()))).status).toBe("critical");
    expect((await run(ping(portOf(silent)), 200)).status).toBe("critical");
  });

  test("the health service must say SERVING", async () => {
    expect((await run(grpc(""))).status).toBe("passing");
    expect((await run(grpc("web"))).status).toBe("passing");
    expect((await run(grpc("sick"))).output).toEndWith("the service is NOT_SERVING");
    expect((await run(grpc("unknown"))).output).toContain("gRPC status 5");
  });

  test("over TLS both believe no certificate that they cannot verify, unless told to", async () => {
    const place = { host: "127.0.0.1", port: portOf(secureH2) } as const;
    const lax = { serverName: "", skipVerify: true };
    for (const kind of ["h2ping", "grpc"] as const) {
      const with_ = (tls: typeof NO_TLS): CheckTarget =>
        kind === "grpc" ? { kind, ...place, service: "web", tls } : { kind, ...place, tls };
      expect([kind, (await run(with_(NO_TLS))).status]).toEqual([kind, "critical"]);
      expect([kind, (await run(with_(lax))).status]).toEqual([kind, "passing"]);
      const cleartext: CheckTarget = { ...with_(lax), tls: null } as CheckTarget;
      expect([kind, (await run(cleartext, 500)).status]).toEqual([kind, "critical"]);
    }
    const sick = await run({ kind: "grpc", ...place, service: "sick", tls: lax });
    expect(sick.output).toEndWith("the service is NOT_SERVING");
  });

  test("what speaks HTTP/1 is no gRPC server", async () => {
    const place = { kind: "grpc", host: "127.0.0.1", port: web.port ?? 0, service: "", tls: null } as const;
    expect((await run(place, 500)).status).toBe("critical");
  });
});

describe("scripts", () => {
  const script = (...argv: readonly string[]): CheckTarget => ({ kind: "script", argv });

  test("exit code 0 is passing, 1 a warning, all else critical; output is kept", async () => {
    expect(await run(script("echo", "fine"))).toEqual({ status: "passing", output: "fine\n" });
    expect(await run(script("sh", "-c", "echo so so >&2; exit 1"))).toEqual({ status: "warning", output: "so so\n" });
    expect((await run(script("sh", "-c", "exit 2"))).status).toBe("critical");
    expect((await run(script("/does/not/exist"))).status).toBe("critical");
  });

  test("one that hangs is ended with its children", async () => {
    const mark = `97${process.pid}`;
    expect((await run(script("sh", "-c", `sleep ${mark} & sleep ${mark}`), 200)).status).toBe("critical");
    const left = (): boolean => Bun.spawnSync(["pgrep", "-f", `^sleep ${mark}$`]).exitCode === 0;
    const deadlineMs = performance.now() + 5000;
    while (left() && performance.now() < deadlineMs) await Bun.sleep(10);
    expect(left()).toBe(false);
  });

  test("a long output is cut", async () => {
    const { output } = await run(script("sh", "-c", "yes | head -c 100000"), 3000, 64);
    expect(output).toHaveLength(64);
  });

  test("are refused unless the host allows them", async () => {
    const careful = new HostCheckRunner({ engine: null, allowsScript: () => false });
    const limits = { timeoutMs: 1000, outputMax: 100, signal: new AbortController().signal };
    const answer = await careful.run(script("echo"), limits);
    expect(answer?.status).toBe("critical");
    expect(answer?.output).toContain("Scripts are disabled");
  });
});

describe("services of the machine", () => {
  const service = (name: string): CheckTarget => ({ kind: "os-service", name });

  /** Says of each service what its name says, and writes down how it was called. */
  async function withSystemctl(use: (calls: () => string) => Promise<void>): Promise<void> {
    const place = mkdtempSync(join(directory, "bin-"));
    const calls = join(place, "calls");
    const script = `#!/bin/sh\nprintf '%s\\n' "$*" >> ${calls}\necho "$3"\n[ "$3" = active ]\n`;
    writeFileSync(join(place, "systemctl"), script, { mode: 0o755 });
    const before = process.env["PATH"];
    process.env["PATH"] = `${place}:${before}`;
    try {
      await use(() => readFileSync(calls, "utf8"));
    } finally {
      process.env["PATH"] = before;
    }
  }

  test("what systemd says decides, and no name is taken for an option", async () => {
    await withSystemctl(async (calls) => {
      const statuses = [];
      for (const name of ["active", "reloading", "activating", "inactive", "failed"])
        statuses.push((await run(service(name))).status);
      expect(statuses).toEqual(["passing", "warning", "warning", "critical", "critical"]);
      expect(await run(service("--version"))).toEqual({
        status: "critical",
        output: "Service --version is --version",
      });
      expect(calls().split("\n")[0]).toBe("is-active -- active");
      expect(calls()).toContain("is-active -- --version\n");
    });
  });
});

test("an aborted run ends at once", async () => {
  const abort = new AbortController();
  const target = http(`http://127.0.0.1:${portOf(silent)}/`);
  const running = runner.run(target, { timeoutMs: 60_000, outputMax: 100, signal: abort.signal });
  abort.abort();
  expect((await running)?.output).toEndWith("given up");
});
