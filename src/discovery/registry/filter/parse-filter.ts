/**
 * Filter expressions of Consul's API (the grammar of go-bexpr):
 *
 *   Service.Meta.env == "prod" and ("v1" in Service.Tags or not Checks.Status == critical)
 */
import { registryError } from "../registry-error.ts";

export type MatchOperator = "==" | "!=" | "in" | "not in" | "is empty" | "is not empty" | "matches" | "not matches";

export type Filter =
  | { readonly kind: "and" | "or"; readonly left: Filter; readonly right: Filter }
  | { readonly kind: "not"; readonly operand: Filter }
  | {
      readonly kind: "match";
      readonly selector: readonly string[];
      readonly operator: MatchOperator;
      /** "" for `is empty`. */
      readonly value: string;
    };

interface Token {
  readonly kind: "word" | "text" | "mark" | "end";
  readonly value: string;
}

const FILTER_CHARS_MAX = 10_240;
const DEPTH_MAX = 64;
const TOKEN =
  /\s+|("(?:[^"\\]|\\.)*"|`[^`]*`)|(==|!=|[()[\].])|(-?\d+(?:\.\d+)?(?![\w])|[A-Za-z_][\w-]*(?:\/[\w-]+)*)/y;

/** @throws AppError 400 for anything that is no expression. */
export function parseFilter(text: string): Filter {
  if (text.length > FILTER_CHARS_MAX) throw filterFault(`it is longer than ${FILTER_CHARS_MAX} characters`);
  return new FilterReader(scan(text)).read();
}

export function filterFault(what: string): Error {
  return registryError(400, `Failed to create boolean expression evaluator: ${what}`);
}

function scan(text: string): readonly Token[] {
  const tokens: Token[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const at = TOKEN.lastIndex;
    const found = TOKEN.exec(text);
    if (found === null) throw filterFault(`no match found at position ${at + 1}`);
    const [, quoted, mark, word] = found;
    if (quoted !== undefined) tokens.push({ kind: "text", value: unquote(quoted) });
    if (mark !== undefined) tokens.push({ kind: "mark", value: mark });
    if (word !== undefined) tokens.push({ kind: "word", value: word });
  }
  return tokens;
}

function unquote(quoted: string): string {
  const inner = quoted.slice(1, -1);
  return quoted.startsWith("`")
    ? inner
    : inner.replaceAll(/\\(.)/gs, (_all, escaped: string) => ESCAPES[escaped] ?? escaped);
}

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r" };
const END: Token = { kind: "end", value: "end of the expression" };

class FilterReader {
  readonly #tokens: readonly Token[];
  #at = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  read(): Filter {
    const filter = this.#or(0);
    if (this.#peek() !== END) throw this.#unexpected();
    return filter;
  }

  #or(depth: number): Filter {
    let left = this.#and(depth);
    while (this.#takeWord("or")) left = { kind: "or", left, right: this.#and(depth) };
    return left;
  }

  #and(depth: number): Filter {
    let left = this.#not(depth);
    while (this.#takeWord("and")) left = { kind: "and", left, right: this.#not(depth) };
    return left;
  }

  #not(depth: number): Filter {
    if (depth > DEPTH_MAX) throw filterFault("it is nested too deep");
    if (this.#takeWord("not")) return { kind: "not", operand: this.#not(depth + 1) };
    if (this.#takeMark("(")) {
      const inner = this.#or(depth + 1);
      if (!this.#takeMark(")")) throw this.#unexpected();
      return inner;
    }
    return this.#match();
  }

  /** A selector with what is said of it, or a value that is in one. */
  #match(): Filter {
    const first = this.#peek();
    if (first.kind === "text" || this.#isValueBeforeIn()) {
      this.#at += 1;
      const operator = this.#takeWord("not") ? "not in" : "in";
      if (!this.#takeWord("in")) throw this.#unexpected();
      return { kind: "match", selector: this.#selector(), operator, value: first.value };
    }
    const selector = this.#selector();
    if (this.#takeWord("is")) {
      const operator = this.#takeWord("not") ? "is not empty" : "is empty";
      if (!this.#takeWord("empty")) throw this.#unexpected();
      return { kind: "match", selector, operator, value: "" };
    }
    const operator = this.#operator();
    return { kind: "match", selector, operator, value: this.#value() };
  }

  #operator(): MatchOperator {
    if (this.#takeMark("==")) return "==";
    if (this.#takeMark("!=")) return "!=";
    const negated = this.#takeWord("not");
    if (this.#takeWord("contains")) return negated ? "not in" : "in";
    if (this.#takeWord("matches")) return negated ? "not matches" : "matches";
    throw this.#unexpected();
  }

  /** `web in Tags`: a bare word is a value when `in` or `not in` comes next. */
  #isValueBeforeIn(): boolean {
    const [first, second, third] = [0, 1, 2].map((ahead) => this.#tokens[this.#at + ahead]);
    if (first?.kind !== "word" || second?.kind !== "word") return false;
    return second.value === "in" || (second.value === "not" && third?.kind === "word" && third.value === "in");
  }

  #selector(): readonly string[] {
    const first = this.#peek();
    if (first.kind !== "word" || !/^[A-Za-z_]/.test(first.value)) throw this.#unexpected();
    this.#at += 1;
    const parts = [first.value];
    for (;;) {
      if (this.#takeMark(".")) {
        const part = this.#peek();
        if (part.kind !== "word") throw this.#unexpected();
        parts.push(part.value);
        this.#at += 1;
      } else if (this.#takeMark("[")) {
        const part = this.#peek();
        if (part.kind !== "text") throw this.#unexpected();
        parts.push(part.value);
        this.#at += 1;
        if (!this.#takeMark("]")) throw this.#unexpected();
      } else {
        return parts;
      }
    }
  }

  #value(): string {
    const token = this.#peek();
    if (token.kind !== "text" && token.kind !== "word") throw this.#unexpected();
    this.#at += 1;
    return token.value;
  }

  #peek(): Token {
    return this.#tokens[this.#at] ?? END;
  }

  #takeWord(word: string): boolean {
    return this.#take("word", word);
  }

  #takeMark(mark: string): boolean {
    return this.#take("mark", mark);
  }

  #take(kind: Token["kind"], value: string): boolean {
    const token = this.#peek();
    if (token.kind !== kind || token.value !== value) return false;
    this.#at += 1;
    return true;
  }

  #unexpected(): Error {
    return filterFault(`${JSON.stringify(this.#peek().value)} is not expected here`);
  }
}
