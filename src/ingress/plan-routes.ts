import type { ClusterSettings } from "../model/cluster.ts";
import type { Endpoint } from "../model/endpoint.ts";
import { isIpv4 } from "../model/ip.ts";
import type { Route } from "../model/route.ts";

export interface RoutePlan {
  /** Sorted by hostname; one per hostname. */
  readonly routes: readonly Route[];
  /** Wishes that cannot be met, as sentences; sorted. */
  readonly problems: readonly string[];
}

/** Endpoint metadata that changes routing. `SERVICE_INGRESS_HOST` of a container arrives as `ingress_host`. */
const META_ENABLE = ["ingress.enable", "ingress_enable"];
const META_HOST = ["ingress.host", "ingress_host"];
const NO = new Set(["false", "no", "off", "0"]);
const HOSTNAME = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$/;

/**
 * Outside names of all services: `<service>.<ingressDomain>`, as in 2015 by the service name alone, and the names that
 * its endpoints ask for in `ingress.host` (comma-separated). A service keeps its names while none of its endpoints
 * passes, so that a client gets "no healthy instance" and not "no such name". `ingress.enable=false` on an endpoint
 * takes that endpoint out; a service without any other has no route.
 *
 * Two services cannot share a name: the service that has it by its own name wins, then the first by alphabet.
 */
export function planRoutes(
  endpoints: readonly Endpoint[],
  settings: Pick<ClusterSettings, "ingressDomain">,
): RoutePlan {
  const exposed = endpoints.filter(isExposed);
  const byService = Map.groupBy(exposed, (endpoint) => endpoint.service);
  const services = [...byService.keys()].toSorted();
  const routes = new Map<string, Route>();
  const problems = new Set<string>();
  for (const service of services) {
    const hostname = `${service}.${settings.ingressDomain}`.toLowerCase();
    if (isHostname(hostname)) routes.set(hostname, { hostname, path: "/", service });
    else
      problems.add(`Service ${JSON.stringify(service)} cannot have an outside name: "${hostname}" is not a host name`);
  }
  for (const service of services) {
    for (const hostname of wantedHostnames(byService.get(service) ?? [])) {
      const owner = routes.get(hostname)?.service;
      if (!isHostname(hostname)) {
        problems.add(`Service ${service} asks for the outside name "${hostname}", which is not a host name`);
      } else if (owner === undefined) {
        routes.set(hostname, { hostname, path: "/", service });
      } else if (owner !== service) {
        problems.add(`Service ${service} asks for the outside name ${hostname}, which leads to service ${owner}`);
      }
    }
  }
  return {
    routes: [...routes.values()].toSorted((a, b) => (a.hostname < b.hostname ? -1 : 1)),
    problems: [...problems].toSorted(),
  };
}

/** Whether an endpoint may take requests from outside: TCP, of a container or registered, and not opted out. */
export function isExposed(endpoint: Endpoint): boolean {
  const enable = readMeta(endpoint, META_ENABLE);
  if (endpoint.protocol !== "tcp" || (enable !== null && NO.has(enable.toLowerCase()))) return false;
  // HAProxy is given addresses: a host name that nobody knows would keep it from starting.
  if (endpoint.origin === "registry") return isIpv4(endpoint.address) && endpoint.port !== 0;
  return endpoint.container !== "";
}

/** Also keeps white space and quotes of a careless name out of HAProxy's map and file. */
function isHostname(text: string): boolean {
  return text.length <= 253 && HOSTNAME.test(text);
}

function wantedHostnames(endpoints: readonly Endpoint[]): readonly string[] {
  const names = endpoints
    .flatMap((endpoint) => (readMeta(endpoint, META_HOST) ?? "").split(","))
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== "");
  return [...new Set(names)].toSorted();
}

function readMeta(endpoint: Endpoint, keys: readonly string[]): string | null {
  for (const key of keys) {
    const value = endpoint.meta[key];
    if (value !== undefined) return value.trim();
  }
  return null;
}
