import { DEFAULT_DNS, type DnsSettings } from "../../model/dns-settings.ts";
import type { Endpoint } from "../../model/endpoint.ts";
import type { ServiceCandidate } from "./parse-zone-name.ts";
import { type PreparedLookup, type ZoneInstance, answering } from "./zone-instance.ts";

export interface ChosenService<Instance extends ZoneInstance = Endpoint> {
  readonly candidate: ServiceCandidate;
  /** All of that service, sorted by id. */
  readonly all: readonly Instance[];
  /** Those with the tag and protocol asked for, whatever their health. */
  readonly matching: readonly Instance[];
  /** Those that are answered with. */
  readonly answered: readonly Instance[];
}

/**
 * The first candidate that any endpoint fits. Health does not take part in the choice: a name whose endpoints are all
 * critical exists and has no addresses, which is not the same answer as a name that nobody has.
 */
export function chooseEndpoints<Instance extends ZoneInstance>(
  candidates: readonly ServiceCandidate[],
  endpointsOf: (service: string) => Iterable<Instance>,
  settings: Pick<DnsSettings, "onlyPassing" | "serveCritical"> = DEFAULT_DNS,
): ChosenService<Instance> | null {
  for (const candidate of candidates) {
    const unsorted = [...endpointsOf(candidate.service)];
    // Sorting only what is there to answer keeps questions for made-up tags of large services cheap.
    if (!unsorted.some((endpoint) => fits(endpoint, candidate))) continue;
    const all = unsorted.toSorted((a, b) => (a.id < b.id ? -1 : 1));
    const matching = all.filter((endpoint) => fits(endpoint, candidate));
    return { candidate, all, matching, answered: answering(matching, settings) };
  }
  return null;
}

export function fits(endpoint: ZoneInstance, { tag, protocol }: ServiceCandidate): boolean {
  if (protocol !== null && endpoint.protocol !== protocol) return false;
  return tag === null || hasTag(endpoint, tag);
}

/** Those that a prepared query means, whatever their health. */
export function matchLookup<Instance extends ZoneInstance>(
  instances: Iterable<Instance>,
  { tags, tagsNot = [], serviceMeta, nodeMeta }: PreparedLookup,
  metaOf: (node: string) => Readonly<Record<string, string>>,
): readonly Instance[] {
  return [...instances]
    .toSorted((a, b) => (a.id < b.id ? -1 : 1))
    .filter(
      (each) =>
        tags.every((tag) => hasTag(each, tag.toLowerCase())) &&
        !tagsNot.some((tag) => hasTag(each, tag.toLowerCase())) &&
        hasMeta(each.meta, serviceMeta) &&
        hasMeta(metaOf(each.host), nodeMeta),
    );
}

function hasTag({ tags }: ZoneInstance, tag: string): boolean {
  return tags.some((each) => each.toLowerCase() === tag);
}

function hasMeta(meta: Readonly<Record<string, string>>, wanted: Readonly<Record<string, string>>): boolean {
  return Object.entries(wanted).every(([key, value]) => meta[key] === value);
}
