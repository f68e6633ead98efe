/**
 * Reading JSON that people and old clients wrote: every fault is collected with its path, in the notation of Marathon
 * (`/healthChecks(0)/path`), so that one answer names all that has to be changed.
 */
import { AppError, type ErrorDetail } from "../model/error.ts";

/** @throws AppError `invalid`, details.status 400, for anything but JSON; details.text has the parser's words. */
export function parseJsonBody(bytes: Uint8Array): unknown {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw malformed("Invalid JSON", "The body is not UTF-8", cause);
  }
  if (text.trim() === "")
    throw malformed("Please specify data in JSON format", "No content to map due to end-of-input", undefined);
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw malformed("Invalid JSON", cause instanceof Error ? cause.message : "not JSON", cause);
  }
}

function malformed(message: string, text: string, cause: unknown): AppError {
  return new AppError("invalid", message, { cause, details: { status: 400, text }, hint: "Send one JSON object" });
}

/** The body as an object. @throws AppError `invalid`, details.status 400, for another root. */
export function expectObject(value: unknown): Readonly<Record<string, unknown>> {
  if (isObject(value)) return value;
  throw malformed("Please specify data in JSON format", `Expected an object, got ${kindOf(value)}`, undefined);
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function kindOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "an array" : `a ${typeof value}`;
}

/** Faults of one input: of form (a wrong type) and of sense (a value that is not allowed). */
export class Issues {
  readonly #form: ErrorDetail[] = [];
  readonly #sense: ErrorDetail[] = [];

  /** `message` is one of Marathon's codes, see `describeIssue`. */
  form(path: string, message: string): null {
    this.#form.push({ path, message });
    return null;
  }

  sense(path: string, message: string): null {
    this.#sense.push({ path: path === "" ? "/" : path, message });
    return null;
  }

  /** @throws AppError `invalid` with all that was found; details.kind tells which of Marathon's two texts it gets. */
  throwIfAny(what: string): void {
    const fields = [...this.#form, ...this.#sense];
    const [first] = fields;
    if (first === undefined) return;
    const more = fields.length === 1 ? "" : ` (and ${fields.length - 1} more)`;
    throw new AppError("invalid", `Cannot use ${what}: ${first.path} ${describeIssue(first.message)}${more}`, {
      fields,
      details: { kind: this.#form.length > 0 ? "form" : "sense" },
    });
  }
}

const DESCRIPTIONS: Readonly<Record<string, string>> = {
  "error.path.missing": "is missing",
  "error.expected.jsstring": "must be a string",
  "error.expected.jsnumber": "must be a number",
  "error.expected.int": "must be a whole number",
  "error.expected.jsboolean": "must be true or false",
  "error.expected.jsarray": "must be a list",
  "error.expected.jsobject": "must be an object",
};

/** Marathon's code in words; anything else is words already. */
export function describeIssue(message: string): string {
  return DESCRIPTIONS[message] ?? message;
}

/** A look at one JSON object that notes faults as it is read. A field that is null is a field that is not there. */
export class JsonObject {
  readonly path: string;
  readonly issues: Issues;
  readonly #value: Readonly<Record<string, unknown>>;

  constructor(value: Readonly<Record<string, unknown>>, path: string, issues: Issues) {
    this.#value = value;
    this.path = path;
    this.issues = issues;
  }

  static of(value: unknown, path: string, issues: Issues): JsonObject | null {
    return isObject(value) ? new JsonObject(value, path, issues) : issues.form(path, "error.expected.jsobject");
  }

  names(): readonly string[] {
    return Object.keys(this.#value);
  }

  at(name: string): string {
    return `${this.path}/${name}`;
  }

  /** The value as it came; undefined when it is missing or null. */
  raw(name: string): unknown {
    return Object.hasOwn(this.#value, name) ? (this.#value[name] ?? undefined) : undefined;
  }

  has(name: string): boolean {
    return this.raw(name) !== undefined;
  }

  string(name: string): string | null {
    const value = this.raw(name);
    if (value === undefined || typeof value === "string") return value ?? null;
    return this.issues.form(this.at(name), "error.expected.jsstring");
  }

  /** As `string`, and a fault when it is missing. */
  needString(name: string): string | null {
    if (!this.has(name)) return this.issues.form(this.at(name), "error.path.missing");
    return this.string(name);
  }

  boolean(name: string): boolean | null {
    const value = this.raw(name);
    if (value === undefined || typeof value === "boolean") return value ?? null;
    return this.issues.form(this.at(name), "error.expected.jsboolean");
  }

  number(name: string, least = 0): number | null {
    const value = this.raw(name);
    if (value === undefined) return null;
    if (typeof value !== "number" || !Number.isFinite(value)) {
      return this.issues.form(this.at(name), "error.expected.jsnumber");
    }
    if (value < least) return this.issues.sense(this.at(name), `got ${value}, expected ${least} or more`);
    return value;
  }

  /** A number without a fraction: 3 and 3.000000 are the same JSON. */
  integer(name: string, least = 0, most = Number.MAX_SAFE_INTEGER): number | null {
    const value = this.number(name, least);
    if (value === null) return null;
    if (!Number.isSafeInteger(value)) return this.issues.form(this.at(name), "error.expected.int");
    if (value > most) return this.issues.sense(this.at(name), `got ${value}, expected between ${least} and ${most}`);
    return value;
  }

  object(name: string): JsonObject | null {
    const value = this.raw(name);
    return value === undefined ? null : JsonObject.of(value, this.at(name), this.issues);
  }

  /** Items with their paths; null when missing or not a list. */
  list(name: string): readonly { readonly value: unknown; readonly path: string }[] | null {
    const value = this.raw(name);
    if (value === undefined) return null;
    if (!Array.isArray(value)) return this.issues.form(this.at(name), "error.expected.jsarray");
    return value.map((item: unknown, index) => ({ value: item, path: `${this.at(name)}(${index})` }));
  }

  objects(name: string): readonly JsonObject[] | null {
    return this.list(name)?.flatMap(({ value, path }) => JsonObject.of(value, path, this.issues) ?? []) ?? null;
  }

  strings(name: string): readonly string[] | null {
    const items = this.list(name);
    if (items === null) return null;
    return items.flatMap(({ value, path }) => {
      if (typeof value === "string") return [value];
      this.issues.form(path, "error.expected.jsstring");
      return [];
    });
  }

  /** A map of strings; {} when it is missing. */
  stringMap(name: string): Readonly<Record<string, string>> {
    const object = this.object(name);
    if (object === null) return {};
    // Object.fromEntries makes own properties, also of a key like __proto__.
    return Object.fromEntries(
      object.names().flatMap((key) => {
        const value = object.raw(key);
        if (typeof value === "string") return [[key, value] as const];
        this.issues.form(object.at(key), "error.expected.jsstring");
        return [];
      }),
    );
  }

  /** One of `known`, compared without regard to case; null when missing or a fault. */
  oneOf<Choice extends string>(name: string, known: readonly Choice[]): Choice | null {
    const text = this.string(name);
    if (text === null) return null;
    const found = known.find((choice) => choice.toLowerCase() === text.toLowerCase());
    return found ?? this.issues.form(this.at(name), `"${text}" is not one of ${known.join(", ")}`);
  }
}
