import type { Authorize } from "../../cluster/access.ts";
import { AppError } from "../../model/error.ts";
import type { DeploymentId } from "../../model/ids.ts";
import type { HttpHandler, HttpRequest, HttpResponse } from "../../platform/ports/http.ts";
import type { AppService } from "../../scheduling/app-service.ts";
import { pathSegments } from "../path-segments.ts";
import { expectObject, parseJsonBody } from "../read-json.ts";
import { kill, routeApps, tasksText, wantsText } from "./app-routes.ts";
import { LIST_EMBEDS, parseEmbeds } from "./render-app.ts";
import { renderDeployment, renderQueueItem, wantsLegacyShape } from "./render-deployment.ts";
import { renderGroup } from "./render-group.ts";
import { instanceIdOf, renderTask, taskState } from "./render-task.ts";
import {
  badRequest,
  deploymentResult,
  empty,
  flag,
  json,
  methodNotAllowed,
  notFound,
  renderError,
  text,
} from "./respond.ts";

export interface MarathonOptions {
  readonly apps: AppService;
  readonly authorize: Authorize;
  nowMs(): number;
  /** Ours; Marathon's own version, which clients go by, is fixed below. */
  readonly version: string;
  /** `host:port` that clients reach this server by. */
  readonly leader: string;
  readonly httpsPort: number;
  readonly plainPort: number | null;
}

/** The Marathon whose API this is. */
const MARATHON_VERSION = "1.11.0";

/** `/v2/…` and `/ping`, as Marathon answers them. See docs/marathon-parity.md for what is there. */
export function createMarathonHandler(options: MarathonOptions): HttpHandler {
  return async (request) => {
    const answer = await respond(options, request);
    return { ...answer, headers: { ...commonHeaders(options), ...answer.headers } };
  };
}

async function respond(options: MarathonOptions, request: HttpRequest): Promise<HttpResponse> {
  try {
    const segments = pathSegments(request.path);
    const [root, name = "", ...rest] = segments ?? [];
    if (root === "ping" && name === "") return ping(request);
    const verb = request.method === "GET" || request.method === "HEAD" ? "read" : "write";
    options.authorize(request, { verb, resource: `marathon/${name}` });
    const refusal = negotiate(request);
    if (refusal !== null) return refusal;
    if (root !== "v2") throw notFound("Not Found");
    return await route(options, request, { name, rest });
  } catch (error) {
    if (error instanceof AppError) return renderError(error);
    throw error;
  }
}

async function route(
  options: MarathonOptions,
  request: HttpRequest,
  { name, rest }: { readonly name: string; readonly rest: readonly string[] },
): Promise<HttpResponse> {
  switch (name) {
    case "apps":
      return await routeApps(options.apps, request, rest);
    case "deployments":
      return await routeDeployments(options, request, rest);
    case "tasks":
      return await routeTasks(options, request, rest);
    case "queue":
      return await routeQueue(options, request, rest);
    case "groups":
      return routeGroups(options, request, rest);
    case "info":
      return readOnly(request, () => json(200, info(options)));
    case "leader":
      return readOnly(request, () => json(200, { leader: options.leader }));
    case "plugins":
      if (rest[0] !== undefined) throw notFound(`No plugin with this pluginId: ${rest[0]}`);
      return readOnly(request, () => json(200, { plugins: [] }));
    default:
      throw notFound("Not Found");
  }
}

async function routeDeployments(
  { apps }: MarathonOptions,
  request: HttpRequest,
  [id, ...more]: readonly string[],
): Promise<HttpResponse> {
  if (more.length > 0) throw notFound("Not Found");
  if (id === undefined) {
    const legacy = wantsLegacyShape(request);
    return readOnly(request, () =>
      json(
        200,
        apps.deployments().map((one) => renderDeployment(one, legacy)),
      ),
    );
  }
  if (request.method !== "DELETE") return methodNotAllowed(["DELETE"]);
  if (!apps.deployments().some((one) => one.id === id)) throw notFound(`DeploymentPlan ${id} does not exist`);
  const ref = await apps.cancelDeployment(id as DeploymentId, { force: flag(request, "force") });
  return ref === null ? empty(202) : deploymentResult(ref);
}

async function routeTasks(
  { apps }: MarathonOptions,
  request: HttpRequest,
  rest: readonly string[],
): Promise<HttpResponse> {
  if (rest.length === 1 && rest[0] === "delete") {
    if (request.method !== "POST") return methodNotAllowed(["POST"]);
    const { ids } = expectObject(parseJsonBody(await request.body()));
    if (!Array.isArray(ids)) throw badRequest("Please specify data in JSON format");
    const wanted = new Set(ids.map(readTaskId));
    const picked = apps.list().flatMap((view) => view.instances.filter(({ instance }) => wanted.has(instance.id)));
    return await kill(apps, request, picked);
  }
  if (rest.length > 0) throw notFound("Not Found");
  return readOnly(request, () => {
    if (wantsText(request)) return text(tasksText(apps.list()));
    const states = new Set(request.query.all("status").map((status) => `TASK_${status.toUpperCase()}`));
    return json(200, {
      tasks: apps
        .list()
        .flatMap(({ current: { spec }, instances }) =>
          instances
            .filter((one) => states.size === 0 || states.has(taskState(one)))
            .map((one) => ({ ...renderTask(one, spec), servicePorts: spec.ports.map((port) => port.servicePort) })),
        ),
    });
  });
}

function readTaskId(id: unknown): string {
  if (typeof id !== "string" || !/\.(instance-)?[0-9a-f-]{36}(\._app\.\d+)?$/.test(id)) {
    throw badRequest(`Invalid task id '${String(id)}'`);
  }
  return instanceIdOf(id);
}

async function routeQueue(
  options: MarathonOptions,
  request: HttpRequest,
  rest: readonly string[],
): Promise<HttpResponse> {
  const { apps } = options;
  if (rest.length === 0) {
    const shape = { nowMs: options.nowMs(), legacy: wantsLegacyShape(request) };
    return readOnly(request, () =>
      json(200, {
        queue: apps.problems().flatMap((problem) => {
          const view = apps.get(problem.appId);
          return view === null ? [] : [renderQueueItem(problem, view, shape)];
        }),
      }),
    );
  }
  if (rest.length < 2 || rest.at(-1) !== "delay") throw notFound("Not Found");
  if (request.method !== "DELETE") return methodNotAllowed(["DELETE"]);
  const id = `/${rest.slice(0, -1).join("/")}`;
  const waiting = apps.problems().find((problem) => problem.appId === id);
  if (waiting === undefined || !(await apps.resetBackoff(waiting.appId))) {
    throw notFound(`Application ${id} not found in tasks queue.`);
  }
  return empty(204);
}

function routeGroups({ apps }: MarathonOptions, request: HttpRequest, path: readonly string[]): HttpResponse {
  return readOnly(request, () => {
    const group = renderGroup(apps.list(), path, parseEmbeds(request.query.all("embed"), LIST_EMBEDS));
    if (group === null) throw notFound(`Group '/${path.join("/")}' does not exist`);
    return json(200, group);
  });
}

function info({ version, leader, httpsPort, plainPort }: MarathonOptions): object {
  return {
    name: "marathon",
    version: MARATHON_VERSION,
    buildref: `apollo-${version}`,
    elected: true,
    leader,
    frameworkId: "apollo",
    marathon_config: { hostname: leader.replace(/:\d+$/, ""), features: [], ha: false, checkpoint: true },
    zookeeper_config: {},
    http_config: { http_port: plainPort, https_port: httpsPort },
  };
}

/** Load balancers ask this, in three ways; it never needs a token. */
function ping(request: HttpRequest): HttpResponse {
  if (request.method !== "GET" && request.method !== "HEAD") return methodNotAllowed(["GET"]);
  const accept = request.header("accept") ?? "*/*";
  if (/text\/|\*\/\*/.test(accept)) return text("pong");
  return accept.includes("application/json") ? json(200, "pong") : empty(204);
}

function readOnly(request: HttpRequest, answer: () => HttpResponse): HttpResponse {
  return request.method === "GET" || request.method === "HEAD" ? answer() : methodNotAllowed(["GET"]);
}

/** A body of a form or of plain text is refused; besides parity, that is what a foreign page could make a browser send. */
function negotiate(request: HttpRequest): HttpResponse | null {
  const accept = request.header("accept") ?? "*/*";
  const type = request.header("content-type");
  const hasBody = request.method === "POST" || request.method === "PUT" || request.method === "PATCH";
  if (
    hasBody &&
    type !== null &&
    !/^(application\/([a-z0-9.+-]*\+)?json|application\/octet-stream)\s*(;|$)/i.test(type)
  ) {
    return json(415, { message: "Unsupported Media Type" });
  }
  if (!/application\/(\*|([a-z0-9.+-]*\+)?json)|\*\/\*|text\/(plain|\*)/i.test(accept) && accept.trim() !== "") {
    return json(406, { message: "Not Acceptable" });
  }
  return null;
}

function commonHeaders({ leader }: MarathonOptions): Readonly<Record<string, string>> {
  return {
    "x-marathon-leader": `https://${leader}`,
    "x-frame-options": "DENY",
    "x-xss-protection": "1; mode=block",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache, no-store, must-revalidate",
    pragma: "no-cache",
    expires: "0",
  };
}
