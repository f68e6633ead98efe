import type { DnsSettings } from "../../model/dns-settings.ts";
import type { EndpointHealth } from "../../model/endpoint.ts";

/**
 * An instance of a service as names are answered from it. An `Endpoint` is one; what clients of Consul's API registered
 * may have an address of any kind: IPv4, IPv6, a host name, or "" for that of its node.
 */
export interface ZoneInstance {
  readonly id: string;
  readonly service: string;
  readonly address: string;
  /** Where else it answers, an IPv6 address; missing: nowhere. */
  readonly address6?: string;
  readonly port: number;
  readonly protocol: "tcp" | "udp";
  readonly tags: readonly string[];
  readonly meta: Readonly<Record<string, string>>;
  /** Name of its node. */
  readonly host: string;
  readonly container: string;
  readonly health: EndpointHealth;
  /** Its share by health, 1 and 1 when missing. */
  readonly weights?: { readonly passing: number; readonly warning: number };
}

export interface ZoneNode {
  readonly name: string;
  readonly address: string;
  readonly meta?: Readonly<Record<string, string>>;
}

/** What a prepared query looks for. */
export interface PreparedLookup {
  readonly service: string;
  /** All of them. */
  readonly tags: readonly string[];
  /** None of them. */
  readonly tagsNot?: readonly string[];
  readonly onlyPassing: boolean;
  readonly nodeMeta: Readonly<Record<string, string>>;
  readonly serviceMeta: Readonly<Record<string, string>>;
  /** Null for the TTL of the service. */
  readonly ttlSeconds: number | null;
}

export function weightOf({ weights, health }: ZoneInstance): number {
  if (weights === undefined) return 1;
  return health === "passing" ? weights.passing : weights.warning;
}

/**
 * Those of `matching` that are answered with: neither critical nor, if so set, warning. With `serveCritical`, all when that
 * leaves none.
 */
export function answering<Instance extends Pick<ZoneInstance, "health">>(
  matching: readonly Instance[],
  { onlyPassing, serveCritical }: Pick<DnsSettings, "onlyPassing" | "serveCritical">,
): readonly Instance[] {
  const fit = matching.filter(({ health }) => health === "passing" || (health === "warning" && !onlyPassing));
  return fit.length === 0 && serveCritical ? matching : fit;
}
