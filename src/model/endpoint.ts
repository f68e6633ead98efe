import type { AppId, InstanceId, ServiceName } from "./ids.ts";
import type { Ipv4 } from "./ip.ts";
import type { HostAddress, Ipv6 } from "./ip6.ts";

export type EndpointHealth = "passing" | "warning" | "critical";

/** One address and port of a service, as the catalog holds it. Only `passing` ones are in DNS answers and ingress. */
export interface Endpoint {
  /** Unique in the cluster and stable over restarts of anything but the container: `<host>:<container name>:<port>`. */
  readonly id: string;
  readonly service: ServiceName;
  readonly address: Ipv4;
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
}

/** In `meta` of an endpoint that is no service: it only gives a container, or an attachment, a name. Its port is 0. */
export const META_NAME_ONLY = "apollo.name-only";

/** Such endpoints are in nobody's list of services and are sent no requests. */
export function isNameOnly(endpoint: Endpoint): boolean {
  return endpoint.meta[META_NAME_ONLY] !== undefined;
}

/** A host as the catalog and DNS know it. */
export interface CatalogHost {
  readonly name: string;
  readonly address: HostAddress;
  readonly up: boolean;
}
