/** What DNS looks for when somebody asks for `<name>.query.<domain>`. */
import type { NamedQuery } from "../../model/consul.ts";
import type { PreparedLookup } from "../dns/zone-instance.ts";
import { AppError } from "../../model/error.ts";
import { parseDuration } from "./parse-duration.ts";
import { isTemplate } from "./prepared-queries.ts";
import { hasPrefixTemplate, renderTemplate } from "./query-template.ts";

/** Null when there is none, or it is a template that this name cannot fill. */
export type QueryLookup = (name: string) => PreparedLookup | null;

/**
 * Finds by name or id, whatever its case. Names of queries are folded once, here: a question costs what its own name is long,
 * however many queries there are.
 */
export function indexQueries(queries: readonly NamedQuery[]): QueryLookup {
  const byId = new Map<string, NamedQuery>();
  const byName = new Map<string, NamedQuery>();
  const byPrefix = new Map<string, NamedQuery>();
  for (const each of queries) {
    const query = { ...each, id: each.id.toLowerCase(), name: each.name.toLowerCase() };
    keepFirst(byId, query.id, query);
    if (!isTemplate(query)) keepFirst(byName, query.name, query);
    else if (hasPrefixTemplate(query, query.name)) keepFirst(byPrefix, query.name, query);
  }
  return (name) => {
    const wanted = name.toLowerCase();
    const own = byId.get(wanted);
    if (own !== undefined) return isTemplate(own) ? null : toLookup(own);
    const named = wanted === "" ? undefined : byName.get(wanted);
    if (named !== undefined) return toLookup(named);
    for (let length = wanted.length; length >= 0; length -= 1) {
      const template = byPrefix.get(wanted.slice(0, length));
      if (template !== undefined) return fill(template, wanted);
    }
    return null;
  };
}

function keepFirst(queries: Map<string, NamedQuery>, key: string, query: NamedQuery): void {
  if (!queries.has(key)) queries.set(key, query);
}

function fill(template: NamedQuery, name: string): PreparedLookup | null {
  try {
    return toLookup(renderTemplate(template, name));
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
