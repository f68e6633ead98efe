import { AppError, describeError } from "../../model/error.ts";
import type { HttpResponse } from "../ports/http.ts";

export interface ServerFetchRequest {
  readonly url: URL;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | null;
  readonly signal: AbortSignal;
}

/** One request to the server, with the answer as it came. @throws AppError `unavailable` when there is none. */
export type ServerFetch = (request: ServerFetchRequest) => Promise<HttpResponse>;

/** Headers that belong to the hop, or that the body as we hold it does not have any more. */
const DROPPED: ReadonlySet<string> = new Set([
  "connection",
  "content-encoding",
  "content-length",
  "date",
  "transfer-encoding",
]);

/** @param serverName the name in the server's certificate, whatever address is dialled */
export function httpsFetch(caPem: string, serverName: string): ServerFetch {
  return async ({ url, method, headers, body, signal }) => {
    try {
      const init = {
        method,
        headers,
        body,
        signal,
        redirect: "manual",
        tls: { ca: caPem, serverName },
        timeout: false,
      };
      const response = await fetch(url, init as RequestInit);
      const kept = [...response.headers].filter(([name]) => !DROPPED.has(name));
      const bytes = new Uint8Array(await response.arrayBuffer());
      return { status: response.status, headers: Object.fromEntries(kept), body: bytes };
    } catch (cause) {
      throw new AppError("unavailable", `Cannot reach server ${url.origin}: ${describeError(cause)}`, { cause });
    }
  };
}
