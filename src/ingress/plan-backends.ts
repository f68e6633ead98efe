import type { Endpoint } from "../model/endpoint.ts";
import type { ServiceName } from "../model/ids.ts";
import type { Route } from "../model/route.ts";
import { digest } from "./digest.ts";
import { isExposed } from "./plan-routes.ts";

export interface BackendServer {
  readonly name: string;
  readonly address: string;
  readonly port: number;
}

/** One service as HAProxy has it. */
export interface Backend {
  readonly name: string;
  readonly service: ServiceName;
  /** Passing endpoints, sorted by name. */
  readonly servers: readonly BackendServer[];
}

/** HAProxy cuts no name, but lines of its statistics stay readable so. */
const NAME_LENGTH_MAX = 48;

/** One backend for each routed service, with its passing endpoints as servers. Sorted by name. */
export function planBackends(routes: readonly Route[], endpoints: readonly Endpoint[]): readonly Backend[] {
  const servers = new Map<ServiceName, Map<string, BackendServer>>();
  for (const route of routes) servers.set(route.service, new Map());
  for (const endpoint of endpoints) {
    if (endpoint.health !== "passing" || !isExposed(endpoint)) continue;
    const name = serverName(endpoint);
    servers.get(endpoint.service)?.set(name, { name, address: endpoint.address, port: endpoint.port });
  }
  return [...servers]
    .map(([service, byName]) => ({
      name: backendName(service),
      service,
      servers: [...byName.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    }))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** Prefixed, so that no service can take the name of a frontend of ours. */
export function backendName(service: ServiceName): string {
  return `svc_${safeName(service)}`;
}

/**
 * Container name, or that of the node where there is none, for people, digest for uniqueness: two containers whose names differ only in replaced characters, and
 * one endpoint before and after it changed its address, are different servers, which then come and go by themselves.
 */
export function serverName(endpoint: Endpoint): string {
  const mark = digest(`${endpoint.id}|${endpoint.address}|${endpoint.port}`).slice(0, 8);
  return `${safeName(endpoint.container || endpoint.host)}-${mark}`;
}

/** Only characters that HAProxy takes in a name and that need no quoting on its socket or in its file. */
function safeName(text: string): string {
  const safe = text.replaceAll(/[^A-Za-z0-9_.-]/g, "_");
  if (safe === text && safe.length <= NAME_LENGTH_MAX) return safe;
  return `${safe.slice(0, NAME_LENGTH_MAX)}_${digest(text).slice(0, 8)}`;
}
