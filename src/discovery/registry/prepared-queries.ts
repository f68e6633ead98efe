/** Prepared queries: a service with conditions under a name, or a template for all names of a kind. */
import type { NamedQuery } from "../../model/consul.ts";
import { hasPrefixTemplate, renderTemplate } from "./query-template.ts";
import type { PreparedQuery } from "./records.ts";
import { registryError } from "./registry-error.ts";
import type { TableReader, Transaction, Unstamped } from "./tables.ts";

/** Stores a new query or a change of one. @throws AppError 400 or 500 in Consul's words when it cannot be. */
export function putQuery(tx: Transaction, query: Unstamped<PreparedQuery>): void {
  if (query.service.service === "") throw registryError(400, "Must provide a Service name to query");
  if (query.session !== "" && tx.get("session", query.session) === null)
    throw registryError(500, `invalid session ${JSON.stringify(query.session)}`);
  for (const other of tx.list("query", "")) {
    if (other.id === query.id || other.name !== query.name) continue;
    if (isTemplate(other) === isTemplate(query) && (query.name !== "" || isTemplate(query)))
      throw registryError(500, `name ${JSON.stringify(query.name)} already exists`);
  }
  if (isTemplate(query)) renderTemplate(query, query.name);
  tx.put("query", query.id, query);
}

export function isTemplate(query: Pick<NamedQuery, "template">): boolean {
  return query.template.type !== "";
}

export function getQuery(tables: TableReader, id: string): PreparedQuery | null {
  return tables.get("query", id);
}

/** By id, by name, else by the template with the longest prefix of the name; templates come filled in. */
export function resolveQuery(tables: TableReader, idOrName: string): PreparedQuery | null {
  const byId = tables.get("query", idOrName);
  return chooseQuery(byId === null ? tables.list("query", "") : [byId], idOrName);
}

/** The same out of a list. @throws AppError 400 for a template that is asked for by its id. */
export function chooseQuery<Query extends NamedQuery>(queries: readonly Query[], idOrName: string): Query | null {
  const byId = queries.find((query) => query.id === idOrName);
  if (byId !== undefined) {
    if (isTemplate(byId))
      throw registryError(400, "prepared query templates can only be resolved up by name, not by ID");
    return byId;
  }
  const byName = queries.find((query) => query.name === idOrName && query.name !== "" && !isTemplate(query));
  if (byName !== undefined) return byName;
  const [best] = queries
    .filter((query) => isTemplate(query) && hasPrefixTemplate(query, idOrName))
    .toSorted((a, b) => b.name.length - a.name.length);
  return best === undefined ? null : renderTemplate(best, idOrName);
}
