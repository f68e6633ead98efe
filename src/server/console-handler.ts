import type { HttpHandler, HttpRequest, HttpResponse } from "../platform/ports/http.ts";
import { CONSOLE_CSP, type ConsoleAssets } from "./console-assets.ts";

/** What the answer for a file depends on. */
const NEGOTIATED = ["accept-encoding", "if-none-match"] as const;

/** `/ui/…` from the files in the binary. Needs no token: the page holds nothing but the program that asks for one. */
export function consoleHandler(assets: ConsoleAssets): HttpHandler {
  return async (request): Promise<HttpResponse> => {
    const answer = assets.respond(asWebRequest(request));
    if (answer === null) return await toConsole(request);
    const body = answer.body === null ? null : await answer.bytes();
    return { status: answer.status, headers: Object.fromEntries(answer.headers), body };
  };
}

function asWebRequest(request: HttpRequest): Request {
  const headers = NEGOTIATED.flatMap((name): [string, string][] => {
    const value = request.header(name);
    return value === null ? [] : [[name, value]];
  });
  return new Request(`http://console${request.path}`, { method: request.method, headers });
}

/** `/` leads to the console, as Marathon's does. */
export async function toConsole(request: HttpRequest): Promise<HttpResponse> {
  if (request.path === "/") return { status: 302, headers: { location: "/ui/" }, body: null };
  const headers = { "content-security-policy": CONSOLE_CSP, "content-type": "text/plain; charset=utf-8" };
  return { status: 404, headers, body: `Cannot find "${request.path}"\n` };
}
