/**
 * Where clients of four APIs put their token. One request has one token: the first place in the order below that holds
 * any; a second one is not tried, so that a stale cookie cannot stand in for a mistyped token.
 */
import type { HttpRequest } from "../platform/ports/http.ts";

export const SESSION_COOKIE = "apollo_session";
/** The console sends it with every request. */
export const CONSOLE_HEADER = "x-apollo-console";

const BROWSER_HEADERS = ["accept-language", "sec-fetch-site", "sec-fetch-mode", "origin"] as const;

export interface Token {
  /** `session`: the console's cookie, which browsers send by themselves. */
  readonly kind: "secret" | "session";
  readonly text: string;
}

/** What access control needs to know of a request. */
export interface AccessRequest {
  readonly token: Token | null;
  readonly remote: "loopback" | "network";
  /** `Origin` and `Host` headers, in lower case. */
  readonly origin: string | null;
  readonly host: string | null;
  /** Browsers say what languages they want, and which page asks; a page can change the former, but not leave it out. */
  readonly fromBrowser: boolean;
  /** `X-Apollo-Console: 1`: a page of another origin can set it only after asking, and the answer is always no. */
  readonly fromConsole: boolean;
  /** Asks for a WebSocket, on which a page can set no header of its own, but always sends its origin. */
  readonly upgrade: boolean;
}

type Headers = Pick<HttpRequest, "header" | "peer">;

export function accessRequestOf(request: Headers): AccessRequest {
  return {
    token: readToken(request),
    remote: request.peer.loopback ? "loopback" : "network",
    origin: request.header("origin")?.toLowerCase() ?? null,
    host: request.header("host")?.toLowerCase() ?? null,
    fromBrowser: BROWSER_HEADERS.some((name) => request.header(name) !== null),
    fromConsole: request.header(CONSOLE_HEADER) === "1",
    upgrade: request.header("upgrade")?.toLowerCase() === "websocket",
  };
}

function readToken(request: Headers): Token | null {
  const authorization = request.header("authorization")?.trim() ?? "";
  if (authorization !== "") return { kind: "secret", text: readAuthorization(authorization) };
  const consul = request.header("x-consul-token")?.trim() ?? "";
  if (consul !== "") return { kind: "secret", text: consul };
  const session = readCookie(request.header("cookie") ?? "", SESSION_COOKIE);
  return session === null ? null : { kind: "session", text: session };
}

/** Bearer (ours), Basic with any user (Marathon), `token=` (DC/OS clients). What cannot be read is a token that matches none. */
function readAuthorization(value: string): string {
  const bearer = /^bearer +(\S+)$/i.exec(value)?.[1];
  if (bearer !== undefined) return bearer;
  const dcos = /^token=(\S+)$/i.exec(value)?.[1];
  if (dcos !== undefined) return dcos;
  const basic = /^basic +([A-Za-z0-9+/=_-]+)$/i.exec(value)?.[1];
  return basic === undefined ? "" : passwordOf(basic);
}

function passwordOf(basic: string): string {
  try {
    const pair = new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.fromBase64(basic));
    return pair.includes(":") ? pair.slice(pair.indexOf(":") + 1) : "";
  } catch {
    return "";
  }
}

function readCookie(header: string, name: string): string | null {
  for (const pair of header.split(";")) {
    const [key = "", ...rest] = pair.trim().split("=");
    if (key === name) return rest.join("=");
  }
  return null;
}
