import type { Clock } from "../ports/clock.ts";
import type { HttpBinding, HttpListener, HttpListenOptions } from "../ports/http-listener.ts";
import type { Log } from "../ports/log.ts";
import { serveHttp } from "./serve-https.ts";

/** Serves plain HTTP with Bun's server. */
export class BunHttpListener implements HttpListener {
  readonly #clock: Clock;
  readonly #log: Log;

  constructor(options: { readonly clock: Clock; readonly log: Log }) {
    this.#clock = options.clock;
    this.#log = options.log;
  }

  listen({ address, port, handle, isLong, isLarge }: HttpListenOptions): HttpBinding {
    return serveHttp({
      hostname: address,
      port,
      handle,
      isLong,
      isLarge,
      clock: this.#clock,
      onInternalError: (id, error, request) => this.#log.error("request failed", { id, error, ...request }),
    });
  }
}
