import type { NamedQuery } from "../../model/consul.ts";
import { registryError } from "./registry-error.ts";

const REGEXP_CHARS_MAX = 512;
const HOLE = /\$\{\s*(?:name\.(full|prefix|suffix)|match\(\s*(\d{1,3})\s*\)|agent\.segment)\s*\}/g;

export function hasPrefixTemplate({ name, template }: NamedQuery, asked: string): boolean {
  return template.type === "name_prefix_match" && asked.startsWith(name);
}

/**
 * Fills `${name.full}`, `${name.prefix}`, `${name.suffix}` and `${match(N)}` into the service and its conditions.
 * @throws AppError 400 for a template that cannot be filled.
 */
export function renderTemplate<Query extends Pick<NamedQuery, "name" | "template" | "service">>(
  query: Query,
  asked: string,
): Query {
  const { name, template, service } = query;
  if (template.type !== "name_prefix_match")
    throw registryError(400, `Bad Template: unknown type ${JSON.stringify(template.type)}`);
  const groups = matchGroups(template.regexp, asked);
  const values = { full: asked, prefix: name, suffix: asked.slice(name.length) };
  const fill = (text: string): string => {
    if (text.replaceAll(HOLE, "").includes("${"))
      throw registryError(400, `Bad Template: cannot fill in ${JSON.stringify(text)}`);
    return text.replaceAll(HOLE, (_all, part?: "full" | "prefix" | "suffix", group?: string) => {
      if (part !== undefined) return values[part];
      return group === undefined ? "" : (groups[Number(group)] ?? "");
    });
  };
  const fillMap = (map: Readonly<Record<string, string>>): Readonly<Record<string, string>> =>
    Object.fromEntries(Object.entries(map).map(([key, value]) => [key, fill(value)]));
  const tags = service.tags.map(fill);
  return {
    ...query,
    service: {
      ...service,
      service: fill(service.service),
      tags: template.removeEmptyTags ? tags.filter((tag) => tag !== "") : tags,
      nodeMeta: fillMap(service.nodeMeta),
      serviceMeta: fillMap(service.serviceMeta),
    },
  };
}

function matchGroups(regexp: string, asked: string): readonly (string | undefined)[] {
  if (regexp === "") return [];
  if (regexp.length > REGEXP_CHARS_MAX) throw registryError(400, "Bad Template: the regexp is too long");
  try {
    return new RegExp(regexp, "u").exec(asked) ?? [];
  } catch {
    throw registryError(400, `Bad Template: the regexp ${JSON.stringify(regexp)} cannot be read`);
  }
}
