/**
 * Consul's ACL rules, in HCL or JSON:
 *
 *   key_prefix "app/" { policy = "read" }      {"key_prefix": {"app/": {"policy": "read"}}}
 *   operator = "read"                          {"operator": "read"}
 */
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
  const tree = text.trimStart().startsWith("{") ? parseJsonTree(text) : new HclReader(text).read();
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
    for (const [name, each] of Object.entries(part as object))
      tree.set(name, typeof each === "string" ? each : toTree(each, depth + 1));
  }
  return tree;
}

const TOKEN = /\s+|#[^\n]*|\/\/[^\n]*|\/\*[^]*?\*\/|([A-Za-z_][\w-]*)|("(?:[^"\\\n]|\\.)*")|([{}=,[\]])/y;

interface Token {
  readonly kind: "word" | "text" | "mark";
  readonly value: string;
}

class HclReader {
  readonly #tokens: readonly Token[];
  #at = 0;

  constructor(text: string) {
    this.#tokens = scan(text);
  }

  read(): Tree {
    const tree = this.#body(0);
    if (this.#at < this.#tokens.length) throw fault(`"${this.#peek()?.value ?? ""}" is not expected`);
    return tree;
  }

  #body(depth: number): Tree {
    if (depth > DEPTH_MAX) throw fault("blocks lie too deep in each other");
    const tree: Tree = new Map();
    for (let token = this.#peek(); token !== undefined && token.value !== "}"; token = this.#peek()) {
      if (token.kind === "mark") {
        if (token.value !== ",") throw fault(`"${token.value}" is not expected`);
        this.#at += 1;
        continue;
      }
      this.#at += 1;
      this.#entry(tree, token.value, depth);
    }
    return tree;
  }

  /** `name = "value"`, `name { … }` or `name "label" { … }`. */
  #entry(tree: Tree, name: string, depth: number): void {
    const next = this.#take();
    if (next.kind === "mark" && next.value === "=") {
      const value = this.#take();
      if (value.kind === "mark" && value.value === "{") tree.set(name, this.#block(depth));
      else if (value.kind === "mark") throw fault(`"${name}" has no value`);
      else tree.set(name, value.value);
      return;
    }
    if (next.kind === "mark" && next.value === "{") {
      tree.set(name, this.#block(depth));
      return;
    }
    if (next.kind === "mark") throw fault(`"${next.value}" is not expected after "${name}"`);
    const known = tree.get(name);
    const labels: Tree = known instanceof Map ? known : new Map();
    tree.set(name, labels);
    this.#entry(labels, next.value, depth + 1);
  }

  #block(depth: number): Tree {
    const tree = this.#body(depth + 1);
    if (this.#take().value !== "}") throw fault("a block does not end");
    return tree;
  }

  #peek(): Token | undefined {
    return this.#tokens[this.#at];
  }

  #take(): Token {
    const token = this.#tokens[this.#at];
    if (token === undefined) throw fault("they end too early");
    this.#at += 1;
    return token;
  }
}

function scan(text: string): readonly Token[] {
  const tokens: Token[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const at = TOKEN.lastIndex;
    const found = TOKEN.exec(text);
    if (found === null) throw fault(`line ${text.slice(0, at).split("\n").length} cannot be read`);
    const [, word, quoted, mark] = found;
    if (word !== undefined) tokens.push({ kind: "word", value: word });
    if (quoted !== undefined) tokens.push({ kind: "text", value: unquote(quoted) });
    if (mark !== undefined) tokens.push({ kind: "mark", value: mark });
  }
  return tokens;
}

function unquote(quoted: string): string {
  return quoted.slice(1, -1).replaceAll(/\\(.)/g, (_all, escaped: string) => ESCAPES[escaped] ?? escaped);
}

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r" };

function fault(what: string): Error {
  return registryError(400, `Failed to parse ACL rules: ${what}`);
}
