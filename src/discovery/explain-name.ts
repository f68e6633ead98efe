import { DEFAULT_DNS, type DnsSettings, chooseServiceTtl } from "../model/dns-settings.ts";
import { type CatalogHost, type Endpoint, namesNode, namesServer } from "../model/endpoint.ts";
import { ipv4ToNumber, isIpv4 } from "../model/ip.ts";
import type { WithheldReason } from "./catalog.ts";
import type { NamedQuery } from "../model/consul.ts";
import { chooseEndpoints, fits, matchLookup } from "./dns/choose-endpoints.ts";
import { addressKey, formatAddress, parseReverseAddress } from "./dns/address-bytes.ts";
import { labelsOf, nameKey } from "./dns/domain-name.ts";
import { answering, weightOf } from "./dns/zone-instance.ts";
import { addressesOf } from "./dns/zone-instances.ts";
import { type ServiceCandidate, parseZoneName } from "./dns/parse-zone-name.ts";
import { indexQueries } from "./registry/query-lookup.ts";

export interface ExplainInput {
  /** Visible endpoints, as the catalog lists them. */
  readonly endpoints: readonly Endpoint[];
  readonly withheld: readonly { readonly endpoint: Endpoint; readonly reason: WithheldReason }[];
  readonly hosts: readonly CatalogHost[];
  /** The services' own addresses, by name. */
  readonly virtuals?: ReadonlyMap<string, readonly string[]>;
  readonly domain: string;
  readonly datacenter: string;
  /** Endpoints that only name a container, and the domain of such names. */
  readonly named?: readonly Endpoint[];
  readonly containerDomain?: string;
  /** Prepared queries, as hosts know them. */
  readonly queries?: readonly NamedQuery[];
  /** What differs from `DEFAULT_DNS`. */
  readonly settings?: Partial<DnsSettings>;
}

export interface ExplainedRecord {
  readonly name: string;
  readonly type: string;
  readonly ttl: number;
  readonly data: string;
}

/** What `GET /api/dns` answers. */
export interface NameExplanation {
  readonly name: string;
  readonly type: string;
  readonly code: "NOERROR" | "NXDOMAIN" | "FORWARDED";
  readonly answers: readonly ExplainedRecord[];
  /** Endpoints of that service which are not answered with. */
  readonly excluded: readonly { readonly endpoint: string; readonly reason: string }[];
}

interface Finding {
  readonly code: NameExplanation["code"];
  readonly records: readonly ExplainedRecord[];
  readonly excluded: NameExplanation["excluded"];
}

const MISSING: Finding = { code: "NXDOMAIN", records: [], excluded: [] };
const FORWARDED: Finding = { code: "FORWARDED", records: [], excluded: [] };
const EMPTY: Finding = { code: "NOERROR", records: [], excluded: [] };

/** One kind of record answers ANY, as servers may (RFC 8482). */
const NOT_IN_ANY: ReadonlySet<string> = new Set(["SRV", "NS"]);

/** What every host answers to a question, with what is left out and why. It decides with the same functions as they do. */
export function explainName(input: ExplainInput, name: string, type: string): NameExplanation {
  const wanted = type.toUpperCase();
  const found = find(input, name);
  const answers = found.records.filter(
    (record) => record.type === wanted || (wanted === "ANY" && !NOT_IN_ANY.has(record.type)),
  );
  return { name, type: wanted, code: found.code, answers, excluded: found.excluded };
}

function find(input: ExplainInput, name: string): Finding {
  const key = nameKey(name);
  if (key === null) return MISSING;
  const labels = labelsOf(key);
  const domain = input.domain.toLowerCase().split(".");
  const split = labels.length - domain.length;
  if (split < 0 || !domain.every((label, index) => labels[split + index] === label)) {
    return findContainer(input, name, labels) ?? findReverse(input, labels);
  }
  const parsed = parseZoneName(labels.slice(0, split), input.datacenter);
  const address = (data: string): Finding => ({
    ...EMPTY,
    records: [{ name, type: data.includes(":") ? "AAAA" : "A", ttl: 0, data }],
  });
  switch (parsed.kind) {
    case "apex":
      return { ...EMPTY, records: apexRecords(name, input.domain) };
    // The address of `ns` is that of whichever host is asked.
    case "nameserver":
    case "empty":
      return EMPTY;
    case "node": {
      const host = input.hosts.find((each) => each.name === parsed.host);
      const registered = input.named?.find((each) => namesNode(each) && each.service.toLowerCase() === parsed.host);
      const found = host?.address ?? registered?.address;
      return found === undefined ? MISSING : address(found);
    }
    case "address":
      return address(parsed.address);
    case "virtual": {
      const own = input.virtuals?.get(parsed.name);
      return own === undefined ? MISSING : { ...EMPTY, records: own.flatMap((each) => address(each).records) };
    }
    case "service":
      return findService(input, name, parsed.candidates);
    case "query":
      return findQuery(input, name, parsed.name);
    case "unknown":
      return MISSING;
  }
}

/** Null for a name that is no container's. */
function findContainer(input: ExplainInput, name: string, labels: readonly string[]): Finding | null {
  const domain = input.containerDomain?.toLowerCase().split(".") ?? [];
  const split = labels.length === 1 ? 1 : labels.length - domain.length;
  const inDomain = domain.length > 0 && domain.every((label, index) => labels[split + index] === label);
  if (labels.length !== 1 && !inDomain) return null;
  const wanted = labels.slice(0, split).join(".");
  if (wanted === "") return EMPTY;
  const found = [
    ...input.endpoints.filter(({ container }) => container.toLowerCase() === wanted),
    ...(input.named ?? []).filter((each) => !namesNode(each) && !namesServer(each) && each.service === wanted),
  ];
  const addresses = [...new Set(found.flatMap(addressesOf))];
  if (addresses.length === 0) return inDomain ? MISSING : null;
  return { ...EMPTY, records: addresses.map((data) => ({ name, type: addressType(data), ttl: 0, data })) };
}

function apexRecords(name: string, domain: string): readonly ExplainedRecord[] {
  const soa = `ns.${domain}. hostmaster.${domain}. 0 3600 600 86400 0`;
  return [
    { name, type: "SOA", ttl: 0, data: soa },
    { name, type: "NS", ttl: 0, data: `ns.${domain}.` },
  ];
}

function findReverse(input: ExplainInput, labels: readonly string[]): Finding {
  const { hosts, endpoints, domain, datacenter, named = [], containerDomain } = input;
  const bytes = parseReverseAddress(labels);
  if (bytes === null) return FORWARDED;
  const address = addressKey(formatAddress(bytes));
  const names = [
    ...hosts
      .filter((host) => addressKey(host.address) === address)
      .map((host) => `${host.name}.node.${datacenter}.${domain}`),
    ...servicesAt(endpoints, address).map((service) => `${service}.service.${datacenter}.${domain}`),
    ...servicesAt(named.filter(namesNode), address).map((name) => `${name}.node.${datacenter}.${domain}`),
    ...servicesAt(
      named.filter((each) => !namesNode(each) && !namesServer(each)),
      address,
    ).map((name) => `${name}.${containerDomain}`),
  ];
  const owner = `${labels.join(".")}.`;
  const records = names.map((each) => ({ name: owner, type: "PTR", ttl: 0, data: `${each}.` }));
  return records.length === 0 ? FORWARDED : { ...EMPTY, records };
}

/** By `addressKey`. */
function servicesAt(endpoints: readonly Endpoint[], key: string): readonly string[] {
  const here = endpoints.filter((each) => addressesOf(each).some((address) => addressKey(address) === key));
  return [...new Set(here.map(({ service }) => service))];
}

/** With the servers, which are the instances of `consul`. */
function instancesOf({ endpoints, named = [] }: ExplainInput): readonly Endpoint[] {
  return [...endpoints, ...named.filter(namesServer)];
}

function findService(input: ExplainInput, name: string, candidates: readonly ServiceCandidate[]): Finding {
  const settings = { ...DEFAULT_DNS, ...input.settings };
  const ofService = (service: string): readonly Endpoint[] =>
    instancesOf(input).filter((each) => each.service === service);
  const chosen = chooseEndpoints(candidates, ofService, settings);
  if (chosen === null) {
    // Nothing visible: the withheld ones, or those without the tag, are the explanation.
    const excluded = candidates.flatMap((candidate) => excludedOf(input, candidate, []));
    return { ...MISSING, excluded: unique(excluded) };
  }
  const ttl = chooseServiceTtl(settings.serviceTtlSeconds, chosen.candidate.service);
  const excluded = excludedOf(input, chosen.candidate, chosen.answered);
  return { ...answerWith(input, chosen.answered, { name, ttl }), excluded };
}

/** What a prepared query leads to, which may be a template that the name fills. */
function findQuery(input: ExplainInput, name: string, query: string): Finding {
  const lookup = indexQueries(input.queries ?? [])(query);
  if (lookup === null) return MISSING;
  const settings = { ...DEFAULT_DNS, ...input.settings };
  const all = input.endpoints.filter(({ service }) => service.toLowerCase() === lookup.service);
  // Nodes have no meta as far as the catalog of endpoints knows them.
  const matching = matchLookup(all, lookup, () => ({}));
  const onlyPassing = lookup.onlyPassing || settings.onlyPassing;
  const answered = answering(matching, { ...settings, onlyPassing });
  const candidate = { service: lookup.service, tag: null, protocol: null };
  const matches = new Set(matching.map(({ id }) => id));
  const excluded = excludedOf(input, candidate, answered).map((each) =>
    matches.has(each.endpoint) || !all.some(({ id }) => id === each.endpoint)
      ? each
      : { ...each, reason: "the query's tags or meta are others" },
  );
  if (matching.length === 0) return { ...MISSING, excluded };
  const ttl = lookup.ttlSeconds ?? chooseServiceTtl(settings.serviceTtlSeconds, lookup.service);
  return { ...answerWith(input, answered, { name, ttl }), excluded };
}

function answerWith(
  input: ExplainInput,
  answered: readonly Endpoint[],
  { name, ttl }: { readonly name: string; readonly ttl: number },
): Omit<Finding, "excluded"> {
  const settings = { ...DEFAULT_DNS, ...input.settings };
  const addresses = [...new Set(answered.flatMap(addressesOf))];
  const pairs = new Map(answered.map((each) => [`${each.address}:${each.port}`, each]));
  const targets = [...pairs.values()].map((each) => `1 ${weightOf(each)} ${each.port} ${targetOf(input, each)}.`);
  return {
    code: addresses.length === 0 && settings.criticalIsMissing ? "NXDOMAIN" : "NOERROR",
    records: [
      ...addresses.map((data) => ({ name, type: addressType(data), ttl, data })),
      ...targets.map((data) => ({ name, type: "SRV", ttl, data })),
    ],
  };
}

/** What clients of Consul's API register may have an address of any kind. */
function addressType(address: string): string {
  if (isIpv4(address)) return "A";
  return address.includes(":") ? "AAAA" : "CNAME";
}

/** An endpoint on its host's own address is named after the host, any other after its address, unless that is a name. */
function targetOf({ hosts, domain, datacenter }: ExplainInput, { host, address }: Endpoint): string {
  const known = hosts.some((each) => each.name === host && each.address === address);
  if (known) return `${host}.node.${datacenter}.${domain}`;
  if (!isIpv4(address)) return address;
  return `${ipv4ToNumber(address).toString(16).padStart(8, "0")}.addr.${datacenter}.${domain}`;
}

function excludedOf(
  input: ExplainInput,
  candidate: ServiceCandidate,
  chosen: readonly Endpoint[],
): NameExplanation["excluded"] {
  const visible = instancesOf(input).filter((each) => each.service === candidate.service);
  const answered = new Set(chosen.map((each) => each.id));
  const left = visible.filter((each) => !answered.has(each.id));
  const withheld = input.withheld.filter(({ endpoint }) => endpoint.service === candidate.service);
  return [
    ...left.map((endpoint) => ({ endpoint: endpoint.id, reason: reasonOf(endpoint, candidate) })),
    ...withheld.map(({ endpoint, reason }) => ({
      endpoint: endpoint.id,
      reason: reason === "draining" ? "its instance is draining" : `host "${endpoint.host}" is down`,
    })),
  ].toSorted((a, b) => (a.endpoint < b.endpoint ? -1 : 1));
}

function reasonOf(endpoint: Endpoint, candidate: ServiceCandidate): string {
  if (fits(endpoint, candidate)) return `its health is ${endpoint.health}`;
  if (candidate.protocol !== null && endpoint.protocol !== candidate.protocol) return `it speaks ${endpoint.protocol}`;
  return endpoint.tags.length === 0 ? "it has no tags" : `its tags are ${endpoint.tags.join(", ")}`;
}

function unique(excluded: NameExplanation["excluded"]): NameExplanation["excluded"] {
  return [...new Map(excluded.map((each) => [each.endpoint, each])).values()];
}
