import { afterEach, expect, test } from "bun:test";
import type { AppJson, InstanceJson } from "../api/native/shapes.ts";
import { AppError } from "../model/error.ts";
import type { Clock } from "../platform/ports/clock.ts";
import { ApolloClient } from "./client.ts";
import { Interrupted } from "./format-error.ts";
import { appJson, errorResponse, instanceJson, startTestServer, type TestServer } from "./test-server.fixture.ts";
import { readyCount, waitForDeployment } from "./wait-deployment.ts";

/** What the server shows at one look; `down`: it does not answer. */
interface Look {
  readonly app?: AppJson | null;
  readonly instances?: readonly InstanceJson[];
  readonly gone?: boolean;
  readonly down?: boolean;
}

const REF = { version: "v", deploymentId: "d1" };
const WHY = { app: "/web", summary: "Waits for a host with 4 cpus free" };

let server: TestServer | null = null;
afterEach(async () => {
  await server?.stop();
});

interface Waiting {
  readonly lines: readonly string[];
  readonly error: unknown;
  readonly tookMs: number | null;
}

/** Waits while the server shows one look after another; the last one stays. Time moves by the waits alone. */
async function wait(
  looks: readonly Look[],
  {
    goal = "running",
    timeoutMs = 60_000,
    abortAtLook = -1,
  }: { goal?: "running" | "gone"; timeoutMs?: number; abortAtLook?: number } = {},
): Promise<Waiting> {
  let at = -1;
  const look = (): Look => looks[Math.min(at, looks.length - 1)] ?? {};
  const end = new AbortController();
  server = startTestServer({
    "GET /api/deployments": () => {
      at += 1;
      if (at === abortAtLook) end.abort();
      if (look().down === true) return errorResponse(503, "unavailable", "starting");
      return look().gone === true ? [] : [{ id: "d1" }];
    },
    "GET /api/apps/web": () => look().app ?? errorResponse(404, "not-found", "no app"),
    "GET /api/apps/web/why": () => WHY,
    "GET /api/instances": () => look().instances ?? [],
  });
  let nowMs = 0;
  const clock: Clock = {
    nowMs: () => nowMs,
    monotonicMs: () => nowMs,
    sleep: async (ms) => {
      nowMs += ms;
    },
  };
  const lines: string[] = [];
  const progress = {
    update: (text: string) => void (lines.at(-1) === text || lines.push(text)),
    clear: () => undefined,
  };
  const client = new ApolloClient(
    { url: server.url, token: null, ca: null, source: "test" },
    new AbortController().signal,
  );
  try {
    const tookMs = await waitForDeployment(
      { app: "web", ref: REF, goal },
      { client, clock, signal: end.signal, progress, timeoutMs },
    );
    return { lines, error: null, tookMs };
  } catch (error) {
    return { lines, error, tookMs: null };
  }
}

const app = appJson({ instances: 2, deployments: ["d1"] });
const done = appJson({ instances: 2 });
const staging = instanceJson({ id: "web.instance-aaaaaaaa-1", phase: "staging", health: "unknown", host: "host-2" });
const young = instanceJson({ id: "web.instance-aaaaaaaa-1", health: "unknown", host: "host-2" });
const healthy = instanceJson({ id: "web.instance-bbbbbbbb-1" });

test("waitForDeployment() tells how it goes, until the deployment is gone and all are healthy", async () => {
  const { lines, error, tookMs } = await wait([
    { app, instances: [] },
    { app, instances: [staging, healthy] },
    { app, instances: [young, healthy] },
    { app: done, instances: [healthy, { ...healthy, id: "web.instance-cccccccc-1" }], gone: true },
  ]);
  expect(error).toBeNull();
  expect(tookMs).toBe(750);
  expect(lines).toEqual([
    "web: 0/2 healthy",
    "web: 1/2 healthy · aaaaaaaa staging on host-2",
    "web: 1/2 healthy · aaaaaaaa not checked yet on host-2",
  ]);
});

test("waitForDeployment() says why it does not move, after a while and not before", async () => {
  const looks = Array.from({ length: 14 }, (): Look => ({ app, instances: [] }));
  const { lines } = await wait([...looks, { app: appJson({ instances: 0 }), instances: [], gone: true }]);
  expect(lines).toEqual(["web: 0/2 healthy", "web: 0/2 healthy · Waits for a host with 4 cpus free"]);
});

test("waitForDeployment() waits for a server that restarts", async () => {
  const { lines, error } = await wait([
    { app, instances: [] },
    { down: true },
    { app: done, instances: [healthy, healthy], gone: true },
  ]);
  expect(error).toBeNull();
  expect(lines.at(-1)).toBe("web: the server does not answer; trying again");
});

test("waitForDeployment() has a deadline and says what to do then", async () => {
  const { error } = await wait([{ app, instances: [staging] }], { timeoutMs: 2000 });
  expect(error).toBeInstanceOf(AppError);
  expect(String(error)).toBe(
    'AppError: Cannot see app "web" ready within 2.0 s: 0/2 healthy · aaaaaaaa staging on host-2',
  );
  expect((error as AppError).code).toBe("unavailable");
  expect((error as AppError).hint).toContain("apollo deployment cancel d1");
});

test("waitForDeployment() stops at Ctrl-C, and says that the deployment goes on", async () => {
  const { error } = await wait([{ app, instances: [] }], { abortAtLook: 2 });
  expect(error).toBeInstanceOf(Interrupted);
  expect((error as Interrupted).text).toBe(
    "Stopped waiting; the deployment goes on.\n  See how it is:  apollo app show web\n  Go back:        apollo deployment cancel d1",
  );
});

const ENDINGS: readonly (readonly [string, Look, "running" | "gone", string])[] = [
  ["was destroyed", { app: null, gone: true }, "running", "it was destroyed meanwhile"],
  ["was taken over", { app: { ...app, deployments: ["d2"] }, gone: true }, "running", "deployment d2 took its place"],
  [
    "ended too early",
    { app: done, instances: [healthy], gone: true },
    "running",
    "its deployment ended with 1 of 2 instances",
  ],
  ["did not destroy", { app: done, gone: true }, "gone", "the app is still there"],
];
for (const [title, look, goal, message] of ENDINGS) {
  test(`waitForDeployment() fails when the deployment ${title}`, async () => {
    const { error } = await wait([look], { goal });
    expect((error as AppError).code).toBe("conflict");
    expect(String(error)).toContain(message);
  });
}

test("waitForDeployment() of a destroyed app counts what is left", async () => {
  const { lines, error } = await wait(
    [
      { app, instances: [healthy, staging] },
      { app, instances: [{ ...healthy, goal: "draining" }] },
      { app: null, gone: true },
    ],
    { goal: "gone" },
  );
  expect(error).toBeNull();
  expect(lines).toEqual([
    "web: 2 instances left · aaaaaaaa staging on host-2",
    "web: 1 instance left · bbbbbbbb draining on host-1",
  ]);
});

test("readyCount() counts instances of the wanted definition that can serve", () => {
  expect(
    readyCount([
      healthy,
      { ...healthy, health: "none" },
      { ...healthy, health: "unhealthy" },
      { ...healthy, current: false },
      { ...healthy, goal: "draining" },
      staging,
    ]),
  ).toBe(2);
});
