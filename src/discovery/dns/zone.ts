/**
 * Everything this host answers from, in memory. A change marks the names of its service as stale; they are encoded again
 * when they are next asked for. So a change costs the same in a zone of a hundred endpoints and of a hundred thousand,
 * and a name that nobody asks for is never encoded.
 */
import { type CatalogHost, type Endpoint, isNameOnly } from "../../model/endpoint.ts";
import { type Cidr, type Ipv4, cidrContains, ipv4ToNumber, isIpv4 } from "../../model/ip.ts";
import { type Cidr6, type HostAddress, cidr6Contains } from "../../model/ip6.ts";
import { chooseEndpoints } from "./choose-endpoints.ts";
import { type NameKey, labelsOf, nameKey } from "./domain-name.ts";
import { type ZoneName, parseReverseName, parseReverseName6, parseZoneName } from "./parse-zone-name.ts";
import {
  type RecordSet,
  address6Records,
  addressRecords,
  joinRecords,
  nameserverRecords,
  pointerRecords,
  soaRecord,
  soaRecords,
  srvRecords,
} from "./record-set.ts";
import { TYPE_A, TYPE_AAAA, TYPE_ANY, TYPE_NS, TYPE_PTR, TYPE_SOA, TYPE_SRV } from "./wire-format.ts";

export interface ZoneOptions {
  /** Without dots at the ends: "consul". */
  readonly domain: string;
  /** Names of containers are below it; null for none: "weave.local". */
  readonly containerDomain: string | null;
  readonly datacenter: string;
  readonly ttlSeconds: number;
  /** Container range: its reverse names are ours, known or not, and are never asked for outside. */
  readonly range: Cidr | null;
  /** The same of IPv6; null or missing for none. */
  readonly range6?: Cidr6 | null;
  /** Address given for `ns.<domain>`. */
  readonly nameserver: Ipv4 | null;
}

/** What is known of one name; a type that is missing in `records` is answered with no data. */
export interface ZoneEntry {
  readonly records: ReadonlyMap<number, RecordSet>;
}

export type ZoneLookup = ZoneEntry | "missing" | "outside";

interface Held {
  readonly endpoint: Endpoint;
  round: number;
}

const REVERSE6_SUFFIX = "\u0003ip6\u0004arpa\u0000";
/** Labels of the reverse zone of a /64, one for each hexadecimal digit. */
const REVERSE6_LABELS = 16 + 2;
const REVERSE_SUFFIX = "\u0007in-addr\u0004arpa\u0000";
const NO_RECORDS: ZoneEntry = { records: new Map() };
const NO_ENDPOINTS: ReadonlyMap<string, Endpoint> = new Map();

export class Zone {
  readonly options: ZoneOptions;
  readonly #domainLabels: readonly string[];
  readonly #domainKey: NameKey;
  readonly #containerKey: NameKey | null;
  readonly #endpoints = new Map<string, Held>();
  /** Number of the last `follow`; what it did not see carries an older one. */
  #round = 0;
  readonly #services = new Map<string, Map<string, Endpoint>>();
  /** By the name of a container, or of what is named only. */
  readonly #names = new Map<string, Map<string, Endpoint>>();
  readonly #byAddress = new Map<HostAddress, Map<string, Endpoint>>();
  #hosts: ReadonlyMap<string, HostAddress> = new Map();
  #hostByAddress: ReadonlyMap<HostAddress, string> = new Map();
  #virtuals: ReadonlyMap<string, Ipv4> = new Map();
  /** Names asked since their service last changed. Only names that exist are kept, so no client can fill it. */
  readonly #entries = new Map<NameKey, ZoneEntry>();
  readonly #keysOfService = new Map<string, Set<NameKey>>();
  #serial = 1;
  readonly #soas = new Map<NameKey, Uint8Array>();

  constructor(options: ZoneOptions) {
    this.options = options;
    this.#domainKey = requireKey(options.domain);
    this.#domainLabels = labelsOf(this.#domainKey);
    this.#containerKey = options.containerDomain === null ? null : requireKey(options.containerDomain);
  }

  /**
   * The SOA record for a negative answer to a name of ours. Its owner is our domain, or the reverse zone that the name is
   * in: resolvers that check throw away an answer whose SOA is not above the name.
   */
  soaFor(key: NameKey): Uint8Array {
    const owner = this.#zoneOf(key);
    const known = this.#soas.get(owner);
    if (known !== undefined) return known;
    const soa = soaRecord(owner, this.#domainKey, this.#serial);
    this.#soas.set(owner, soa);
    return soa;
  }

  #zoneOf(key: NameKey): NameKey {
    if (key.endsWith(REVERSE_SUFFIX)) return this.#reverseZone(key);
    if (key.endsWith(REVERSE6_SUFFIX)) return requireKey(labelsOf(key).slice(-REVERSE6_LABELS).join("."));
    return this.#containerName(key) === null ? this.#domainKey : (this.#containerKey ?? this.#domainKey);
  }

  get size(): number {
    return this.#endpoints.size;
  }

  put(endpoint: Endpoint): void {
    this.remove(endpoint.id);
    this.#endpoints.set(endpoint.id, { endpoint, round: this.#round });
    if (!isNameOnly(endpoint)) addTo(this.#services, endpoint.service as string, endpoint);
    addTo(this.#names, containerNameOf(endpoint), endpoint);
    addTo(this.#byAddress, endpoint.address, endpoint);
    if (endpoint.address6 !== undefined) addTo(this.#byAddress, endpoint.address6, endpoint);
    this.#forget(endpoint.service);
  }

  /** An id that is not there is fine. */
  remove(id: string): void {
    const endpoint = this.#endpoints.get(id)?.endpoint;
    if (endpoint === undefined) return;
    this.#endpoints.delete(id);
    if (!isNameOnly(endpoint)) dropFrom(this.#services, endpoint.service as string, id);
    dropFrom(this.#names, containerNameOf(endpoint), id);
    dropFrom(this.#byAddress, endpoint.address, id);
    if (endpoint.address6 !== undefined) dropFrom(this.#byAddress, endpoint.address6, id);
    this.#forget(endpoint.service);
  }

  /**
   * Puts what is new or other, removes what is gone, and returns how many that were. Endpoints are compared as objects:
   * whoever holds them keeps the object of one that did not change.
   */
  follow(endpoints: Iterable<Endpoint>): number {
    this.#round += 1;
    let changes = 0;
    let seen = 0;
    for (const endpoint of endpoints) {
      seen += 1;
      const held = this.#endpoints.get(endpoint.id);
      if (held?.endpoint === endpoint) {
        held.round = this.#round;
        continue;
      }
      this.put(endpoint);
      changes += 1;
    }
    if (seen === this.#endpoints.size) return changes;
    for (const [id, { round }] of this.#endpoints) {
      if (round === this.#round) continue;
      this.remove(id);
      changes += 1;
    }
    return changes;
  }

  setHosts(hosts: readonly CatalogHost[]): void {
    const sorted = hosts.toSorted((a, b) => (a.name < b.name ? -1 : 1));
    this.#hosts = new Map(sorted.map((host) => [host.name.toLowerCase(), host.address]));
    this.#hostByAddress = new Map(sorted.map((host) => [host.address, host.name.toLowerCase()]));
    this.#touch();
  }

  /** The services' own addresses, by name. */
  setVirtuals(virtuals: ReadonlyMap<string, Ipv4>): void {
    this.#virtuals = virtuals;
    this.#touch();
  }

  /** What a question for this name finds, whatever type it asks for. */
  find(key: NameKey): ZoneLookup {
    const known = this.#entries.get(key);
    if (known !== undefined) return known;
    const labels = labelsOf(key);
    const split = labels.length - this.#domainLabels.length;
    if (split < 0 || !this.#domainLabels.every((label, index) => labels[split + index] === label)) {
      const name = this.#containerName(key);
      return name === null ? this.#findReverse(labels) : this.#findContainer(name, labels.length);
    }
    return this.#findName(key, parseZoneName(labels.slice(0, split), this.options.datacenter));
  }

  #findName(key: NameKey, name: ZoneName): ZoneLookup {
    const { ttlSeconds, nameserver } = this.options;
    switch (name.kind) {
      case "apex": {
        const ns = nameserverRecords(requireKey(`ns.${this.options.domain}`), ttlSeconds);
        const soa = soaRecords(this.soaFor(this.#domainKey));
        return entry([TYPE_SOA, soa], [TYPE_NS, ns], [TYPE_ANY, soa]);
      }
      case "nameserver":
        return nameserver === null ? NO_RECORDS : this.#addresses([nameserver]);
      case "empty":
        return NO_RECORDS;
      case "node": {
        const address = this.#hosts.get(name.host);
        return address === undefined ? "missing" : this.#hostAddresses(address);
      }
      case "address":
        return this.#addresses([name.address]);
      case "virtual": {
        const address = this.#virtuals.get(name.name);
        return address === undefined ? "missing" : this.#addresses([address]);
      }
      case "service":
        return this.#findService(key, name);
      case "unknown":
        return "missing";
    }
  }

  #findService(key: NameKey, name: Extract<ZoneName, { kind: "service" }>): ZoneLookup {
    const chosen = chooseEndpoints(name.candidates, (service) => this.#endpointsOf(service).values());
    if (chosen === null) return "missing";
    const { ttlSeconds } = this.options;
    const passing = chosen.passing;
    const pairs = new Map(passing.map((each) => [`${each.address}:${each.port}`, each]));
    const targets = [...pairs.values()].map(({ address, port }) => ({
      target: this.#targetOf(address),
      port,
      address,
    }));
    const found =
      passing.length === 0
        ? NO_RECORDS
        : {
            records: new Map([
              ...this.#addressesOf(passing).records,
              [TYPE_SRV, srvRecords(targets, ttlSeconds)] as const,
            ]),
          };
    // Which service a dotted name means depends on all candidates before the chosen one, too.
    for (const { service } of name.candidates) this.#remember(service, key);
    this.#entries.set(key, found);
    return found;
  }

  /**
   * The name left of the container domain, "" for the domain itself; null for a name elsewhere. A single label counts, too:
   * programs that complete no names ask for a container as `db`, and so did Weave's users.
   */
  #containerName(key: NameKey): string | null {
    if (this.#containerKey === null) return null;
    const labels = labelsOf(key);
    if (labels.length === 1) return labels[0] ?? null;
    const domain = labelsOf(this.#containerKey);
    const split = labels.length - domain.length;
    if (split < 0 || !domain.every((label, index) => labels[split + index] === label)) return null;
    return labels.slice(0, split).join(".");
  }

  /** All that have the name, whatever their health: it names a container and promises nothing. */
  #findContainer(name: string, labels: number): ZoneLookup {
    if (name === "") return NO_RECORDS;
    const found = [...(this.#names.get(name) ?? NO_ENDPOINTS).values()];
    // A single label may well be a name of the host's own resolver.
    if (found.length === 0) return labels === 1 ? "outside" : "missing";
    return this.#addressesOf(found);
  }

  /** Several services on one address give several names, and a host's own name comes first. */
  #findReverse(labels: readonly string[]): ZoneLookup {
    const address = parseReverseName(labels) ?? parseReverseName6(labels);
    if (address === null) return "outside";
    const { domain, datacenter, ttlSeconds } = this.options;
    const host = this.#hostByAddress.get(address);
    const here = [...(this.#byAddress.get(address) ?? NO_ENDPOINTS).values()];
    const services = here.filter((each) => !isNameOnly(each)).map((each) => each.service);
    const containers = here.filter((each) => isNameOnly(each)).map((each) => each.service);
    const names = [
      ...(host === undefined ? [] : [`${host}.node.${datacenter}.${domain}`]),
      ...[...new Set(services)].toSorted().map((service) => `${service}.service.${datacenter}.${domain}`),
      ...[...new Set(containers)].toSorted().map((name) => `${name}.${this.options.containerDomain ?? domain}`),
    ];
    if (names.length === 0) return this.#isInRange(address) ? "missing" : "outside";
    // A long service name may not fit under a long domain; then it has no full name either.
    const records = pointerRecords(
      names.flatMap((name) => nameKey(name) ?? []),
      ttlSeconds,
    );
    return records.count === 0 ? NO_RECORDS : entry([TYPE_PTR, records], [TYPE_ANY, records]);
  }

  #isInRange(address: HostAddress): boolean {
    const { range, range6 = null } = this.options;
    if (isIpv4(address)) return range !== null && cidrContains(range, address);
    return range6 !== null && cidr6Contains(range6, address);
  }

  /** "2.10.in-addr.arpa" for a range of 16 bits or more; a host outside the range is under the same rule. */
  #reverseZone(key: NameKey): NameKey {
    const octets = Math.max(1, Math.min(3, Math.floor((this.options.range?.prefix ?? 24) / 8)));
    return requireKey(
      labelsOf(key)
        .slice(-2 - octets)
        .join("."),
    );
  }

  #addresses(addresses: readonly Ipv4[]): ZoneEntry {
    const records = addressRecords(addresses, this.options.ttlSeconds);
    return entry([TYPE_A, records], [TYPE_ANY, records]);
  }

  #hostAddresses(address: HostAddress): ZoneEntry {
    if (isIpv4(address)) return this.#addresses([address]);
    const records = address6Records([address], this.options.ttlSeconds);
    return entry([TYPE_AAAA, records], [TYPE_ANY, records]);
  }

  /** Those of both families that the endpoints have. */
  #addressesOf(endpoints: readonly Endpoint[]): ZoneEntry {
    const six = [...new Set(endpoints.flatMap((each) => each.address6 ?? []))];
    const plain = this.#addresses([...new Set(endpoints.map((each) => each.address))]);
    const four = plain.records.get(TYPE_A);
    if (six.length === 0 || four === undefined) return plain;
    const records6 = address6Records(six, this.options.ttlSeconds);
    return entry([TYPE_A, four], [TYPE_AAAA, records6], [TYPE_ANY, joinRecords(four, records6)]);
  }

  #targetOf(address: Ipv4): NameKey {
    const hex = ipv4ToNumber(address).toString(16).padStart(8, "0");
    return requireKey(`${hex}.addr.${this.options.datacenter}.${this.options.domain}`);
  }

  #endpointsOf(service: string): ReadonlyMap<string, Endpoint> {
    return this.#services.get(service) ?? NO_ENDPOINTS;
  }

  #remember(service: string, key: NameKey): void {
    const keys = this.#keysOfService.get(service) ?? new Set();
    this.#keysOfService.set(service, keys.add(key));
  }

  #forget(service: string): void {
    for (const key of this.#keysOfService.get(service) ?? []) this.#entries.delete(key);
    this.#keysOfService.delete(service);
    this.#touch();
  }

  #touch(): void {
    this.#serial = (this.#serial + 1) >>> 0;
    this.#soas.clear();
  }
}

/** A zone with all of `endpoints`; later changes go through `put` and `remove`, or `follow`, and `setHosts`. */
export function buildZone(
  endpoints: Iterable<Endpoint>,
  hosts: readonly CatalogHost[],
  options: Pick<ZoneOptions, "domain" | "datacenter" | "ttlSeconds"> & Partial<ZoneOptions>,
): Zone {
  const zone = new Zone({ range: null, nameserver: null, containerDomain: null, ...options });
  zone.setHosts(hosts);
  zone.follow(endpoints);
  return zone;
}

function entry(...records: readonly (readonly [number, RecordSet])[]): ZoneEntry {
  return { records: new Map(records) };
}

function containerNameOf(endpoint: Endpoint): string {
  return (isNameOnly(endpoint) ? endpoint.service : endpoint.container).toLowerCase();
}

/** For names made of our own settings, service and host names, which were checked where they came in. */
function requireKey(name: string): NameKey {
  const key = nameKey(name);
  if (key === null) throw new Error(`Unexpected domain name "${name}"`);
  return key;
}

function addTo<Key>(index: Map<Key, Map<string, Endpoint>>, key: Key, endpoint: Endpoint): void {
  const group = index.get(key) ?? new Map<string, Endpoint>();
  index.set(key, group.set(endpoint.id, endpoint));
}

function dropFrom<Key>(index: Map<Key, Map<string, Endpoint>>, key: Key, id: string): void {
  const group = index.get(key);
  group?.delete(id);
  if (group?.size === 0) index.delete(key);
}
