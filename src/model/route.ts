import type { ServiceName } from "./ids.ts";

/** An outside name and path that leads to a service. */
export interface Route {
  /** Lower case, without port: `nodejs-rest-api.example.com`. */
  readonly hostname: string;
  /** Path prefix, `/` for all. */
  readonly path: string;
  readonly service: ServiceName;
}
