/**
 * What of the declared outside this host answers, and who serves it now: one front for each address and port that clients
 * of a virtual address use, and for each port of this host that a service is published on.
 *
 * A virtual address is served on every host for the clients of that host: nothing is announced and no host is special.
 * A published port prefers endpoints on its own host, since only those can answer the client straight and so see its
 * address; the others are used when there are none of those.
 *
 * By IPv6 there is the same once more, for the endpoints that have an address of that family: nobody's packets are turned into
 * those of the other one.
 */
import type { Endpoint } from "../model/endpoint.ts";
import { isIpv4 } from "../model/ip.ts";
import { type Cidr6, type HostAddress, isIpv6 } from "../model/ip6.ts";
import type { NetworkConfig, Publication, VirtualService } from "../model/network-config.ts";
import type { Condition } from "../model/wire.ts";
import { address6Of } from "./address6.ts";
import { isImported } from "./plan-imports.ts";

type Protocol = Endpoint["protocol"];

export type Family = 4 | 6;

export interface Backend {
  /** Of the front's family. */
  readonly address: HostAddress;
  readonly port: number;
  /** 1 to `WEIGHT_MAX`: its share of new connections. */
  readonly weight: number;
}

export interface Front {
  /** Unique on this host in its family; a DNS label with protocol and port. */
  readonly id: string;
  readonly family: Family;
  /** Null for a port of the host itself. */
  readonly address: HostAddress | null;
  readonly protocol: Protocol;
  readonly port: number;
  readonly affinity: VirtualService["affinity"];
  /** Healthy ones, without duplicates, sorted. Empty: connections are refused. */
  readonly backends: readonly Backend[];
}

export interface FrontWish {
  readonly config: Pick<NetworkConfig, "publications" | "virtuals">;
  readonly endpoints: Iterable<Endpoint>;
  readonly hostName: string;
  readonly hostLabels: Readonly<Record<string, string>>;
  /** Ports that programs of this host listen on, see `portKey`. */
  readonly busyPorts: ReadonlySet<string>;
  /** Where the virtual addresses have their twins; null or missing: nothing is answered by IPv6. */
  readonly virtual6?: Cidr6 | null;
}

/** A service's `weight` (from its metadata) above this would make the choice a long list for nothing. */
export const WEIGHT_MAX = 100;

export function portKey(protocol: Protocol, port: number): string {
  return `${port}/${protocol}`;
}

/** Fronts sorted by id, and what an operator has to know. */
export function planFronts(wish: FrontWish): {
  readonly fronts: readonly Front[];
  readonly conditions: readonly Condition[];
} {
  const { virtuals, publications } = wish.config;
  const mine = publications.filter((publication) => isPublishedOn(publication, wish.hostLabels));
  // A program that listens there was meant to be reached there: taking SSH's port away would lock the operator out.
  const taken = mine.filter(({ protocol, port }) => wish.busyPorts.has(portKey(protocol, port)));
  const wanted = new Set([...virtuals.map(serviceOf), ...mine.map(({ service }) => service)]);
  const healthy = healthyByService(wish.endpoints, wanted);
  const { virtual6 = null } = wish;
  const fronts = ([4, ...(virtual6 === null ? [] : [6])] as readonly Family[]).flatMap((family) => [
    ...virtuals.flatMap(({ address, ...virtual }) => {
      if (address === undefined) return [];
      const own = family === 4 || virtual6 === null ? address : address6Of(virtual6, address);
      return virtualFronts({ ...virtual, family, own }, healthy.get(serviceOf(virtual)) ?? []);
    }),
    ...mine
      .filter((publication) => !taken.includes(publication))
      .map((publication) => {
        const serving = healthy.get(publication.service) ?? [];
        return publishedFront(publication, serving, { family, hostName: wish.hostName });
      }),
  ]);
  return {
    fronts: fronts.toSorted((a, b) => a.family - b.family || (a.id < b.id ? -1 : 1)),
    conditions: taken.map(takenCondition),
  };
}

/** The service that a virtual address stands for. */
export function serviceOf(virtual: Pick<VirtualService, "name" | "service">): string {
  return virtual.service ?? virtual.name;
}

export function isPublishedOn(
  { hosts }: Pick<Publication, "hosts">,
  labels: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(hosts).every(([label, value]) => labels[label] === value);
}

function healthyByService(endpoints: Iterable<Endpoint>, wanted: ReadonlySet<string>): Map<string, Endpoint[]> {
  const healthy = new Map<string, Endpoint[]>();
  for (const endpoint of endpoints) {
    const service = endpoint.service as string;
    if (endpoint.health !== "passing" || endpoint.port === 0 || !wanted.has(service)) continue;
    const group = healthy.get(service);
    if (group === undefined) healthy.set(service, [endpoint]);
    else group.push(endpoint);
  }
  return healthy;
}

type OwnAddress = Omit<VirtualService, "address"> & { readonly family: Family; readonly own: HostAddress };

function virtualFronts(virtual: OwnAddress, healthy: readonly Endpoint[]): readonly Front[] {
  const { name, family, own: address, affinity } = virtual;
  const groups = new Map<string, Endpoint[]>();
  for (const endpoint of healthy) {
    const key = portKey(endpoint.protocol, virtual.port ?? endpoint.port);
    groups.set(key, [...(groups.get(key) ?? []), endpoint]);
  }
  return [...groups].map(([key, group]) => {
    const [port = "", protocol = "tcp"] = key.split("/");
    return {
      id: `virtual_${name}_${protocol}_${port}`,
      family,
      address,
      protocol: protocol as Protocol,
      port: Number(port),
      affinity,
      backends: backendsOf(group, family),
    };
  });
}

function publishedFront(
  publication: Publication,
  healthy: readonly Endpoint[],
  { family, hostName }: { readonly family: Family; readonly hostName: string },
): Front {
  const { name, protocol, port } = publication;
  const fitting = healthy.filter((endpoint) => endpoint.protocol === protocol && addressIn(endpoint, family) !== null);
  const here = fitting.filter((endpoint) => endpoint.host === hostName && !isImported(endpoint));
  return {
    id: `published_${name}_${protocol}_${port}`,
    family,
    address: null,
    protocol,
    port,
    affinity: "none",
    backends: backendsOf(here.length > 0 ? here : fitting, family),
  };
}

function backendsOf(endpoints: readonly Endpoint[], family: Family): readonly Backend[] {
  const byPlace = new Map<string, Backend>();
  for (const endpoint of endpoints) {
    const address = addressIn(endpoint, family);
    const { port, meta } = endpoint;
    // What clients registered may have no port.
    if (address === null || port === 0) continue;
    const weight = readWeight(meta["weight"]);
    const key = `${address}:${port}`;
    byPlace.set(key, { address, port, weight: Math.max(weight, byPlace.get(key)?.weight ?? 0) });
  }
  // As text: any order will do that is the same each time, and ten thousand are sorted on every change.
  return [...byPlace].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, backend]) => backend);
}

/** What clients registered may have an address of either family, or the name of a host. */
function addressIn({ address, address6 }: Endpoint, family: Family): HostAddress | null {
  if (family === 4) return isIpv4(address) ? address : null;
  return address6 ?? (isIpv6(address) ? address : null);
}

/** Anything that is no weight counts as 1: the endpoint is healthy, whatever somebody wrote there. */
function readWeight(text: string | undefined): number {
  const value = /^[0-9]{1,3}$/.test(text ?? "") ? Number(text) : 1;
  return Math.min(Math.max(value, 1), WEIGHT_MAX);
}

function takenCondition({ name, protocol, port }: Publication): Condition {
  return {
    code: "publication-port-taken",
    severity: "error",
    text: `Cannot publish "${name}" on port ${port}/${protocol} of this host: a program of the host listens there`,
    hint: `Stop that program (ss -lnp), or publish on another port: apollo service publish --help`,
  };
}
