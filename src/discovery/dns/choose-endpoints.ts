import type { Endpoint } from "../../model/endpoint.ts";
import type { ServiceCandidate } from "./parse-zone-name.ts";

export interface ChosenService {
  readonly candidate: ServiceCandidate;
  /** All of that service, sorted by id. */
  readonly all: readonly Endpoint[];
  /** Those with the tag and protocol asked for, whatever their health. */
  readonly matching: readonly Endpoint[];
  /** Those that are answered with. */
  readonly passing: readonly Endpoint[];
}

/**
 * The first candidate that any endpoint fits. Health does not take part in the choice: a name whose endpoints are all
 * critical exists and has no addresses, which is not the same answer as a name that nobody has.
 */
export function chooseEndpoints(
  candidates: readonly ServiceCandidate[],
  endpointsOf: (service: string) => Iterable<Endpoint>,
): ChosenService | null {
  for (const candidate of candidates) {
    const all = [...endpointsOf(candidate.service)].toSorted((a, b) => (a.id < b.id ? -1 : 1));
    const matching = all.filter((endpoint) => fits(endpoint, candidate));
    if (matching.length === 0) continue;
    return { candidate, all, matching, passing: matching.filter((endpoint) => endpoint.health === "passing") };
  }
  return null;
}

export function fits(endpoint: Endpoint, { tag, protocol }: ServiceCandidate): boolean {
  if (protocol !== null && endpoint.protocol !== protocol) return false;
  return tag === null || endpoint.tags.some((each) => each.toLowerCase() === tag);
}
