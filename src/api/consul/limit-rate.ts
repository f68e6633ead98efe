import { registryError } from "../../discovery/registry/registry-error.ts";
import type { HttpHandler, HttpResponse, HttpUpgrade } from "../../platform/ports/http.ts";
import type { Clock } from "../../platform/ports/clock.ts";
import { renderError } from "./respond.ts";

/** Consul's `limits.request_limits`: requests a second of all clients together; Infinity for no limit. */
export interface RateLimits {
  readonly readsPerSecond: number;
  readonly writesPerSecond: number;
}

/** In Consul's words. Reads could go to another server; a write could not. */
const READ_REFUSED = "rate limit exceeded, try again later or against a different server";
const WRITE_REFUSED = "rate limit exceeded for operation that can only be performed by the leader, try again later";

/** Refuses what comes beyond the rate: reads with 429, writes with 503. One that waits counts once, when it comes. */
export function limitRate(handle: HttpHandler, limits: RateLimits, clock: Pick<Clock, "monotonicMs">): HttpHandler {
  const reads = new Bucket(limits.readsPerSecond, clock);
  const writes = new Bucket(limits.writesPerSecond, clock);
  return (request): Promise<HttpResponse | HttpUpgrade> => {
    const isRead = request.method === "GET" || request.method === "OPTIONS";
    if ((isRead ? reads : writes).take()) return handle(request);
    const refused = isRead ? registryError(429, READ_REFUSED) : registryError(503, WRITE_REFUSED);
    return Promise.resolve(renderError(refused));
  };
}

/** Fills with time up to what a second gives, and at least to one. */
class Bucket {
  readonly #perSecond: number;
  readonly #clock: Pick<Clock, "monotonicMs">;
  #left: number;
  #filledMs: number;

  constructor(perSecond: number, clock: Pick<Clock, "monotonicMs">) {
    this.#perSecond = perSecond;
    this.#clock = clock;
    this.#left = Math.max(1, perSecond);
    this.#filledMs = clock.monotonicMs();
  }

  take(): boolean {
    if (this.#perSecond === Infinity) return true;
    const nowMs = this.#clock.monotonicMs();
    const come = ((nowMs - this.#filledMs) * this.#perSecond) / 1000;
    this.#left = Math.min(Math.max(1, this.#perSecond), this.#left + come);
    this.#filledMs = nowMs;
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }
}
