/**
 * Consul's API of a process that is no server: what it is asked it passes on to the server in the name of its node, on the
 * credential of its membership. Without a server it says what Consul says without a leader.
 */
import { renderError, text } from "../api/consul/respond.ts";
import type { AgentState } from "../agent/agent-state.ts";
import type { Membership } from "../agent/join.ts";
import { AppError } from "../model/error.ts";
import type { HttpRequest, HttpResponse } from "../platform/ports/http.ts";
import type { ServerFetch } from "../platform/server-client/https-fetch.ts";

export interface ClientApiOptions {
  readonly state: Pick<AgentState, "connected">;
  readonly membership: Membership;
  readonly send: ServerFetch;
  /** `PUT agent/leave`. */
  readonly leave: () => Promise<void>;
}

const LEAVE = "/v1/agent/leave";
/** The server takes this process's word for it that the request came from its own machine. */
const RIGHTS_HEADER = "x-apollo-client-rights";

export async function answerClient(options: ClientApiOptions, request: HttpRequest): Promise<HttpResponse> {
  const { state, membership, send } = options;
  try {
    if (!request.path.startsWith("/v1/")) return text(404, `Invalid URL path: ${JSON.stringify(request.path)}`);
    if (request.path === LEAVE && request.method === "PUT") {
      await options.leave();
      return text(200, "");
    }
    const server = membership.serverUrls[0];
    if (!state.connected || server === undefined) return text(500, "No cluster leader");
    const given = request.header("content-type");
    return await send({
      url: new URL(`${request.path}${searchOf(request)}`, server),
      method: request.method,
      headers: {
        "x-consul-token": membership.credential,
        [RIGHTS_HEADER]: request.peer.loopback ? "write" : "none",
        ...(given === null ? {} : { "content-type": given }),
      },
      body: request.method === "GET" || request.method === "HEAD" ? null : await request.body(),
      signal: request.signal,
    });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return error.code === "unavailable" ? text(500, "No cluster leader") : renderError(error);
  }
}

function searchOf({ query }: HttpRequest): string {
  const search = new URLSearchParams();
  for (const name of query.names()) {
    // A repeated name also comes with brackets; a client's token is its own and unknown to a cluster without ACLs.
    if (name === "token" || name.endsWith("[]")) continue;
    for (const value of query.all(name)) search.append(name, value);
  }
  const found = search.toString();
  return found === "" ? "" : `?${found}`;
}
