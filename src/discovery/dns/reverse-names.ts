import { META_NAME_ONLY } from "../../model/endpoint.ts";
import { type Cidr, cidrContains, isIpv4 } from "../../model/ip.ts";
import { type Cidr6, cidr6Contains, parseIpv6 } from "../../model/ip6.ts";
import { addressKey, formatAddress, parseReverseAddress } from "./address-bytes.ts";
import { type NameKey, nameKey } from "./domain-name.ts";
import { type RecordSet, pointerRecords } from "./record-set.ts";
import { TYPE_ANY, TYPE_PTR } from "./wire-format.ts";
import type { ZoneInstance, ZoneNode } from "./zone-instance.ts";
import { isNameOnly, namesNode } from "./zone-instances.ts";

export const REVERSE_SUFFIXES: readonly string[] = ["\u0007in-addr\u0004arpa\u0000", "\u0003ip6\u0004arpa\u0000"];
/** The part of an IPv6 address that names a network, in hexadecimal digits (RFC 4291 §2.5.1). */
const IPV6_NETWORK_DIGITS = 16;
const NO_RECORDS: ReadonlyMap<number, RecordSet> = new Map();

export interface ReverseOptions {
  readonly domain: string;
  readonly datacenter: string;
  readonly containerDomain: string | null;
  readonly range: Cidr | null;
  readonly range6?: Cidr6 | null;
  readonly ttlSeconds: number;
}

/** Who has an address, by `addressKey`. */
export interface Holders {
  readonly node: (address: string) => ZoneNode | undefined;
  readonly instances: (address: string) => Iterable<ZoneInstance>;
}

/** Several services on one address give several names; the node's own name comes first, the container's last. */
export function findReverse(
  labels: readonly string[],
  options: ReverseOptions,
  holders: Holders,
): ReadonlyMap<number, RecordSet> | "missing" | "outside" {
  const bytes = parseReverseAddress(labels);
  if (bytes === null) return "outside";
  const { domain, datacenter, containerDomain, ttlSeconds } = options;
  const address = formatAddress(bytes);
  const node = holders.node(addressKey(address));
  const here = [...holders.instances(addressKey(address))];
  const services = here.filter(({ meta }) => meta[META_NAME_ONLY] === undefined).map((each) => each.service);
  const containers = here.filter((each) => isNameOnly(each) && !namesNode(each)).map((each) => each.service);
  const nodes = [...(node === undefined ? [] : [node.name]), ...here.filter(namesNode).map((each) => each.service)];
  const names = [
    ...nodes.map((name) => `${name}.node.${datacenter}.${domain}`),
    ...[...new Set(services)].toSorted().map((service) => `${service}.service.${datacenter}.${domain}`),
    ...[...new Set(containers)].toSorted().map((name) => `${name}.${containerDomain ?? domain}`),
  ];
  if (names.length === 0) return isInRange(address, options) ? "missing" : "outside";
  // A long service name may not fit under a long domain; then it has no full name either.
  const records = pointerRecords(
    names.flatMap((name) => nameKey(name) ?? []),
    ttlSeconds,
  );
  if (records.count === 0) return NO_RECORDS;
  return new Map([
    [TYPE_PTR, records],
    [TYPE_ANY, records],
  ]);
}

function isInRange(address: string, { range, range6 = null }: ReverseOptions): boolean {
  if (isIpv4(address)) return range !== null && cidrContains(range, address);
  return range6 !== null && cidr6Contains(range6, parseIpv6(address));
}

/** "2.10.in-addr.arpa" for a range of 16 bits or more; a host outside the range is under the same rule. */
export function reverseZoneOf(labels: readonly string[], range: Cidr | null): NameKey {
  const octets = Math.max(1, Math.min(3, Math.floor((range?.prefix ?? 24) / 8)));
  const kept = labels.at(-2) === "ip6" ? IPV6_NETWORK_DIGITS : octets;
  const key = nameKey(labels.slice(-2 - kept).join("."));
  // A hostile label may hold a dot or a zero byte: then the name itself is as good an owner as any.
  return key ?? ("\u0004arpa\u0000" as NameKey);
}
