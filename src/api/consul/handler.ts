/** `/v1/…` as Consul answers it. See docs/consul-parity.md for what is there. */
import { AppError } from "../../model/error.ts";
import type { HttpHandler, HttpRequest, HttpResponse } from "../../platform/ports/http.ts";
import type { ConsulBackend } from "./backend.ts";
import { type Call, readCall, type Route } from "./call.ts";
import { measureCall } from "./measure-call.ts";
import { methodNotAllowed, renderError, text } from "./respond.ts";
import { ROUTES } from "./routes.ts";

const PREFIX = "/v1/";

export function createConsulHandler(backend: ConsulBackend): HttpHandler {
  const common = { "x-consul-default-acl-policy": backend.defaultPolicy };
  return async (request) => {
    const answer = await answerOf(() => respond(backend, request));
    return { ...answer, headers: { ...common, ...answer.headers } };
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

async function respond(backend: ConsulBackend, request: HttpRequest): Promise<HttpResponse> {
  const found = findRoute(request.path);
  if (found === null) return text(404, `Invalid URL path: ${JSON.stringify(request.path)}`);
  const { name, methods, rest } = found;
  const allowed = Object.keys(methods);
  if (request.method === "OPTIONS")
    return { status: 200, headers: { allow: ["OPTIONS", ...allowed].join(",") }, body: "" };
  const route = methods[request.method];
  if (route === undefined) return methodNotAllowed(request.method, allowed);
  const { clock } = backend.parts.registry;
  const startedMs = clock.monotonicMs();
  const answer = await answerOf(async () => answerNoting(route, readCall(backend, request, rest)));
  const tookMs = clock.monotonicMs() - startedMs;
  measureCall(backend.parts.metrics, { route: name, method: request.method, rest, tookMs }, answer);
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
  let isFiltered = false;
  const grants = caller.grants.noting(() => (isFiltered = true));
  const answer = await route({ ...call, caller: { ...caller, grants } });
  if (!isFiltered || answer.status !== 200) return answer;
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
  const exact = ROUTES[name];
  if (exact !== undefined && Object.hasOwn(ROUTES, name)) return { name, methods: exact, rest: "" };
  for (let slash = name.lastIndexOf("/"); slash >= 0; slash = name.lastIndexOf("/", slash - 1)) {
    const prefix = name.slice(0, slash + 1);
    const methods = ROUTES[prefix];
    if (methods !== undefined && Object.hasOwn(ROUTES, prefix))
      return { name: prefix, methods, rest: decode(name.slice(slash + 1)) };
    if (slash === 0) break;
  }
  return null;
}

function decode(rest: string): string {
  try {
    return decodeURIComponent(rest);
  } catch {
    throw new AppError("invalid", `invalid URL escape in ${JSON.stringify(rest)}`, { details: { status: 400 } });
  }
}
