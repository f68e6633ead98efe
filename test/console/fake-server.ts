import type { ErrorJson } from "../../src/api/native/shapes.ts";
import { ConsoleAssets } from "../../src/server/console-assets.ts";
import type { FakeCluster } from "./fake-cluster.ts";

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly body: unknown;
  readonly consoleHeader: string | null;
}

const COOKIE = "apollo_session=fake";

/** Serves the built console with the API and feed of a FakeCluster, and keeps what was asked of it. */
export class FakeServer {
  readonly cluster: FakeCluster;
  readonly token: string;
  readonly requests: SeenRequest[] = [];
  /** Answers of actions to come, by "METHOD path", instead of what the cluster would do. */
  readonly refusals = new Map<string, { readonly status: number; readonly error: ErrorJson["error"] }>();
  /** May be replaced by those of a newer build. */
  assets: ConsoleAssets;
  #server: ReturnType<typeof Bun.serve> | null = null;
  #port = 0;

  private constructor(cluster: FakeCluster, token: string, assets: ConsoleAssets) {
    this.cluster = cluster;
    this.token = token;
    this.assets = assets;
  }

  /** Listens on loopback; port 0 takes a free one. */
  static async start(cluster: FakeCluster, token: string, port = 0): Promise<FakeServer> {
    const server = new FakeServer(cluster, token, await ConsoleAssets.open());
    server.#port = port;
    server.listen();
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}/ui/`;
  }

  /** Starts, or starts again on the same port after `stop`. */
  listen(): void {
    const { cluster } = this;
    this.#server = Bun.serve<{ unsubscribe: () => void }>({
      hostname: "127.0.0.1",
      port: this.#port,
      fetch: (request, server) => {
        const path = new URL(request.url).pathname;
        if (path === "/") return new Response(null, { status: 302, headers: { location: "/ui/" } });
        if (path === "/api/feed" && this.#signedIn(request)) {
          return server.upgrade(request, { data: { unsubscribe: () => {} } })
            ? undefined
            : new Response(null, { status: 400 });
        }
        return this.assets.respond(request) ?? this.#api(request, path);
      },
      websocket: {
        open(socket) {
          socket.send(JSON.stringify(cluster.snapshot()));
          socket.data.unsubscribe = cluster.subscribe((message) => socket.send(JSON.stringify(message)));
        },
        message() {},
        close(socket) {
          socket.data.unsubscribe();
        },
      },
    });
    this.#port = this.#server.port ?? 0;
  }

  async stop(): Promise<void> {
    await this.#server?.stop(true);
    this.#server = null;
  }

  async #api(request: Request, path: string): Promise<Response> {
    const text = await request.text();
    const body: unknown = text === "" ? null : JSON.parse(text);
    const consoleHeader = request.headers.get("x-apollo-console");
    this.requests.push({ method: request.method, path, body, consoleHeader });
    if (path === "/api/session" && request.method === "POST") return this.#openSession(body);
    if (!this.#signedIn(request)) return refuse(401, { code: "denied", message: "Cannot read this: sign in first" });
    if (path === "/api/session") {
      return new Response(null, { status: 204, headers: { "set-cookie": `${COOKIE}; Path=/; Max-Age=0` } });
    }
    const refusal = this.refusals.get(`${request.method} ${path}`);
    if (refusal !== undefined) return refuse(refusal.status, refusal.error);
    return this.#act(request.method, path, body);
  }

  #openSession(body: unknown): Response {
    const token = typeof body === "object" && body !== null && "token" in body ? body.token : null;
    if (token !== this.token) {
      return refuse(401, {
        code: "denied",
        message: "Cannot sign in: the token is not known",
        hint: "apollo status shows where it is kept",
      });
    }
    return new Response(null, {
      status: 204,
      headers: { "set-cookie": `${COOKIE}; Path=/; HttpOnly; SameSite=Strict` },
    });
  }

  #act(method: string, path: string, body: unknown): Response {
    const { cluster } = this;
    const [, , kind = "", encoded = "", verb = ""] = path.split("/");
    const id = `/${decodeURIComponent(encoded)}`;
    if (kind === "status") return Response.json(this.#status());
    if (kind === "info") return Response.json({ name: "apollo", version: "0.1.0" });
    if (kind === "hosts" && (verb === "cordon" || verb === "uncordon")) {
      const host = cluster.hosts.get(decodeURIComponent(encoded));
      if (host === undefined) return refuse(404, { code: "not-found", message: `Cannot find host "${encoded}"` });
      cluster.updateHost({ ...host, cordoned: verb === "cordon" });
      return Response.json(host);
    }
    if (kind === "apps" && cluster.apps.has(id)) {
      if (verb === "why") return Response.json(cluster.why(id));
      if (verb === "versions") return Response.json(cluster.versions.get(id) ?? []);
      if (verb === "scale" && method === "POST") {
        return Response.json({ version: "now", deploymentId: cluster.scale(id, readInstances(body)) });
      }
      if (verb === "" && method === "DELETE") {
        cluster.destroy(id);
        return Response.json({ version: "now", deploymentId: "destroyed" });
      }
      return Response.json({ version: "now", deploymentId: "accepted" });
    }
    return refuse(404, { code: "not-found", message: `Cannot find ${path}` });
  }

  #status(): object {
    const settings = { range: "10.2.0.0/16", blockPrefix: 24, dnsDomain: "consul", ingressDomain: "example.com" };
    return { version: "0.1.0", settings };
  }

  #signedIn(request: Request): boolean {
    return request.headers.get("cookie")?.includes(COOKIE) === true;
  }
}

function readInstances(body: unknown): number {
  return typeof body === "object" && body !== null && "instances" in body ? Number(body.instances) : 0;
}

function refuse(status: number, error: ErrorJson["error"]): Response {
  return Response.json({ error } satisfies ErrorJson, { status });
}
