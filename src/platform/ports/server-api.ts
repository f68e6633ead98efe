import type { HttpResponse } from "./http.ts";

export interface ServerRequest {
  /** `https://host:port` */
  readonly url: string;
  readonly method: string;
  /** Path and query, as they are to be sent. */
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | null;
  /** Ends the request, and the reading of its answer. */
  readonly signal: AbortSignal;
}

/** The server's HTTPS port for requests of an agent; connections are kept and used again. */
export interface ServerApi {
  /**
   * The answer as it came, whatever its status; its body, packed or not, is sent on as it arrives.
   * @throws AppError `unavailable` when there is none, and what `signal` was aborted with.
   */
  send(request: ServerRequest): Promise<HttpResponse>;
  /** So many requests can be under way; further ones wait for the first to end. */
  readonly concurrencyMax: number;
}
