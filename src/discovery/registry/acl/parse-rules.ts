/**
 * Consul's ACL rules, in HCL or JSON:
 *
 *   key_prefix "app/" { policy = "read" }      {"key_prefix": {"app/": {"policy": "read"}}}
 *   operator = "read"                          {"operator": "read"}
 */
import { parseHcl } from "../../../model/parse-hcl.ts";
import { registryError } from "../registry-error.ts";

export type Level = "deny" | "read" | "list" | "write";

export const NAMED_RESOURCES = ["agent", "event", "key", "node", "query", "service", "session"] as const;
export const WHOLE_RESOURCES = ["acl", "operator", "keyring", "mesh", "peering"] as const;
export type NamedResource = (typeof NAMED_RESOURCES)[number];
export type WholeResource = (typeof WHOLE_RESOURCES)[number];

export interface Rule {
  readonly resource: NamedResource | WholeResource;
  /** Of names, "" for whole resources. */
  readonly name: string;
  readonly prefix: boolean;
  readonly level: Level;
}

const RULES_CHARS_MAX = 256 * 1024;
const DEPTH_MAX = 6;
const LEVELS: ReadonlySet<string> = new Set(["deny", "read", "list", "write"]);

/** @throws AppError 400 that says what cannot be read. */
export function parseRules(text: string): readonly Rule[] {
  if (text.trim() === "") return [];
  if (text.length > RULES_CHARS_MAX) throw fault(`they are longer than ${RULES_CHARS_MAX} characters`);
  const tree = text.trimStart().startsWith("{") ? parseJsonTree(text) : toTree(parseHcl(text, fault), 0);
  return [...tree].flatMap(([kind, body]) => rulesOf(kind, body));
}

/** Nested blocks: a value is a text or another level of names. */
type Tree = Map<string, Tree | string>;

function rulesOf(kind: string, body: Tree | string): readonly Rule[] {
  const whole = WHOLE_RESOURCES.find((each) => each === kind);
  if (whole !== undefined) {
    if (typeof body !== "string") throw fault(`"${kind}" takes a policy and no name`);
    return [{ resource: whole, name: "", prefix: false, level: readLevel(body, kind) }];
  }
  const prefix = kind.endsWith("_prefix");
  const resource = NAMED_RESOURCES.find((each) => each === (prefix ? kind.slice(0, -"_prefix".length) : kind));
  if (resource === undefined) throw fault(`there is no resource "${kind}"`);
  if (typeof body === "string") throw fault(`"${kind}" needs a name`);
  return [...body].map(([name, rule]) => {
    const policy = typeof rule === "string" ? undefined : rule.get("policy");
    if (typeof policy !== "string") throw fault(`${kind} "${name}" has no policy`);
    return { resource, name, prefix, level: readLevel(policy, `${kind} "${name}"`) };
  });
}

function readLevel(text: string, where: string): Level {
  if (!LEVELS.has(text)) throw fault(`${where} has the unknown policy "${text}"`);
  return text as Level;
}

function parseJsonTree(text: string): Tree {
  try {
    return toTree(JSON.parse(text) as unknown, 0);
  } catch (error) {
    if (error instanceof SyntaxError) throw fault(error.message);
    throw error;
  }
}

function toTree(value: unknown, depth: number): Tree {
  if (typeof value !== "object" || value === null || depth > DEPTH_MAX) throw fault("an object is missing or too deep");
  const tree: Tree = new Map();
  // HCL's JSON form may have lists of blocks.
  const parts: readonly unknown[] = Array.isArray(value) ? value : [value];
  for (const part of parts) {
    if (typeof part !== "object" || part === null) throw fault("an object is missing or too deep");
    for (const [name, each] of Object.entries(part))
      tree.set(name, typeof each === "string" ? each : toTree(each, depth + 1));
  }
  return tree;
}

function fault(what: string): Error {
  return registryError(400, `Failed to parse ACL rules: ${what}`);
}
