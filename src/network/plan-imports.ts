/**
 * Addresses outside as endpoints inside. Each import is looked after by one host: the one that scores highest for its name
 * (rendezvous hashing), so that a host that goes moves only its own imports and all hosts agree without talking. The
 * endpoints are that host's in the catalog: when it dies they leave with it, and the next one brings them again.
 */
import type { CatalogHost, Endpoint } from "../model/endpoint.ts";
import type { ServiceName } from "../model/ids.ts";
import { formatEndpoint } from "../model/ip6.ts";
import type { ImportedService } from "../model/network-config.ts";

type Target = ImportedService["targets"][number];

/** Whether a target answers, by its key; one that was not looked at yet is missing. */
export type TargetHealth = ReadonlyMap<string, boolean>;

export interface ImportDuty {
  readonly imported: ImportedService;
  readonly target: Target;
  /** Names the target over all hosts. */
  readonly key: string;
}

/** Null when no host is up. Ties are decided by name. */
export function chooseImportOwner(name: string, hosts: readonly CatalogHost[]): string | null {
  const scored = hosts
    .filter(({ up }) => up)
    .map((host) => ({ name: host.name, score: scoreOf(`${name} ${host.name}`) }));
  return scored.toSorted((a, b) => b.score - a.score || (a.name < b.name ? -1 : 1))[0]?.name ?? null;
}

export function targetKey(imported: Pick<ImportedService, "name" | "protocol">, { address, port }: Target): string {
  return `${imported.name}:${formatEndpoint(address, port)}/${imported.protocol}`;
}

/** Whether an endpoint stands for an address outside. */
export function isImported(endpoint: Pick<Endpoint, "id" | "host">): boolean {
  return endpoint.id.startsWith(`${endpoint.host}:import:`);
}

/**
 * What this host has to look after: what it is the owner of, and what it had until the new owner has registered it, so
 * that a change of owner is no gap. `present`: all endpoints that this host knows, its own included.
 */
export function planImportDuties(want: {
  readonly imports: readonly ImportedService[];
  readonly hosts: readonly CatalogHost[];
  readonly hostName: string;
  readonly present: Iterable<Endpoint>;
}): readonly ImportDuty[] {
  const { imports, hosts, hostName } = want;
  const holders = new Map<string, Set<string>>();
  for (const { id, host } of want.present) {
    const holdersOfId = holders.get(id.slice(host.length)) ?? new Set();
    holders.set(id.slice(host.length), holdersOfId.add(host));
  }
  return imports.flatMap((imported) => {
    const owner = chooseImportOwner(imported.name, hosts);
    return imported.targets
      .map((target) => ({ imported, target, key: targetKey(imported, target) }))
      .filter(({ key }) => {
        if (owner === hostName) return true;
        const holding = holders.get(`:import:${key}`) ?? new Set();
        return owner !== null && holding.has(hostName) && !holding.has(owner);
      });
  });
}

/** A target that was not looked at yet is critical, unless it needs no look. */
export function renderImport({ imported, target, key }: ImportDuty, host: string, health: TargetHealth): Endpoint {
  // To connect tells nothing about a datagram service.
  const unchecked = imported.check === "none" || imported.protocol === "udp";
  const passing = unchecked || health.get(key) === true;
  return {
    id: `${host}:import:${key}`,
    service: imported.name as ServiceName,
    address: target.address,
    port: target.port,
    protocol: imported.protocol,
    tags: imported.tags,
    meta: {},
    host,
    // What the ingress calls its server.
    container: `import-${imported.name}`,
    instanceId: null,
    appId: null,
    health: passing ? "passing" : "critical",
  };
}

/** 32-bit FNV-1a, then mixed: names that differ in their last letter must not score alike. */
function scoreOf(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
