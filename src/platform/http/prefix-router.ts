import type { HttpHandler } from "../ports/http.ts";

export interface Mount {
  /** `/v2` takes `/v2`, `/v2/…` and nothing like `/v2x`; `/` takes all. */
  readonly prefix: string;
  readonly handle: HttpHandler;
}

/**
 * Sends a request to the handler with the longest prefix of its path. It looks at the path as sent: what comes after the
 * prefix, encoded slashes and doubled ones included, is each API's own matter.
 */
export function prefixRouter(mounts: readonly Mount[], otherwise: HttpHandler): HttpHandler {
  const sorted = mounts.toSorted((a, b) => b.prefix.length - a.prefix.length);
  return async (request) => {
    const mount = sorted.find(({ prefix }) => {
      const bare = prefix.endsWith("/") ? prefix.slice(0, -1) : prefix;
      return request.path === bare || request.path.startsWith(`${bare}/`);
    });
    return await (mount?.handle ?? otherwise)(request);
  };
}
