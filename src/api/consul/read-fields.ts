/**
 * Bodies as Consul reads them: names in any case, with or without underscores (`docker_container_id`), and unknown ones
 * refused, so that a typo is seen.
 */
import { parseDuration } from "../../discovery/registry/parse-duration.ts";
import { registryError } from "../../discovery/registry/registry-error.ts";
import { firstJsonValue } from "../../model/first-json-value.ts";
import { parseExactJson } from "../../model/exact-json.ts";
import type { HttpRequest } from "../../platform/ports/http.ts";
import { isObject } from "../read-json.ts";

/**
 * What is in a body of a request; empty is null. As Consul's decoder does it (Go's `json.Decoder`), the first value is taken and
 * what comes after it is not looked at. @throws AppError 400 for anything but JSON in UTF-8.
 */
export async function readJsonBody(request: HttpRequest): Promise<unknown> {
  const bytes = await request.body();
  if (bytes.byteLength === 0) return null;
  try {
    return parse(bytes);
  } catch (error) {
    const first = firstJsonValue(bytes);
    if (first.length < bytes.length) return readFirst(first);
    throw undecodable(error);
  }
}

function readFirst(bytes: Uint8Array): unknown {
  try {
    return parse(bytes);
  } catch (error) {
    throw undecodable(error);
  }
}

function parse(bytes: Uint8Array): unknown {
  return parseExactJson(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
}

function undecodable(error: unknown): Error {
  return badRequest(`Request decode failed: ${error instanceof Error ? error.message : "not JSON"}`);
}

/** The body as an object. @throws AppError 400. */
export async function readFields(request: HttpRequest): Promise<Fields> {
  return Fields.of((await readJsonBody(request)) ?? {}, "body");
}

export function badRequest(message: string): Error {
  return registryError(400, message);
}

export class Fields {
  readonly #values = new Map<string, unknown>();
  readonly #names = new Map<string, string>();
  readonly #unread: Set<string>;
  readonly #where: string;

  /** @throws AppError 400 when it is no object. */
  static of(value: unknown, where: string): Fields {
    if (!isObject(value)) throw badRequest(`Request decode failed: expected an object for ${where}`);
    return new Fields(value, where);
  }

  private constructor(value: Readonly<Record<string, unknown>>, where: string) {
    this.#where = where;
    for (const [name, each] of Object.entries(value)) {
      const key = fold(name);
      this.#names.set(key, name);
      // Clients send null for what they leave out.
      if (each !== null) this.#values.set(key, each);
    }
    this.#unread = new Set(this.#names.keys());
  }

  /** As they came. */
  names(): readonly string[] {
    return [...this.#values.keys()].map((key) => this.#names.get(key) ?? key);
  }

  has(name: string): boolean {
    return this.#values.has(fold(name));
  }

  raw(name: string): unknown {
    const key = fold(name);
    this.#unread.delete(key);
    return this.#values.get(key);
  }

  string(name: string, otherwise = ""): string {
    const value = this.raw(name);
    if (value === undefined) return otherwise;
    // A NUL is in no name, and ids of the catalog are told apart by it.
    return typeof value === "string" && !value.includes("\0") ? value : this.#fail(name, "a string without NUL");
  }

  boolean(name: string, otherwise = false): boolean {
    const value = this.raw(name);
    if (value === undefined) return otherwise;
    return typeof value === "boolean" ? value : this.#fail(name, "true or false");
  }

  integer(name: string, otherwise = 0): number {
    const value = this.raw(name);
    if (value === undefined) return otherwise;
    return typeof value === "number" && Number.isSafeInteger(value) ? value : this.#fail(name, "a whole number");
  }

  /** An unsigned 64-bit number. */
  uint(name: string): bigint {
    const value = this.raw(name) ?? 0;
    const number = typeof value === "number" && Number.isSafeInteger(value) ? BigInt(value) : value;
    if (typeof number !== "bigint" || number < 0n || number >= 2n ** 64n) return this.#fail(name, "an unsigned number");
    return number;
  }

  strings(name: string): readonly string[] {
    const value = this.raw(name);
    if (value === undefined) return [];
    if (!Array.isArray(value) || !value.every((each) => typeof each === "string"))
      return this.#fail(name, "a list of strings");
    return value as readonly string[];
  }

  stringMap(name: string): Readonly<Record<string, string>> {
    const value = this.raw(name);
    if (value === undefined) return {};
    if (!isObject(value) || !Object.values(value).every((each) => typeof each === "string"))
      return this.#fail(name, "a map of strings");
    return value as Readonly<Record<string, string>>;
  }

  /** Null when it is not there. */
  object(name: string): Fields | null {
    const value = this.raw(name);
    return value === undefined ? null : Fields.of(value, `${this.#where}.${name}`);
  }

  objects(name: string): readonly Fields[] {
    const value = this.raw(name);
    if (value === undefined) return [];
    if (!Array.isArray(value)) return this.#fail(name, "a list");
    return value.map((each: unknown, at) => Fields.of(each, `${this.#where}.${name}[${at}]`));
  }

  /** As it came, for what is kept and not looked into. */
  opaque(name: string): Readonly<Record<string, unknown>> {
    const value = this.raw(name);
    if (value === undefined) return {};
    return isObject(value) ? value : this.#fail(name, "an object");
  }

  /** Milliseconds of "10s" or of a number of nanoseconds; `otherwise` when it is not there. */
  durationMs(name: string, otherwise = 0): number {
    const value = this.raw(name);
    if (value === undefined || value === "") return otherwise;
    if (typeof value === "number" || typeof value === "bigint") return Number(value) / 1e6;
    const ms = typeof value === "string" ? parseDuration(value) : null;
    return ms ?? this.#fail(name, 'a duration such as "10s"');
  }

  /** Names that clients send and that mean nothing here. */
  ignore(...names: readonly string[]): void {
    for (const name of names) this.#unread.delete(fold(name));
  }

  /** @throws AppError 400 when there is a field that nobody asked for. */
  finish(): void {
    for (const key of this.#unread)
      throw badRequest(`Request decode failed: json: unknown field ${JSON.stringify(this.#names.get(key) ?? key)}`);
  }

  #fail(name: string, wanted: string): never {
    throw badRequest(`Request decode failed: ${this.#where}.${name} must be ${wanted}`);
  }
}

function fold(name: string): string {
  return name.toLowerCase().replaceAll("_", "");
}
