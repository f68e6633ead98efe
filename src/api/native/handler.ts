import type { Action, Authorize, Principal } from "../../cluster/access.ts";
import { SESSION_COOKIE } from "../../cluster/credentials.ts";
import { AppError } from "../../model/error.ts";
import type { NetworkObjectKind } from "../../model/network-config.ts";
import { type DeploymentId, type InstanceId, parseAppId } from "../../model/ids.ts";
import type { HttpHandler, HttpRequest, HttpResponse, HttpUpgrade } from "../../platform/ports/http.ts";
import type { AppService, InstanceView } from "../../scheduling/app-service.ts";
import { expectObject, Issues, JsonObject, parseJsonBody } from "../read-json.ts";
import { renderRef, routeApps } from "./app-routes.ts";
import { parseJoin } from "./parse-join.ts";
import { parseTrace } from "./parse-trace.ts";
import { renderDeploymentJson, renderInstanceJson } from "./render-app.ts";
import { renderDnsMetrics, renderLinkMetrics } from "./render-metrics.ts";
import { empty, json, methodNotAllowed, metricsText, notFound, pem, renderError } from "./respond.ts";
import type { ExecOptions, LogsOptions, NativeServices } from "./services.ts";
import type { InfoJson, LinkJson } from "./shapes.ts";

export interface NativeOptions {
  readonly apps: AppService;
  readonly services: NativeServices;
  readonly authorize: Authorize;
}

interface Context extends NativeOptions {
  readonly request: HttpRequest;
  /** After `/api`, each decoded. */
  readonly segments: readonly string[];
}

/** `/api/…`, see shapes.ts. */
export function createNativeHandler(options: NativeOptions): HttpHandler {
  return async (request) => {
    try {
      return await route({ ...options, request: headAsGet(request), segments: readSegments(request.path) });
    } catch (error) {
      if (error instanceof AppError) return renderError(error);
      throw error;
    }
  };
}

/** Split before decoding: an id with slashes comes as one encoded segment, and may end in a word of ours. */
function readSegments(path: string): readonly string[] {
  try {
    return path
      .split("/")
      .filter((segment) => segment !== "")
      .slice(1)
      .map(decodeURIComponent);
  } catch {
    throw notFound(`Cannot find "${path}"`);
  }
}

function headAsGet(request: HttpRequest): HttpRequest {
  return request.method === "HEAD" ? { ...request, method: "GET" } : request;
}

async function route(context: Context): Promise<HttpResponse | HttpUpgrade> {
  const [area = "", ...rest] = context.segments;
  const open = await routeOpen(context, area, rest.length);
  if (open !== null) return open;
  const principal = context.authorize(context.request, actionOf(context.request.method, area, rest));
  switch (area) {
    case "apps":
      return await routeApps(context, rest);
    case "hosts":
      return await routeHosts(context, rest);
    case "networks":
    case "policies":
    case "publications":
    case "imports":
    case "virtuals":
      return await routeNetworkObjects(context, NETWORK_AREAS[area], rest);
    case "deployments":
      return await routeDeployments(context, rest);
    case "instances":
      return await routeInstances(context, rest);
    default:
      if (rest.length > 0) throw notFound(`Cannot find "${context.request.path}"`);
      return await routeSingle(context, area, principal);
  }
}

/** What needs no token: who we are, whom to trust, and how to get in. */
async function routeOpen(context: Context, area: string, depth: number): Promise<HttpResponse | null> {
  const { request, services } = context;
  if (depth > 0) return null;
  if (area === "info") {
    const info: InfoJson = { name: "apollo", version: services.version };
    return request.method === "GET" ? json(200, info) : methodNotAllowed(["GET"]);
  }
  if (area === "ca") return request.method === "GET" ? pem(services.ca) : methodNotAllowed(["GET"]);
  return area === "session" ? await routeSession(context) : null;
}

async function routeSession({ request, services }: Context): Promise<HttpResponse> {
  // Over plain loopback a Secure cookie would never come back.
  const attributes = `Path=/; HttpOnly; SameSite=Strict${request.peer.secure ? "; Secure" : ""}`;
  if (request.method === "DELETE") return empty(204, { "set-cookie": `${SESSION_COOKIE}=; ${attributes}; Max-Age=0` });
  if (request.method !== "POST") return methodNotAllowed(["POST", "DELETE"]);
  const issues = new Issues();
  const token = new JsonObject(expectObject(parseJsonBody(await request.body())), "", issues).needString("token");
  issues.throwIfAny("session request");
  const { value, maxAgeS } = services.openSession(token ?? "");
  return empty(204, { "set-cookie": `${SESSION_COOKIE}=${value}; ${attributes}; Max-Age=${maxAgeS}` });
}

/** The one place that says what right each request needs. */
function actionOf(method: string, area: string, rest: readonly string[]): Action {
  const resource = area;
  if (area === "join") return { verb: "join", resource };
  if (area === "agent" || area === "leave") return { verb: "agent", resource };
  if (area === "join-token") return { verb: "admin", resource };
  if (area === "instances" && rest.at(-1) === "exec") return { verb: "write", resource: "exec" };
  if (method === "GET") return { verb: "read", resource };
  return { verb: area === "hosts" ? "admin" : "write", resource };
}

async function routeSingle(context: Context, area: string, principal: Principal): Promise<HttpResponse | HttpUpgrade> {
  const { request, services } = context;
  if (area === "join") {
    if (request.method !== "POST") return methodNotAllowed(["POST"]);
    const wish = parseJoin(parseJsonBody(await request.body()));
    return json(200, await services.join({ ...wish, local: request.peer.loopback }));
  }
  if (area === "leave") {
    if (request.method !== "POST") return methodNotAllowed(["POST"]);
    if (principal.kind !== "host") throw notFound(`Cannot find "${request.path}"`);
    return json(200, { left: await services.leave(principal.hostId) });
  }
  if (area === "trace") {
    if (request.method !== "POST") return methodNotAllowed(["POST"]);
    return json(200, await services.trace(parseTrace(parseJsonBody(await request.body()))));
  }
  if (area === "doctor") {
    if (request.method !== "POST") return methodNotAllowed(["POST"]);
    return json(200, await services.doctor(request.query.get("host")));
  }
  if (!["status", "join-token", "services", "dns", "links", "metrics", "feed", "agent"].includes(area)) {
    throw notFound(`Cannot find "${request.path}"`);
  }
  if (request.method !== "GET") return methodNotAllowed(["GET"]);
  if (area === "status") return json(200, services.status());
  if (area === "join-token") return json(200, { token: services.joinToken() });
  if (area === "services") return json(200, services.services());
  if (area === "dns") return json(200, await services.dns(...readQuestion(request)));
  if (area === "links") return json(200, readLinks(context));
  if (area === "metrics")
    return metricsText(renderLinkMetrics(services.links()) + renderDnsMetrics(services.dnsCounts()));
  if (area === "feed") return services.sockets.feed(request);
  if (principal.kind !== "host") throw notFound(`Cannot find "${request.path}"`);
  return services.sockets.agent(request, principal.hostId);
}

function readLinks({ request, services }: Context): readonly LinkJson[] {
  const host = request.query.get("host");
  if (host === null) return services.links();
  if (!services.hosts().some((one) => one.name === host)) {
    throw notFound(`Cannot find host "${host}"`, 'See the hosts with "apollo host list"');
  }
  return services.links().filter((link) => link.host === host);
}

function readQuestion(request: HttpRequest): readonly [name: string, type: string] {
  const name = request.query.get("name") ?? "";
  const type = (request.query.get("type") ?? "A").toUpperCase();
  if (name === "" || name.length > 253 || !/^[A-Z]{1,10}$/.test(type)) {
    throw new AppError("invalid", "Cannot ask DNS: give ?name=NAME and, unless it is A, &type=TYPE");
  }
  return [name, type];
}

const NETWORK_AREAS = {
  networks: "network",
  policies: "policy",
  publications: "publication",
  imports: "import",
  virtuals: "virtual",
} as const;

async function routeNetworkObjects(
  { request, services: { network } }: Context,
  kind: NetworkObjectKind,
  rest: readonly string[],
): Promise<HttpResponse> {
  const [name, ...more] = rest;
  if (more.length > 0) throw notFound(`Cannot find "${request.path}"`);
  if (name === undefined) return request.method === "GET" ? json(200, network.list(kind)) : methodNotAllowed(["GET"]);
  if (request.method === "PUT") return json(200, await network.put(kind, name, parseJsonBody(await request.body())));
  if (request.method === "DELETE") {
    await network.remove(kind, name);
    return empty(204);
  }
  if (request.method !== "GET") return methodNotAllowed(["GET", "PUT", "DELETE"]);
  const found = network.list(kind).find((one) => one.name === name);
  if (found === undefined) throw notFound(`Cannot find ${kind} "${name}"`);
  return json(200, found);
}

async function routeHosts({ request, services }: Context, rest: readonly string[]): Promise<HttpResponse> {
  const [name, action, ...more] = rest;
  if (more.length > 0) throw notFound(`Cannot find "${request.path}"`);
  if (name === undefined) return request.method === "GET" ? json(200, services.hosts()) : methodNotAllowed(["GET"]);
  if (action === undefined) {
    if (request.method === "GET") {
      const host = services.hosts().find((one) => one.name === name);
      if (host === undefined) throw notFound(`Cannot find host "${name}"`, 'See the hosts with "apollo host list"');
      return json(200, host);
    }
    if (request.method !== "DELETE") return methodNotAllowed(["GET", "DELETE"]);
    await services.removeHost(name, { force: isForced(request) });
    return empty(204);
  }
  if (action === "query") {
    if (request.method !== "POST") return methodNotAllowed(["POST"]);
    return json(200, await services.ask(name, parseJsonBody(await request.body())));
  }
  if (action !== "cordon" && action !== "uncordon") throw notFound(`Cannot find "${request.path}"`);
  if (request.method !== "POST") return methodNotAllowed(["POST"]);
  return json(200, await services.setCordoned(name, action === "cordon"));
}

async function routeDeployments({ apps, request }: Context, rest: readonly string[]): Promise<HttpResponse> {
  const [id, ...more] = rest;
  if (more.length > 0) throw notFound(`Cannot find "${request.path}"`);
  if (id === undefined) {
    return request.method === "GET"
      ? json(200, apps.deployments().map(renderDeploymentJson))
      : methodNotAllowed(["GET"]);
  }
  if (request.method !== "DELETE") return methodNotAllowed(["DELETE"]);
  if (!apps.deployments().some((one) => one.id === id)) throw notFound(`Cannot find deployment "${id}"`);
  const ref = await apps.cancelDeployment(id as DeploymentId, { force: isForced(request) });
  return ref === null ? empty(202) : json(200, renderRef(ref));
}

async function routeInstances(context: Context, rest: readonly string[]): Promise<HttpResponse | HttpUpgrade> {
  const { apps, request } = context;
  const [id, action, ...more] = rest;
  if (more.length > 0) throw notFound(`Cannot find "${request.path}"`);
  if (id === undefined) return request.method === "GET" ? listInstances(context) : methodNotAllowed(["GET"]);
  const view = findInstance(apps, id);
  if (action !== undefined) return openStream(context, view.instance.id, action);
  if (request.method === "GET") return json(200, renderInstanceJson(view));
  if (request.method !== "DELETE") return methodNotAllowed(["GET", "DELETE"]);
  await apps.killInstances([view.instance.id], { scale: false, force: isForced(request) });
  return empty(204);
}

/** An app that is being destroyed is still listed by its instances; one that has neither does not exist. */
function listInstances({ apps, request }: Context): HttpResponse {
  const wanted = request.query.get("app");
  const all = apps.instances();
  if (wanted === null) return json(200, all.map(renderInstanceJson));
  const id = parseAppId(wanted);
  return json(200, all.filter((view) => view.instance.appId === id).map(renderInstanceJson));
}

function findInstance(apps: AppService, id: string): InstanceView {
  const view = apps.instances().find(({ instance }) => instance.id === id);
  if (view === undefined) throw notFound(`Cannot find instance "${id}"`, 'See the instances with "apollo ps"');
  return view;
}

function openStream({ request, services }: Context, id: InstanceId, action: string): HttpResponse | HttpUpgrade {
  if (action !== "logs" && action !== "exec") throw notFound(`Cannot find "${request.path}"`);
  if (request.method !== "GET") return methodNotAllowed(["GET"]);
  if (action === "logs") return services.sockets.logs(id, readLogsOptions(request));
  return services.sockets.exec(id, readExecOptions(request));
}

function readLogsOptions({ query }: HttpRequest): LogsOptions {
  const tail = query.get("tail");
  if (tail !== null && !/^\d{1,9}$/.test(tail))
    throw new AppError("invalid", `Cannot show logs: tail "${tail}" is no number`);
  return { follow: query.get("follow") === "true", tail: tail === null ? null : Number(tail) };
}

function readExecOptions({ query }: HttpRequest): ExecOptions {
  let argv: unknown;
  try {
    argv = JSON.parse(query.get("argv") ?? "");
  } catch (cause) {
    throw new AppError("invalid", "Cannot run a command: argv is not a JSON list", { cause });
  }
  if (!Array.isArray(argv) || argv.length === 0 || !argv.every((part) => typeof part === "string")) {
    throw new AppError("invalid", "Cannot run a command: argv must be a list of strings, the program first");
  }
  return { argv, tty: query.get("tty") === "true", stdin: query.get("stdin") === "true" };
}

function isForced(request: HttpRequest): boolean {
  return request.query.get("force") === "true";
}
