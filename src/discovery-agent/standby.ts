/** What a server answers while another one leads: how to know the cluster, and for joins and leaves what the leading one says. */
import { json, pem, renderError } from "../api/native/respond.ts";
import { renderError as renderConsulError } from "../api/consul/respond.ts";
import { noLeader } from "../agent/consul-mirror.ts";
import { AppError } from "../model/error.ts";
import type { HttpHandler, HttpRequest, HttpResponse } from "../platform/ports/http.ts";
import type { ServerApi } from "../platform/ports/server-api.ts";
import { SERVERS_PATH } from "./servers-api.ts";

export interface StandbyDeps {
  readonly caPem: string;
  /** `https://ADDRESS:PORT` of this server. */
  readonly self: string;
  /** Of the one that leads, null when nobody does. @throws AppError `unavailable` when that cannot be known. */
  readonly leader: () => Promise<string | null>;
  readonly api: ServerApi;
}

/** All of them show a token of their own: who the caller is by its address does not count. */
const PASSED_ON: ReadonlySet<string> = new Set(["/api/join", "/api/leave"]);
const HEADERS = ["authorization", "content-type"] as const;

export function standbyHandler(deps: StandbyDeps): HttpHandler {
  return async (request) => {
    if (request.path === "/api/ca") return pem(deps.caPem);
    try {
      const mayPass = PASSED_ON.has(request.path) || request.path.startsWith(`${SERVERS_PATH}/`);
      if (mayPass && request.method === "POST") return await passOn(request, deps);
    } catch (error) {
      if (error instanceof AppError) return renderError(error);
      throw error;
    }
    return notLeading(request);
  };
}

/** In the words of the API that was asked. */
export function notLeading(
  request: Pick<HttpRequest, "path">,
  message = "Cannot answer that here: this server does not lead",
): HttpResponse {
  if (request.path.startsWith("/v1/")) return renderConsulError(noLeader());
  return json(503, { error: { code: "unavailable", message, hint: "Ask another server, or this one again" } });
}

async function passOn(request: HttpRequest, { self, leader, api }: StandbyDeps): Promise<HttpResponse> {
  const url = await leader();
  if (url === null || url === self)
    throw new AppError("unavailable", "Cannot pass the request on: no server leads now", { hint: "Try again" });
  const headers = HEADERS.flatMap((name) => {
    const value = request.header(name);
    return value === null ? [] : [[name, value] as const];
  });
  return await api.send({
    url,
    method: request.method,
    target: request.path,
    headers: Object.fromEntries(headers),
    body: await request.body(),
    signal: request.signal,
  });
}
