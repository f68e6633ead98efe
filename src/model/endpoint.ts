import type { AppId, InstanceId, ServiceName } from "./ids.ts";
import type { HostAddress, Ipv6 } from "./ip6.ts";

export type EndpointHealth = "passing" | "warning" | "critical";

/** One address and port of a service, as the catalog holds it. No `critical` one is in DNS answers or ingress. */
export interface Endpoint {
  /**
   * Unique in the cluster and stable over restarts of anything but the container: `<host>:<container name>:<port>`; of one that
   * was registered over Consul's API `registry/<node>/<service id>`.
   */
  readonly id: string;
  readonly service: ServiceName;
  /** IPv4 of containers; what was registered over Consul's API may have an IPv6 address or a host name. */
  readonly address: string;
  /** Where else it answers; missing: nowhere. */
  readonly address6?: Ipv6;
  readonly port: number;
  readonly protocol: "tcp" | "udp";
  readonly tags: readonly string[];
  readonly meta: Readonly<Record<string, string>>;
  /** Name of the host it runs on. */
  readonly host: string;
  readonly container: string;
  readonly instanceId: InstanceId | null;
  readonly appId: AppId | null;
  readonly health: EndpointHealth;
  /** How much of the load it takes, by health; 1 and 1 when missing. */
  readonly weights?: { readonly passing: number; readonly warning: number };
  /** What `health` comes from; missing when nothing but the container's running says it. */
  readonly checks?: readonly EndpointCheck[];
  /**
   * Set when checks that clients registered over Consul's API, maintenance included, say otherwise than the host: `health` is the
   * worse of both.
   */
  readonly verdict?: { readonly own: EndpointHealth; readonly said: EndpointHealth };
  /** Set for what clients registered over Consul's API: the server's word counts for it on every host, its own included. */
  readonly origin?: "registry";
}

/** A check of an endpoint, for those who look at checks. */
export interface EndpointCheck {
  /** Who declared it: the app, the container by registrator's variables, or the image for the engine. */
  readonly kind: "app" | "container" | "engine";
  /** Consul's word for it. */
  readonly type: string;
  readonly name: string;
  readonly status: EndpointHealth;
  readonly output: string;
  /** As Go writes durations, "" for none. */
  readonly interval: string;
  readonly timeout: string;
}

const BADNESS: Readonly<Record<EndpointHealth, number>> = { passing: 0, warning: 1, critical: 2 };

export function worstHealth(healths: readonly EndpointHealth[]): EndpointHealth {
  return healths.reduce((worst, each) => (BADNESS[each] > BADNESS[worst] ? each : worst), "passing");
}

/** The endpoint with what others say of it; the same object when that changes nothing. */
export function judged(endpoint: Endpoint, said: EndpointHealth): Endpoint {
  const own = endpoint.health;
  return said === "passing" ? endpoint : { ...endpoint, health: worstHealth([own, said]), verdict: { own, said } };
}

/** The endpoint as its host reported it. */
export function unjudged(endpoint: Endpoint): Endpoint {
  const { verdict, ...rest } = endpoint;
  return verdict === undefined ? endpoint : { ...rest, health: verdict.own };
}

/** In `meta` of an endpoint that is no service: it only gives a container, or an attachment, a name. Its port is 0. */
export const META_NAME_ONLY = "apollo.name-only";

/** Its value for a node that a client of Consul's API registered: then `service` is the name of the node. */
export const NAMES_NODE = "node";

/** Its value for a server of the platform, which DNS has as an instance of the service `consul`: nobody else lists it. */
export const NAMES_SERVER = "server";

export function namesNode(endpoint: Endpoint): boolean {
  return endpoint.meta[META_NAME_ONLY] === NAMES_NODE;
}

export function namesServer(endpoint: Endpoint): boolean {
  return endpoint.meta[META_NAME_ONLY] === NAMES_SERVER;
}

/** Such endpoints are in nobody's list of services and are sent no requests. */
export function isNameOnly(endpoint: Endpoint): boolean {
  return endpoint.meta[META_NAME_ONLY] !== undefined;
}

/** A host as the catalog and DNS know it. */
export interface CatalogHost {
  readonly name: string;
  readonly address: HostAddress;
  readonly up: boolean;
  /** Its labels, which DNS gives as TXT. */
  readonly meta?: Readonly<Record<string, string>>;
}
