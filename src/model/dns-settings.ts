/** How names are answered: what Consul's users set under `dns_config`, with our defaults. */
export interface DnsSettings {
  /** Further domains that are answered like `dnsDomain`, each with names of its own in SRV, NS and SOA records. */
  readonly altDomains: readonly string[];
  readonly nodeTtlSeconds: number;
  /** By service: an exact name beats the longest `prefix*`, which beats `*`. What no key fits has 0. */
  readonly serviceTtlSeconds: Readonly<Record<string, number>>;
  /** Leaves endpoints out whose checks warn, too. */
  readonly onlyPassing: boolean;
  /**
   * A name whose endpoints are all critical: true says that it does not exist, as Consul does; false that it has no
   * address now, which resolvers forget sooner and musl does not take for an unknown host.
   */
  readonly criticalIsMissing: boolean;
  /** When all endpoints of a name are critical, answers with all of them: a wrong check then costs less than no answer. */
  readonly serveCritical: boolean;
  /** Most A and AAAA records in one answer, chosen anew each time; 0 for as many as fit. */
  readonly addressesMax: number;
  /** Adds the metadata of a node as TXT records where its address is asked for. */
  readonly nodeMetaTxt: boolean;
  readonly soa: {
    readonly refreshSeconds: number;
    readonly retrySeconds: number;
    readonly expireSeconds: number;
    /** How long a resolver may remember that a name is missing. */
    readonly minTtlSeconds: number;
  };
  /** Whom to ask first for outside names: the one that answered last, or any. */
  readonly upstreamOrder: "sequential" | "random";
  readonly upstreamTimeoutMs: number;
  /** How long an outside answer may still be given after its time when no upstream answers (RFC 8767); 0 for never. */
  readonly staleSeconds: number;
}

export const DEFAULT_DNS: DnsSettings = {
  altDomains: [],
  nodeTtlSeconds: 0,
  serviceTtlSeconds: {},
  onlyPassing: false,
  criticalIsMissing: false,
  serveCritical: false,
  addressesMax: 0,
  nodeMetaTxt: true,
  soa: { refreshSeconds: 3600, retrySeconds: 600, expireSeconds: 86_400, minTtlSeconds: 0 },
  upstreamOrder: "sequential",
  upstreamTimeoutMs: 1500,
  staleSeconds: 3600,
};

/** The TTL of a service's records; `service` in lower case. */
export function chooseServiceTtl(ttls: DnsSettings["serviceTtlSeconds"], service: string): number {
  const exact = ttls[service];
  if (exact !== undefined) return exact;
  const prefixes = Object.keys(ttls).filter((key) => key.endsWith("*") && service.startsWith(key.slice(0, -1)));
  const longest = prefixes.toSorted((a, b) => b.length - a.length)[0];
  return longest === undefined ? 0 : (ttls[longest] ?? 0);
}
