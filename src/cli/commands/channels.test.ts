/** exec and logs, against a server that plays the container. */
import { afterEach, expect, test } from "bun:test";
import { appJson, instanceJson } from "../test-server.fixture.ts";
import { type CliRun, runTestCli } from "../test-cli.fixture.ts";
import { chooseRunning } from "./exec.ts";
import type { InstanceJson } from "../../api/native/shapes.ts";

const MAIN = new URL("../main.ts", import.meta.url).pathname;
const FIRST = instanceJson({ id: "web.instance-aaaaaaaa-1", health: "unhealthy" });
const SECOND = instanceJson({ id: "web.instance-bbbbbbbb-1", host: "host-2" });
const THIRD = instanceJson({ id: "web.instance-cccccccc-1" });

interface Opened {
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
}

type Send = (kind: number, text: string) => void;
type Play = {
  readonly open?: (send: Send, opened: Opened) => void;
  readonly input?: (send: Send, kind: number, text: string) => void;
};

let server: ReturnType<typeof Bun.serve> | null = null;
afterEach(async () => {
  await server?.stop(true);
});

function serve(
  list: () => readonly InstanceJson[],
  play: Play,
): { readonly opened: Opened[]; readonly env: Record<string, string> } {
  const opened: Opened[] = [];
  const started = Bun.serve<Opened, never>({
    port: 0,
    hostname: "127.0.0.1",
    fetch: (request, self) => {
      const url = new URL(request.url);
      if (url.pathname === "/api/instances") return Response.json(list());
      if (url.pathname === "/api/apps") return Response.json([appJson(), appJson({ id: "/none", instances: 0 })]);
      const data = { path: decodeURIComponent(url.pathname), query: Object.fromEntries(url.searchParams) };
      opened.push(data);
      return self.upgrade(request, { data }) ? undefined : new Response(null, { status: 400 });
    },
    websocket: {
      open: (socket) => play.open?.((kind, text) => void socket.send(frame(kind, text)), socket.data),
      message: (socket, message) => {
        const bytes = typeof message === "string" ? Buffer.from(message) : message;
        play.input?.(
          (kind, text) => void socket.send(frame(kind, text)),
          bytes[0] ?? 0,
          bytes.subarray(1).toString("utf8"),
        );
      },
    },
  });
  server = started;
  return { opened, env: { APOLLO_SERVER: `http://127.0.0.1:${started.port}` } };
}

const frame = (kind: number, text: string): Buffer => Buffer.concat([Buffer.from([kind]), Buffer.from(text)]);
const end = (send: Send, exitCode: number | null, error: string | null = null): void =>
  send(3, JSON.stringify({ exitCode, error }));

test("apollo exec runs a command in the first healthy instance of an app, and ends with its exit code", async () => {
  const { opened, env } = serve(() => [FIRST, SECOND], {
    open: (send) => {
      send(1, "out\n");
      send(2, "err\n");
      end(send, 42);
    },
  });
  const run = await runTestCli(["exec", "web", "--", "ls", "-l", "--json"], { env });
  expect(run).toEqual({ code: 42, out: "out\n", err: "Instance bbbbbbbb on host-2\nerr\n" });
  expect(opened).toEqual([
    {
      path: "/api/instances/web.instance-bbbbbbbb-1/exec",
      query: { argv: '["ls","-l","--json"]', tty: "false", stdin: "false" },
    },
  ]);
  expect((await runTestCli(["exec", "aaaa", "ls", "-l"], { env })).code).toBe(42);
  expect(opened[1]).toEqual({
    path: "/api/instances/web.instance-aaaaaaaa-1/exec",
    query: { argv: '["ls","-l"]', tty: "false", stdin: "false" },
  });
});

test("apollo exec -i passes standard input on, to its end", async () => {
  let got = "";
  const { env } = serve(() => [SECOND], {
    input: (send, kind, text) => {
      if (kind === 0) got += text;
      if (kind !== 1) return;
      send(1, got.toUpperCase());
      end(send, 0);
    },
  });
  expect(await runTestCli(["exec", "-i", "web", "--", "tr"], { env, stdin: "hello\n" })).toEqual({
    code: 0,
    out: "HELLO\n",
    err: "",
  });
});

test("apollo exec says what is wrong", async () => {
  const { env } = serve(
    () => [SECOND, THIRD, instanceJson({ id: "old.instance-dddddddd-1", app: "/old", phase: "failed" })],
    {
      open: (send) => end(send, null, "no such file: frob"),
    },
  );
  const run = async (...argv: string[]): Promise<CliRun> => await runTestCli(argv, { env });
  expect(await run("exec", "web", "--", "frob")).toMatchObject({ code: 5, out: "" });
  expect((await run("exec", "web", "--", "frob")).err).toContain("Cannot run the command: no such file: frob");
  expect((await run("exec", "old", "--", "ls")).err).toContain("no instance of it runs (failed)");
  expect((await run("exec", "none", "--", "ls")).err).toContain('Run "apollo app scale none 1"');
  expect(await run("exec", "web.instance-", "--", "ls")).toMatchObject({ code: 2 });
  expect((await run("exec", "wep", "--", "ls")).err).toContain('Did you mean "web"');
  expect((await run("exec", "-t", "web", "--", "ls")).err).toContain("standard input is none");
  expect(await run("exec", "web")).toMatchObject({ code: 2 });
  expect(await run("exec", "web", "--")).toMatchObject({ code: 2 });
});

test("chooseRunning() takes a healthy instance before others", () => {
  expect(chooseRunning("web", [FIRST, SECOND])).toBe(SECOND);
  expect(chooseRunning("web", [FIRST])).toBe(FIRST);
});

test("apollo exec -it gives the command this terminal: raw keys, size, and a clean terminal after it", async () => {
  let keys = "";
  let size = "";
  const { env } = serve(() => [SECOND], {
    open: (send) => send(1, "prompt# "),
    input: (send, kind, text) => {
      if (kind === 2) size = text;
      if (kind === 0) keys += text;
      // Ctrl-C reaches the command as a byte, and only it decides what that means.
      if (kind === 0 && keys.includes("\u0003")) {
        send(1, "bye\r\n");
        end(send, 7);
      }
    },
  });
  let screen = "";
  const child = Bun.spawn([process.execPath, MAIN, "exec", "-it", "web", "--", "sh"], {
    env: { PATH: process.env["PATH"], HOME: "/nonexistent", TERM: "xterm", ...env },
    terminal: {
      cols: 91,
      rows: 23,
      data: (terminal, bytes) => {
        screen += Buffer.from(bytes).toString("utf8");
        if (screen.endsWith("prompt# ")) terminal.write("x\u0003");
      },
    },
  });
  expect(await child.exited).toBe(7);
  // The runtime's raw mode leaves ONLCR on, so a newline gets a second carriage return, which no terminal shows.
  expect(screen.replaceAll("\r\r\n", "\r\n")).toBe("prompt# bye\r\n");
  expect(keys).toBe("x\u0003");
  expect(JSON.parse(size)).toEqual({ columns: 91, rows: 23 });
});

test("apollo logs of one instance passes bytes as they are", async () => {
  const { opened, env } = serve(() => [SECOND, THIRD], {
    open: (send) => {
      send(1, "a\nb");
      send(2, "c\n");
      end(send, null);
    },
  });
  expect(await runTestCli(["logs", "--tail", "5", "bbbb"], { env })).toEqual({ code: 0, out: "a\nb", err: "c\n" });
  expect(opened[0]?.query).toEqual({ follow: "false", tail: "5" });
  expect((await runTestCli(["logs", "--tail", "few", "bbbb"], { env })).code).toBe(2);
});

test("apollo logs of an app marks whole lines with their instance", async () => {
  const { env } = serve(() => [SECOND, THIRD], {
    open: (send, { path }) => {
      const name = path.includes("bbbb") ? "b" : "c";
      for (const part of [`${name}1\n${name}`, "2\n", `${name}3`]) send(1, part);
      end(send, null);
    },
  });
  const { out, code } = await runTestCli(["logs", "web"], { env });
  expect(code).toBe(0);
  expect(out.split("\n").filter((line) => line.startsWith("bbbbbbbb | "))).toEqual([
    "bbbbbbbb | b1",
    "bbbbbbbb | b2",
    "bbbbbbbb | b3",
  ]);
  expect(out.split("\n").filter((line) => line.startsWith("cccccccc | "))).toHaveLength(3);
});

test("apollo logs -f goes on until Ctrl-C, with instances that come meanwhile", async () => {
  const list = [SECOND];
  const third = Promise.withResolvers<void>();
  const { env } = serve(() => list, {
    open: (send, { path }) => {
      send(1, `${path.slice(15, 40)}\n`);
      if (path.includes("cccc")) third.resolve();
      else list.push(THIRD);
    },
  });
  const stop = new AbortController();
  const running = runTestCli(["logs", "-f", "web"], { env, signal: stop.signal });
  await third.promise;
  stop.abort();
  const { out } = await running;
  expect(out).toContain("bbbbbbbb | ");
});
