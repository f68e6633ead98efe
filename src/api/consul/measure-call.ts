/** What is measured of each request, under the names that Consul gives to the same. */
import type { Metrics } from "../../discovery/registry/metrics.ts";
import type { HttpResponse } from "../../platform/ports/http.ts";

/** How long these took. */
const SAMPLES: Readonly<Record<string, string>> = {
  "PUT kv/": "consul.kvs.apply",
  "DELETE kv/": "consul.kvs.apply",
  "PUT txn": "consul.txn.apply",
  "PUT catalog/register": "consul.catalog.register",
  "PUT catalog/deregister": "consul.catalog.deregister",
  "PUT session/create": "consul.session.apply",
  "PUT session/destroy/": "consul.session.apply",
  "PUT session/renew/": "consul.session.renew",
  "POST query": "consul.prepared-query.apply",
  "PUT query/": "consul.prepared-query.apply",
  "DELETE query/": "consul.prepared-query.apply",
  "PUT acl/token": "consul.acl.token.upsert",
  "PUT acl/token/": "consul.acl.token.upsert",
  "DELETE acl/token/": "consul.acl.token.delete",
  "PUT acl/policy": "consul.acl.policy.upsert",
  "PUT acl/policy/": "consul.acl.policy.upsert",
  "DELETE acl/policy/": "consul.acl.policy.delete",
  "PUT acl/role": "consul.acl.role.upsert",
  "PUT acl/role/": "consul.acl.role.upsert",
  "DELETE acl/role/": "consul.acl.role.delete",
};

/** How often each service was asked for; the same with `.not-found` for answers without an instance. */
const ASKED: Readonly<Record<string, string>> = {
  "catalog/service/": "consul.catalog.service",
  "catalog/connect/": "consul.catalog.connect",
  "health/service/": "consul.health.service",
  "health/connect/": "consul.health.connect",
};

export interface MeasuredCall {
  /** Of the table of routes. */
  readonly route: string;
  readonly method: string;
  /** What came behind the route. */
  readonly rest: string;
  readonly tookMs: number;
}

export function measureCall(
  metrics: Metrics,
  { route, method, rest, tookMs }: MeasuredCall,
  answer: HttpResponse,
): void {
  metrics.sample("consul.api.http", tookMs, { method, path: pathLabel(route) });
  metrics.count("consul.rpc.request");
  if (method === "GET") metrics.count("consul.rpc.query");
  if (answer.status >= 500) metrics.count("consul.rpc.request_error");
  const sample = SAMPLES[`${method} ${route}`];
  if (sample !== undefined) metrics.sample(sample, tookMs);
  const asked = ASKED[route];
  if (asked === undefined || method !== "GET") return;
  metrics.count(`${asked}.query`, { service: rest });
  if (answer.body === "[]") metrics.count(`${asked}.not-found`, { service: rest });
}

/** Consul writes the pattern of a route with underscores for slashes, the last one included. */
function pathLabel(route: string): string {
  return `v1_${route.replaceAll("/", "_")}`;
}
