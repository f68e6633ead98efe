/** Encodes the instances that a name is answered with. */
import type { DnsSettings } from "../../model/dns-settings.ts";
import { addressBytes, addressHex } from "./address-bytes.ts";
import { type NameKey, nameKey } from "./domain-name.ts";
import {
  type RecordSet,
  type SrvTarget,
  type WeightedAddress,
  addressRecord,
  addressRecords,
  aliasRecords,
  joinRecords,
  srvRecords,
  textRecord,
} from "./record-set.ts";
import { TYPE_A, TYPE_AAAA, TYPE_ANY, TYPE_CNAME, TYPE_SRV } from "./wire-format.ts";
import { type ZoneInstance, type ZoneNode, weightOf } from "./zone-instance.ts";

export interface RecordContext {
  /** The domain that was asked, and under which targets are named. */
  readonly domain: string;
  readonly datacenter: string;
  readonly ttlSeconds: number;
  readonly settings: Pick<DnsSettings, "addressesMax" | "nodeMetaTxt" | "nodeTtlSeconds">;
  readonly nodeOf: (name: string) => ZoneNode | undefined;
}

/** Records by type; `alias` is the target of the CNAME record that stands for all others. */
export interface NamedRecords {
  readonly records: ReadonlyMap<number, RecordSet>;
  readonly alias: NameKey | null;
}

export function serviceRecords(instances: readonly ZoneInstance[], context: RecordContext): NamedRecords {
  const addresses = new Map<string, WeightedAddress>();
  const targets = new Map<string, SrvTarget>();
  let alias: NameKey | null = null;
  for (const instance of instances) {
    const node = context.nodeOf(instance.host);
    const address = instance.address === "" ? (node?.address ?? "") : instance.address;
    const bytes = addressBytes(address);
    const weight = weightOf(instance);
    const target = bytes === null ? nameKey(address) : targetName(bytes, address, { node, context });
    // No host name, or longer than a name can be under this domain: there is no way to say it.
    if (target === null || address === "") continue;
    if (bytes === null) alias ??= target;
    else addAddress(addresses, address, { bytes, weight });
    const bytes6 = addressBytes(instance.address6 ?? "");
    if (bytes6 !== null) addAddress(addresses, instance.address6 ?? "", { bytes: bytes6, weight });
    const key = `${target}${instance.port}`;
    if (targets.has(key)) continue;
    const extras = bytes === null ? [] : targetExtras(bytes, address, { node, context });
    targets.set(key, { target, port: instance.port, weight, extras });
  }
  const records = addressSets([...addresses.values()], context);
  if (targets.size > 0) records.set(TYPE_SRV, srvRecords([...targets.values()], context.ttlSeconds));
  // Where there are addresses, they are the better answer: one alias would stand for all (RFC 1034 §3.6.2).
  const only = addresses.size === 0 ? alias : null;
  if (only !== null) records.set(TYPE_CNAME, aliasRecords(only, context.ttlSeconds));
  return { records, alias: only };
}

function addAddress(addresses: Map<string, WeightedAddress>, key: string, { bytes, weight }: WeightedAddress): void {
  addresses.set(key, { bytes, weight: Math.max(weight, addresses.get(key)?.weight ?? 0) });
}

/** Sets of A, AAAA and, of both, ANY; none for a family without addresses. */
export function addressSets(
  addresses: readonly WeightedAddress[],
  { ttlSeconds, settings }: Pick<RecordContext, "ttlSeconds" | "settings">,
  texts: readonly Uint8Array[] = [],
): Map<number, RecordSet> {
  const sets = new Map<number, RecordSet>();
  const part = { answersMax: settings.addressesMax, texts };
  const families = [
    [TYPE_A, 4],
    [TYPE_AAAA, 16],
  ] as const;
  for (const [type, length] of families) {
    const own = addresses.filter(({ bytes }) => bytes.length === length);
    if (own.length > 0) sets.set(type, addressRecords(own, ttlSeconds, part));
  }
  const all = [...sets.values()];
  if (all.length > 0) sets.set(TYPE_ANY, { ...joinRecords(all), answersMax: settings.addressesMax });
  return sets;
}

/** Its TXT records, without owner. */
export function nodeTexts({ meta = {} }: ZoneNode, ttlSeconds: number): readonly Uint8Array[] {
  return Object.keys(meta)
    .toSorted()
    .map((key) => textRecord(key, meta[key] ?? "", ttlSeconds));
}

interface TargetOf {
  readonly node: ZoneNode | undefined;
  readonly context: RecordContext;
}

/** An instance on its node's own address is named after the node, any other after its address. */
function targetName(bytes: Uint8Array, address: string, { node, context }: TargetOf): NameKey | null {
  const { datacenter, domain } = context;
  if (node?.address === address) return nameKey(`${node.name}.node.${datacenter}.${domain}`);
  return nameKey(`${addressHex(bytes)}.addr.${datacenter}.${domain}`);
}

function targetExtras(bytes: Uint8Array, address: string, { node, context }: TargetOf): readonly Uint8Array[] {
  const { ttlSeconds, settings } = context;
  if (node?.address !== address) return [addressRecord(bytes, ttlSeconds)];
  const own = addressRecord(bytes, settings.nodeTtlSeconds);
  return settings.nodeMetaTxt ? [own, ...nodeTexts(node, settings.nodeTtlSeconds)] : [own];
}
