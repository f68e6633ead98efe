/** What DNS looks for when somebody asks for `<name>.query.<domain>`. */
import type { NamedQuery } from "../../model/consul.ts";
import type { PreparedLookup } from "../dns/zone-instance.ts";
import { AppError } from "../../model/error.ts";
import { parseDuration } from "./parse-duration.ts";
import { chooseQuery } from "./prepared-queries.ts";

/** By name or id, whatever its case; null when there is none, or it is a template that this name cannot fill. */
export function lookupOf(queries: readonly NamedQuery[], name: string): PreparedLookup | null {
  const wanted = name.toLowerCase();
  const folded = queries.map((query) => ({ ...query, id: query.id.toLowerCase(), name: query.name.toLowerCase() }));
  try {
    const found = chooseQuery(folded, wanted);
    return found === null ? null : toLookup(found);
  } catch (error) {
    if (error instanceof AppError) return null;
    throw error;
  }
}

function toLookup({ service, dnsTtl }: NamedQuery): PreparedLookup {
  const ttlMs = dnsTtl === "" ? null : parseDuration(dnsTtl);
  return {
    service: service.service.toLowerCase(),
    tags: service.tags.filter((tag) => !tag.startsWith("!")),
    tagsNot: service.tags.filter((tag) => tag.startsWith("!")).map((tag) => tag.slice(1)),
    onlyPassing: service.onlyPassing,
    nodeMeta: service.nodeMeta,
    serviceMeta: service.serviceMeta,
    ttlSeconds: ttlMs === null ? null : Math.floor(ttlMs / 1000),
  };
}
