/**
 * Everything this host answers from, in memory. A change marks the names of its service as stale; they are encoded again
 * when they are next asked for. So a change costs the same in a zone of a hundred endpoints and of a hundred thousand,
 * and a name that nobody asks for is never encoded.
 */
import { DEFAULT_DNS, type DnsSettings, chooseServiceTtl } from "../../model/dns-settings.ts";
import { META_NAME_ONLY } from "../../model/endpoint.ts";
import type { Cidr, Ipv4 } from "../../model/ip.ts";
import type { Cidr6, HostAddress } from "../../model/ip6.ts";
import { addressBytes, addressKey } from "./address-bytes.ts";
import { chooseEndpoints, matchLookup } from "./choose-endpoints.ts";
import { type NameKey, labelsOf, nameKey } from "./domain-name.ts";
import { type ZoneName, parseZoneName } from "./parse-zone-name.ts";
import { nameserverRecords, soaRecord, soaRecords, textRecords, addressRecord } from "./record-set.ts";
import { REVERSE_SUFFIXES, findReverse, reverseZoneOf } from "./reverse-names.ts";
import { type NamedRecords, type RecordContext, addressSets, nodeTexts, serviceRecords } from "./service-records.ts";
import { TYPE_ANY, TYPE_NS, TYPE_SOA, TYPE_TXT } from "./wire-format.ts";
import { type PreparedLookup, type ZoneInstance, type ZoneNode, answering } from "./zone-instance.ts";
import { Instances, addressesOf } from "./zone-instances.ts";

export interface ZoneOptions {
  /** Without dots at the ends: "consul". `settings.altDomains` are answered alike. */
  readonly domain: string;
  /** Names of containers are below it; null for none: "weave.local". */
  readonly containerDomain: string | null;
  readonly datacenter: string;
  /** Of names that no setting speaks of: virtual and container names, addresses, our own records. */
  readonly ttlSeconds: number;
  /** Container range: its reverse names are ours, known or not, and are never asked for outside. */
  readonly range: Cidr | null;
  /** The same of IPv6; null or missing for none. */
  readonly range6?: Cidr6 | null;
  /** Address given for `ns.<domain>`. */
  readonly nameserver: Ipv4 | null;
  readonly settings: DnsSettings;
  /** The first number of the zone; it grows with every change. Seconds since 1970 let it grow over restarts, too. */
  readonly serial: number;
}

/** What is known of one name; a type that is missing in `records` is answered with no data. */
export interface ZoneEntry extends NamedRecords {
  /** The zone tells when what it found is no longer so. Entries that never were true for long are false at once. */
  current: boolean;
}

export type ZoneLookup = ZoneEntry | "missing" | "outside";

interface Domain {
  readonly text: string;
  readonly key: NameKey;
  readonly labels: readonly string[];
}

const NO_RECORDS: ZoneEntry = { records: new Map(), alias: null, current: false };
const NO_META: Readonly<Record<string, string>> = {};

export class Zone {
  readonly options: ZoneOptions;
  /** The main one first. */
  readonly #domains: readonly Domain[];
  readonly #container: Domain | null;
  readonly #instances = new Instances();
  #nodes: ReadonlyMap<string, ZoneNode> = new Map();
  #nodeByAddress: ReadonlyMap<string, ZoneNode> = new Map();
  #virtuals: ReadonlyMap<string, readonly HostAddress[]> = new Map();
  #query: (name: string) => PreparedLookup | null = () => null;
  /** Names asked since their service last changed. Only names that exist are kept, so no client can fill it. */
  readonly #entries = new Map<NameKey, ZoneEntry>();
  readonly #keysOfService = new Map<string, Set<NameKey>>();
  #revision = 0;
  readonly #soas = new Map<NameKey, Uint8Array>();

  constructor(options: ZoneOptions) {
    this.options = options;
    this.#domains = [options.domain, ...options.settings.altDomains].map(domainOf);
    this.#container = options.containerDomain === null ? null : domainOf(options.containerDomain);
  }

  get size(): number {
    return this.#instances.size;
  }

  /** Grows with every change: what was found before may not be so after. */
  get revision(): number {
    return this.#revision;
  }

  /** The object that is held already costs nothing. */
  put(instance: ZoneInstance): void {
    if (this.#instances.get(instance.id) === instance) return;
    this.remove(instance.id);
    this.#instances.put(instance);
    this.#forget(instance.service);
  }

  /** An id that is not there is fine. */
  remove(id: string): void {
    const instance = this.#instances.remove(id);
    if (instance !== null) this.#forget(instance.service);
  }

  /**
   * Puts what is new or other, removes what is gone, and returns how many that were. Endpoints are compared as objects:
   * whoever holds them keeps the object of one that did not change.
   */
  follow(endpoints: Iterable<ZoneInstance>): number {
    const seen = new Set<string>();
    let changes = 0;
    for (const endpoint of endpoints) {
      seen.add(endpoint.id);
      if (this.#instances.get(endpoint.id) === endpoint) continue;
      this.put(endpoint);
      changes += 1;
    }
    if (seen.size === this.size) return changes;
    for (const id of this.#instances.ids()) {
      if (seen.has(id)) continue;
      this.remove(id);
      changes += 1;
    }
    return changes;
  }

  setHosts(hosts: readonly ZoneNode[]): void {
    const sorted = hosts.toSorted((a, b) => (a.name < b.name ? -1 : 1));
    this.#nodes = new Map(sorted.map((host) => [host.name.toLowerCase(), host]));
    this.#nodeByAddress = new Map(sorted.map((host) => [addressKey(host.address), host]));
    this.#forgetAll();
  }

  /** The services' own addresses, by name. The same ones again change nothing. */
  setVirtuals(virtuals: ReadonlyMap<string, readonly HostAddress[]>): void {
    const known = this.#virtuals;
    const isKnown = ([name, own]: readonly [string, readonly HostAddress[]]): boolean =>
      known.get(name)?.join() === own.join();
    if (known.size === virtuals.size && [...virtuals].every(isKnown)) return;
    this.#virtuals = virtuals;
    this.#touch();
  }

  /** How prepared queries are found, by name or id in lower case. To be called again when any of them changed. */
  setQueries(query: (name: string) => PreparedLookup | null): void {
    this.#query = query;
    this.#forgetAll();
  }

  /**
   * The SOA record for a negative answer to a name of ours. Its owner is the domain, or the reverse zone that the name is
   * in: resolvers that check throw away an answer whose SOA is not above the name.
   */
  soaFor(key: NameKey): Uint8Array {
    const { key: domain } = this.#mainDomain();
    const [owner, primary] = this.#ownerOf(key);
    const known = this.#soas.get(owner);
    if (known !== undefined) return known;
    const serial = (this.options.serial + this.#revision) >>> 0;
    const soa = soaRecord(owner, primary ?? domain, serial, this.options.settings.soa);
    this.#soas.set(owner, soa);
    return soa;
  }

  /** What a question for this name finds, whatever type it asks for. */
  find(key: NameKey): ZoneLookup {
    const known = this.#entries.get(key);
    if (known !== undefined) return known;
    const labels = labelsOf(key);
    const domain = this.#domains.find((each) => isBelow(labels, each));
    if (domain === undefined) {
      const name = this.#containerName(labels);
      return name === null ? this.#findReverse(labels) : this.#findContainer(name, labels.length);
    }
    const left = labels.slice(0, labels.length - domain.labels.length);
    return this.#findName(key, domain, parseZoneName(left, this.options.datacenter));
  }

  #findName(key: NameKey, domain: Domain, name: ZoneName): ZoneLookup {
    switch (name.kind) {
      case "apex":
        return this.#apex(domain);
      case "nameserver":
        return this.options.nameserver === null ? NO_RECORDS : this.#addresses([this.options.nameserver]);
      case "empty":
        return NO_RECORDS;
      case "node": {
        const node = this.#nodeNamed(name.host);
        return node === undefined ? "missing" : this.#node(node, domain);
      }
      case "address":
        return this.#addresses([name.address]);
      case "virtual": {
        const own = this.#virtuals.get(name.name);
        return own === undefined ? "missing" : this.#addresses(own);
      }
      case "query":
        return this.#findQuery(name.name, domain);
      case "service":
        return this.#findService(key, domain, name);
      case "unknown":
        return "missing";
    }
  }

  /** A host, or what a client of Consul's API registered under that name (in lower case). */
  #nodeNamed(name: string): ZoneNode | undefined {
    return this.#nodes.get(name) ?? this.#instances.node(name);
  }

  #apex(domain: Domain): ZoneEntry {
    const { nameserver, ttlSeconds } = this.options;
    const glue = nameserver === null ? null : addressBytes(nameserver);
    const extras = glue === null ? [] : [addressRecord(glue, ttlSeconds)];
    const soa = soaRecords(this.soaFor(domain.key));
    const ns = nameserverRecords(requireKey(`ns.${domain.text}`), ttlSeconds, extras);
    return entry(new Map([[TYPE_SOA, soa], [TYPE_NS, ns], [TYPE_ANY, soa]])); // prettier-ignore
  }

  #findService(key: NameKey, domain: Domain, name: Extract<ZoneName, { kind: "service" }>): ZoneLookup {
    const { settings } = this.options;
    const chosen = chooseEndpoints(name.candidates, (service) => this.#instances.ofService(service), settings);
    if (chosen === null) return "missing";
    const ttlSeconds = chooseServiceTtl(settings.serviceTtlSeconds, chosen.candidate.service);
    const found = this.#answer(chosen.answered, this.#context(domain, ttlSeconds));
    if (found === "missing") return found;
    found.current = true;
    // Which service a dotted name means depends on all candidates before the chosen one, too.
    for (const { service } of name.candidates) this.#remember(service, key);
    this.#entries.set(key, found);
    return found;
  }

  #findQuery(name: string, domain: Domain): ZoneLookup {
    const lookup = this.#query(name);
    if (lookup === null) return "missing";
    const { settings } = this.options;
    const service = lookup.service.toLowerCase();
    const matching = matchLookup(this.#instances.ofService(service), lookup, (node) => this.#metaOf(node));
    const answered = answering(matching, { ...settings, onlyPassing: lookup.onlyPassing || settings.onlyPassing });
    const ttlSeconds = lookup.ttlSeconds ?? chooseServiceTtl(settings.serviceTtlSeconds, service);
    return matching.length === 0 ? "missing" : this.#answer(answered, this.#context(domain, ttlSeconds));
  }

  #answer(answered: readonly ZoneInstance[], context: RecordContext): ZoneEntry | "missing" {
    if (answered.length === 0 && this.options.settings.criticalIsMissing) return "missing";
    return { ...serviceRecords(answered, context), current: false };
  }

  #node(node: ZoneNode, domain: Domain): ZoneLookup {
    const { settings } = this.options;
    const texts = nodeTexts(node, settings.nodeTtlSeconds);
    const context = this.#context(domain, settings.nodeTtlSeconds);
    const bytes = addressBytes(node.address);
    // The alias of a node whose address is a host name is that of a service there.
    if (bytes === null) return { ...serviceRecords([nodeAlone(node)], context), current: false };
    const records = addressSets([{ bytes, weight: 1 }], context, settings.nodeMetaTxt ? texts : []);
    if (texts.length > 0) records.set(TYPE_TXT, textRecords(texts));
    return entry(records);
  }

  /**
   * The name left of the container domain, "" for the domain itself; null for a name elsewhere. A single label counts, too:
   * programs that complete no names ask for a container as `db`, and so did Weave's users.
   */
  #containerName(labels: readonly string[]): string | null {
    if (this.#container === null) return null;
    if (labels.length === 1) return labels[0] ?? null;
    if (!isBelow(labels, this.#container)) return null;
    return labels.slice(0, labels.length - this.#container.labels.length).join(".");
  }

  /** All that have the name, whatever their health: it names a container and promises nothing. */
  #findContainer(name: string, labels: number): ZoneLookup {
    if (name === "") return NO_RECORDS;
    const found = [...this.#instances.named(name)].flatMap(addressesOf);
    // A single label may well be a name of the host's own resolver.
    if (found.length === 0) return labels === 1 ? "outside" : "missing";
    return this.#addresses([...new Set(found)]);
  }

  #findReverse(labels: readonly string[]): ZoneLookup {
    const found = findReverse(labels, this.options, {
      node: (address) => this.#nodeByAddress.get(address),
      instances: (address) => this.#instances.at(address),
    });
    return found === "missing" || found === "outside" ? found : entry(found);
  }

  #addresses(addresses: readonly string[]): ZoneEntry {
    const { ttlSeconds, settings } = this.options;
    const all = addresses.flatMap((address) => addressBytes(address) ?? []).map((bytes) => ({ bytes, weight: 1 }));
    return entry(addressSets(all, { ttlSeconds, settings }));
  }

  #context({ text }: Domain, ttlSeconds: number): RecordContext {
    const { datacenter, settings } = this.options;
    return { domain: text, datacenter, ttlSeconds, settings, nodeOf: (name) => this.#nodeNamed(name.toLowerCase()) };
  }

  #metaOf(node: string): Readonly<Record<string, string>> {
    return this.#nodes.get(node.toLowerCase())?.meta ?? NO_META;
  }

  #mainDomain(): Domain {
    return this.#domains[0] ?? domainOf(this.options.domain);
  }

  /** The zone that a name is in, and the domain whose name server is responsible; null for the main one. */
  #ownerOf(key: NameKey): readonly [NameKey, NameKey | null] {
    const labels = labelsOf(key);
    if (REVERSE_SUFFIXES.some((suffix) => key.endsWith(suffix)))
      return [reverseZoneOf(labels, this.options.range), null];
    const domain = this.#domains.find((each) => isBelow(labels, each));
    if (domain !== undefined) return [domain.key, domain.key];
    return [this.#container?.key ?? this.#mainDomain().key, null];
  }

  #remember(service: string, key: NameKey): void {
    const keys = this.#keysOfService.get(service) ?? new Set();
    this.#keysOfService.set(service, keys.add(key));
  }

  #forget(service: string): void {
    const name = service.toLowerCase();
    for (const key of this.#keysOfService.get(name) ?? []) {
      const known = this.#entries.get(key);
      if (known !== undefined) known.current = false;
      this.#entries.delete(key);
    }
    this.#keysOfService.delete(name);
    this.#touch();
  }

  #forgetAll(): void {
    for (const known of this.#entries.values()) known.current = false;
    this.#entries.clear();
    this.#keysOfService.clear();
    this.#touch();
  }

  #touch(): void {
    this.#revision += 1;
    this.#soas.clear();
  }
}

/** A zone with all of `endpoints`; later changes go through `put` and `remove`, or `follow`, and the setters. */
export function buildZone(
  endpoints: Iterable<ZoneInstance>,
  hosts: readonly ZoneNode[],
  options: Pick<ZoneOptions, "domain" | "datacenter" | "ttlSeconds"> & Partial<ZoneOptions>,
): Zone {
  const defaults = { range: null, nameserver: null, containerDomain: null, settings: DEFAULT_DNS, serial: 1 };
  const zone = new Zone({ ...defaults, ...options });
  zone.setHosts(hosts);
  zone.follow(endpoints);
  return zone;
}

function entry(records: NamedRecords["records"]): ZoneEntry {
  return { records, alias: null, current: false };
}

function nodeAlone({ name, address }: ZoneNode): ZoneInstance {
  const fixed = { service: "", port: 0, protocol: "tcp", tags: [], container: "", health: "passing" } as const;
  return { ...fixed, id: name, host: name, address, meta: { [META_NAME_ONLY]: "yes" } };
}

function domainOf(text: string): Domain {
  const key = requireKey(text);
  return { text, key, labels: labelsOf(key) };
}

function isBelow(labels: readonly string[], domain: Domain): boolean {
  const split = labels.length - domain.labels.length;
  return split >= 0 && domain.labels.every((label, index) => labels[split + index] === label);
}

/** For names made of our own settings, which were checked where they came in. */
function requireKey(name: string): NameKey {
  const key = nameKey(name);
  if (key === null) throw new Error(`Unexpected domain name "${name}"`);
  return key;
}
