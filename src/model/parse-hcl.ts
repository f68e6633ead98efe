/**
 * HashiCorp's configuration language, as far as its data go (HCL 1: no expressions, no interpolation), into the same plain
 * values as JSON:
 *
 *   port = 8500            {"port": 8500}
 *   check { id = "a" }     {"check": {"id": "a"}}, or a list of such objects when there are several
 *   key "app/" { … }       {"key": {"app/": {…}}}
 */

/** Makes the error for what cannot be read; `what` is the end of its sentence. */
export type HclFault = (what: string) => Error;

const DEPTH_MAX = 16;

/** The whole text as one object. @throws what `fault` makes. */
export function parseHcl(text: string, fault: HclFault): Readonly<Record<string, unknown>> {
  return new HclReader(scan(text, fault), fault).read();
}

interface Token {
  readonly kind: "word" | "text" | "number" | "mark";
  readonly value: string;
}

const SPACE = String.raw`\s+|#[^\n]*|\/\/[^\n]*|\/\*[^]*?\*\/`;
const HEREDOC = String.raw`<<-?([A-Za-z_]\w*)\r?\n([^]*?)^[ \t]*\1[ \t]*$`;
const TOKEN = new RegExp(
  `${SPACE}|${HEREDOC}|(-?\\d+(?:\\.\\d+)?(?![\\w.]))|([A-Za-z_][\\w.-]*)|("(?:[^"\\\\\\n]|\\\\.)*")|([{}=:,[\\]])`,
  "my",
);
const ESCAPES: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r" };

function scan(text: string, fault: HclFault): readonly Token[] {
  const tokens: Token[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const at = TOKEN.lastIndex;
    const found = TOKEN.exec(text);
    if (found === null) throw fault(`line ${text.slice(0, at).split("\n").length} cannot be read`);
    const [, heredoc, lines, number, word, quoted, mark] = found;
    if (heredoc !== undefined && lines !== undefined) tokens.push({ kind: "text", value: lines });
    if (number !== undefined) tokens.push({ kind: "number", value: number });
    if (word !== undefined) tokens.push({ kind: "word", value: word });
    if (quoted !== undefined) tokens.push({ kind: "text", value: unquote(quoted) });
    if (mark !== undefined) tokens.push({ kind: "mark", value: mark });
  }
  return tokens;
}

function unquote(quoted: string): string {
  return quoted.slice(1, -1).replaceAll(/\\(.)/g, (_all, escaped: string) => ESCAPES[escaped] ?? escaped);
}

/** A map until all is read: names such as `__proto__` are names like others. */
type Body = Map<string, unknown>;

class HclReader {
  readonly #tokens: readonly Token[];
  readonly #fault: HclFault;
  #at = 0;

  constructor(tokens: readonly Token[], fault: HclFault) {
    this.#tokens = tokens;
    this.#fault = fault;
  }

  read(): Readonly<Record<string, unknown>> {
    const body = this.#body(0);
    if (this.#at < this.#tokens.length) throw this.#fault(`"${this.#peek()?.value ?? ""}" is not expected`);
    return Object.fromEntries(body);
  }

  #body(depth: number): Body {
    if (depth > DEPTH_MAX) throw this.#fault("blocks lie too deep in each other");
    const body: Body = new Map();
    for (let token = this.#peek(); token !== undefined && token.value !== "}"; token = this.#peek()) {
      this.#at += 1;
      if (token.kind === "mark") {
        if (token.value !== ",") throw this.#fault(`"${token.value}" is not expected`);
      } else this.#entry(body, token.value, depth);
    }
    return body;
  }

  /** `name = value`, `name { … }` or `name "label" { … }`. */
  #entry(body: Body, name: string, depth: number): void {
    const next = this.#take();
    if (next.kind === "mark" && (next.value === "=" || next.value === ":")) {
      body.set(name, this.#value(name, depth));
    } else if (next.kind === "mark" && next.value === "{") {
      addBlock(body, name, this.#block(depth));
    } else if (next.kind === "mark") {
      throw this.#fault(`"${next.value}" is not expected after "${name}"`);
    } else {
      const labelled: Body = new Map();
      if (depth > DEPTH_MAX) throw this.#fault("blocks lie too deep in each other");
      this.#entry(labelled, next.value, depth + 1);
      addBlock(body, name, Object.fromEntries(labelled));
    }
  }

  #value(name: string, depth: number): unknown {
    const { kind, value } = this.#take();
    if (kind === "text") return value;
    if (kind === "number") return Number(value);
    if (kind === "word") return value === "true" ? true : value === "false" ? false : value;
    if (value === "{") return this.#block(depth);
    if (value === "[") return this.#list(name, depth + 1);
    throw this.#fault(`"${name}" has no value`);
  }

  #list(name: string, depth: number): readonly unknown[] {
    if (depth > DEPTH_MAX) throw this.#fault("lists lie too deep in each other");
    const list: unknown[] = [];
    for (;;) {
      const token = this.#peek();
      if (token?.kind === "mark" && token.value === "]") break;
      list.push(this.#value(name, depth));
      const after = this.#peek();
      if (after?.kind === "mark" && after.value === ",") this.#at += 1;
      else if (after?.value !== "]") throw this.#fault(`the list "${name}" does not end`);
    }
    this.#at += 1;
    return list;
  }

  #block(depth: number): Readonly<Record<string, unknown>> {
    const body = this.#body(depth + 1);
    // What ends a body before the end of the text is its brace.
    this.#take();
    return Object.fromEntries(body);
  }

  #peek(): Token | undefined {
    return this.#tokens[this.#at];
  }

  #take(): Token {
    const token = this.#tokens[this.#at];
    if (token === undefined) throw this.#fault("its blocks end too early");
    this.#at += 1;
    return token;
  }
}

/** A name that comes again makes a list. */
function addBlock(body: Body, name: string, block: unknown): void {
  const before = body.get(name);
  if (before === undefined) body.set(name, block);
  else if (Array.isArray(before)) before.push(block);
  else body.set(name, [before, block]);
}
