import type { AppJson, HostJson, InstanceJson } from "../api/native/shapes.ts";

export interface TestRequest {
  readonly method: string;
  /** Path with query. */
  readonly path: string;
  readonly body: unknown;
  readonly authorization: string | null;
}

/** JSON to answer with; a Response for another status. */
export type TestAnswer = (request: TestRequest) => unknown;

export interface TestServer {
  readonly url: string;
  readonly requests: readonly TestRequest[];
  stop(): Promise<void>;
}

/** A server with canned answers by "METHOD /path" (without the query); everything else is a 404 in the API's form. */
export function startTestServer(answers: Readonly<Record<string, TestAnswer>>): TestServer {
  const requests: TestRequest[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: async (request) => {
      const url = new URL(request.url);
      const text = await request.text();
      const seen = {
        method: request.method,
        path: url.pathname + url.search,
        body: text === "" ? null : (JSON.parse(text) as unknown),
        authorization: request.headers.get("authorization"),
      };
      requests.push(seen);
      const answer = answers[`${request.method} ${url.pathname}`];
      if (answer === undefined) return errorResponse(404, "not-found", `Cannot find ${url.pathname}`);
      const value = answer(seen);
      return value instanceof Response ? value : Response.json(value);
    },
  });
  return { url: `http://127.0.0.1:${server.port}`, requests, stop: () => server.stop(true) };
}

export function errorResponse(status: number, code: string, message: string, more: object = {}): Response {
  return Response.json({ error: { code, message, ...more } }, { status });
}

export function appJson(parts: Partial<AppJson> = {}): AppJson {
  return {
    id: "/web",
    image: "registry.lab/web:1",
    instances: 2,
    running: 2,
    healthy: 2,
    unhealthy: 0,
    staging: 0,
    cpus: 0.3,
    memoryMiB: 64,
    service: "web",
    version: "2026-11-24T07:00:00.000Z",
    status: "running",
    deployments: [],
    problem: null,
    labels: {},
    ...parts,
  };
}

export function instanceJson(parts: Partial<InstanceJson> = {}): InstanceJson {
  return {
    id: "web.instance-3f2a9c11-0000-4000-8000-000000000001",
    app: "/web",
    version: "2026-11-24T07:00:00.000Z",
    current: true,
    host: "host-1",
    goal: "running",
    phase: "running",
    health: "healthy",
    address: "10.2.1.2",
    ports: [8080],
    startedAtMs: 1_000_000,
    message: null,
    ...parts,
  };
}

export function hostJson(parts: Partial<HostJson> = {}): HostJson {
  return {
    id: "h1",
    name: "host-1",
    address: "192.0.2.11",
    phase: "up",
    cordoned: false,
    blocks: ["10.2.1.0/24"],
    cpus: { total: 2, used: 0.6 },
    memoryMiB: { total: 2000, used: 128 },
    instances: 2,
    labels: {},
    agentVersion: "0.1.0",
    lastSeenMs: 1_000_000,
    joinedAtMs: 0,
    conditions: [],
    ...parts,
  };
}
