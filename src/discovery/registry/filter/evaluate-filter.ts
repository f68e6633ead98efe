import { AppError } from "../../../model/error.ts";
import { compileLinearPattern } from "./linear-pattern.ts";
import { type Filter, filterFault, parseFilter } from "./parse-filter.ts";

/** What a selector may lead to: a plain value, a list, a map of anything, or fields by name. A list of objects is its fields. */
export type Shape = "text" | "number" | "boolean" | "texts" | "map" | { readonly [field: string]: Shape };

type Predicate = (item: unknown) => boolean;

/**
 * Makes a test out of an expression for items of that shape; "" lets all pass.
 * @throws AppError 400 for an expression that cannot be read or that asks for a field there is not.
 */
export function compileFilter(text: string, shape: Shape): Predicate {
  return text.trim() === "" ? () => true : compile(parseFilter(text), shape);
}

function compile(filter: Filter, shape: Shape): Predicate {
  switch (filter.kind) {
    case "and":
    case "or": {
      const [left, right] = [compile(filter.left, shape), compile(filter.right, shape)];
      return filter.kind === "and" ? (item) => left(item) && right(item) : (item) => left(item) || right(item);
    }
    case "not": {
      const operand = compile(filter.operand, shape);
      return (item) => !operand(item);
    }
    case "match":
      return compileMatch(filter, shape);
  }
}

function compileMatch({ selector, operator, value }: Filter & { kind: "match" }, shape: Shape): Predicate {
  const kind = kindAt(shape, selector);
  switch (operator) {
    case "==":
    case "!=": {
      const equals = equalTo(kind, value, selector);
      return operator === "==" ? (item) => some(item, selector, equals) : (item) => !some(item, selector, equals);
    }
    case "in":
    case "not in": {
      if (kind === "number" || kind === "boolean") throw filterFault(`${selector.join(".")} has no members`);
      const has = (found: unknown): boolean => contains(found, value);
      return operator === "in" ? (item) => some(item, selector, has) : (item) => !some(item, selector, has);
    }
    case "matches":
    case "not matches": {
      if (kind === "number" || kind === "boolean") throw filterFault(`${selector.join(".")} is no text`);
      const isFound = compilePattern(value);
      const fits = (found: unknown): boolean => typeof found === "string" && isFound(found);
      return operator === "matches" ? (item) => some(item, selector, fits) : (item) => !some(item, selector, fits);
    }
    case "is empty":
      return (item) => valuesAt(item, selector).every(isEmpty);
    case "is not empty":
      return (item) => !valuesAt(item, selector).every(isEmpty);
  }
}

/** What lies at the end of the selector. @throws AppError 400 when nothing can. */
function kindAt(shape: Shape, selector: readonly string[]): Shape {
  let at: Shape = shape;
  for (const part of selector) {
    if (at === "map") at = "text";
    else if (typeof at === "object" && Object.hasOwn(at, part)) at = at[part] ?? "text";
    else throw filterFault(`Selector ${JSON.stringify(selector.join("."))} is not valid`);
  }
  return at;
}

function equalTo(kind: Shape, value: string, selector: readonly string[]): Predicate {
  if (kind === "number") {
    const number = Number(value);
    if (value.trim() === "" || Number.isNaN(number)) throw filterFault(`${JSON.stringify(value)} is no number`);
    return (found) => (typeof found === "number" || typeof found === "bigint") && Number(found) === number;
  }
  if (kind === "boolean") {
    if (value !== "true" && value !== "false") throw filterFault(`${JSON.stringify(value)} is neither true nor false`);
    return (found) => found === (value === "true");
  }
  if (kind !== "text") throw filterFault(`${selector.join(".")} cannot be compared`);
  return (found) => found === value;
}

function compilePattern(text: string): (text: string) => boolean {
  try {
    return compileLinearPattern(text);
  } catch (error) {
    throw error instanceof AppError ? filterFault(error.message) : error;
  }
}

function some(item: unknown, selector: readonly string[], fits: Predicate): boolean {
  return valuesAt(item, selector).some(fits);
}

/** Several when the way leads through a list of objects. */
function valuesAt(item: unknown, selector: readonly string[]): readonly unknown[] {
  let found: readonly unknown[] = [item];
  for (const part of selector) {
    found = found
      .flatMap((each): readonly unknown[] => (Array.isArray(each) ? each : [each]))
      .flatMap((each) => fieldOf(each, part));
  }
  return found;
}

function fieldOf(value: unknown, part: string): readonly unknown[] {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, part)) return [];
  return [(value as Readonly<Record<string, unknown>>)[part]];
}

function contains(found: unknown, value: string): boolean {
  if (typeof found === "string") return found.includes(value);
  if (Array.isArray(found)) return found.includes(value);
  return typeof found === "object" && found !== null && Object.hasOwn(found, value);
}

function isEmpty(value: unknown): boolean {
  if (value === null || value === undefined || value === "") return true;
  if (Array.isArray(value)) return value.length === 0;
  return typeof value === "object" && Object.keys(value).length === 0;
}
