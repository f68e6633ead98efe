/** `/v1/…` as Consul answers it. See docs/consul-parity.md for what is there. */
import { AppError } from "../../model/error.ts";
import type { HttpHandler, HttpRequest, HttpResponse } from "../../platform/ports/http.ts";
import type { ConsulBackend } from "./backend.ts";
import { type Api, type Call, readCall, type Route } from "./call.ts";
import { measureCall } from "./measure-call.ts";
import { redirectPath } from "./redirect-path.ts";
import { methodNotAllowed, POLICY_HEADER, renderError, text } from "./respond.ts";
import { SharedAnswers } from "./shared-answers.ts";
import { ROUTES } from "./routes.ts";

const PREFIX = "/v1/";
/** A map finds a name that is made anew for each request several times faster than an object does. */
const routes = new Map(Object.entries(ROUTES));

export function createConsulHandler(backend: ConsulBackend): HttpHandler {
  const common = { [POLICY_HEADER]: backend.defaultPolicy };
  const api = { backend, shared: new SharedAnswers() };
  return async (request) => {
    const answer = await answerOf(() => respond(api, request));
    // What many get is left as it is, see `readHeaders`.
    return POLICY_HEADER in answer.headers ? answer : { ...answer, headers: { ...common, ...answer.headers } };
  };
}

/** Whether a request may take as long as its `wait` says, so that servers do not cut it off. */
export function isBlocking(request: Pick<HttpRequest, "path" | "query">): boolean {
  return request.path.startsWith(PREFIX) && (request.query.get("index") ?? request.query.get("hash")) !== null;
}

/** A snapshot is as large as all that is stored. Who may send one is asked before its body is read. */
export function isLargeBody({ method, path }: Pick<HttpRequest, "method" | "path">): boolean {
  return method === "PUT" && path === `${PREFIX}snapshot`;
}

/** The answer to a path that is not written as Consul writes it; null for the others. */
export function redirected(request: HttpRequest): HttpResponse | null {
  return redirectPath(request, isFolder);
}

/** Of a name that only things below it have. */
function isFolder(path: string): boolean {
  const name = path.slice(PREFIX.length);
  return path.startsWith(PREFIX) && !routes.has(name) && routes.has(`${name}/`);
}

async function respond(api: Api, request: HttpRequest): Promise<HttpResponse> {
  const moved = redirected(request);
  if (moved !== null) return moved;
  const found = findRoute(request.path);
  if (found === null) return text(404, `Invalid URL path: ${JSON.stringify(request.path)}`);
  const { name, methods, rest } = found;
  const allowed = Object.keys(methods);
  if (request.method === "OPTIONS")
    return { status: 200, headers: { allow: ["OPTIONS", ...allowed].join(",") }, body: "" };
  const route = methods[request.method];
  if (route === undefined) return methodNotAllowed(request.method, allowed);
  const { clock } = api.backend.parts.registry;
  const startedMs = clock.monotonicMs();
  const answer = await answerOf(async () => answerNoting(route, readCall(api, request, rest)));
  const tookMs = clock.monotonicMs() - startedMs;
  measureCall(api.backend.parts.metrics, { route: name, method: request.method, rest, tookMs }, answer);
  return answer;
}

/** What a route refuses is an answer, too. */
async function answerOf(run: () => Promise<HttpResponse>): Promise<HttpResponse> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof AppError) return renderError(error);
    throw error;
  }
}

/** Who shows a token is told when something was left out because of it. */
async function answerNoting(route: Route, call: Call): Promise<HttpResponse> {
  const { caller } = call;
  if (caller.token === null) return route(call);
  const grants = caller.grants.noting();
  const answer = await route({ ...call, caller: { ...caller, grants } });
  if (!grants.hasDenied || answer.status !== 200) return answer;
  return { ...answer, headers: { ...answer.headers, "x-consul-results-filtered-by-acls": "true" } };
}

interface Found {
  /** In the table of routes. */
  readonly name: string;
  readonly methods: Readonly<Record<string, Route>>;
  readonly rest: string;
}

/** The route with the longest name; names that end in a slash take what comes behind it, slashes included. */
function findRoute(path: string): Found | null {
  if (!path.startsWith(PREFIX)) return null;
  const name = path.slice(PREFIX.length);
  const exact = routes.get(name);
  if (exact !== undefined) return { name, methods: exact, rest: "" };
  for (let slash = name.lastIndexOf("/"); slash >= 0; slash = name.lastIndexOf("/", slash - 1)) {
    const prefix = name.slice(0, slash + 1);
    const methods = routes.get(prefix);
    if (methods !== undefined) return { name: prefix, methods, rest: decode(name.slice(slash + 1)) };
    if (slash === 0) break;
  }
  return null;
}

function decode(rest: string): string {
  if (!rest.includes("%")) return rest;
  try {
    return decodeURIComponent(rest);
  } catch {
    throw new AppError("invalid", `invalid URL escape in ${JSON.stringify(rest)}`, { details: { status: 400 } });
  }
}
