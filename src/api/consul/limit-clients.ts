import { registryError } from "../../discovery/registry/registry-error.ts";
import type { HttpHandler, HttpRequest } from "../../platform/ports/http.ts";
import { renderError } from "./respond.ts";

/** Consul's `limits.http_max_conns_per_client`: a client of HTTP/1.1 has a request at a time on each connection. */
export const CLIENT_REQUESTS_MAX = 200;
/** Consul's own words. */
const TOO_MANY = "Your IP is issuing too many concurrent connections, please rate limit your calls\n";

export interface ClientLimit {
  /** Requests of one address under way at once; 0 for any number. */
  readonly max: number;
  /** Addresses that many programs share, and whose owner could do worse anyway: they are not counted. Loopback is one. */
  readonly isShared?: (request: HttpRequest) => boolean;
}

/** Answers 429 to whoever has too much under way, so that one client that has gone mad leaves room for the others. */
export function limitClients(handle: HttpHandler, { max, isShared = () => false }: ClientLimit): HttpHandler {
  const underWay = new Map<string, number>();
  if (max === 0) return handle;
  return async (request) => {
    const { address, loopback } = request.peer;
    if (loopback || isShared(request)) return handle(request);
    const before = underWay.get(address) ?? 0;
    if (before >= max) return renderError(tooManyRequests());
    underWay.set(address, before + 1);
    try {
      return await handle(request);
    } finally {
      const left = (underWay.get(address) ?? 1) - 1;
      if (left === 0) underWay.delete(address);
      else underWay.set(address, left);
    }
  };
}

export function tooManyRequests(): ReturnType<typeof registryError> {
  return registryError(429, TOO_MANY);
}
