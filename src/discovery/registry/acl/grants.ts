/** What a caller may do, by the rules of all policies that its token has. */
import { registryError } from "../registry-error.ts";
import type { Level, NamedResource, Rule, WholeResource } from "./parse-rules.ts";

export type Resource = NamedResource | WholeResource;
export type Access = "read" | "write";

/** When two policies speak of the same name, the higher one holds: no can not be made yes by another policy. */
const RANK: Readonly<Record<Level, number>> = { read: 1, list: 2, write: 3, deny: 4 };

interface Entry {
  readonly name: string;
  readonly prefix: boolean;
  readonly level: Level;
}

export class Grants {
  /** By resource: exact names under `=name`, prefixes under `^name`. */
  readonly #rules: Map<Resource, Map<string, Entry>>;
  readonly #otherwise: "allow" | "deny";
  /** For messages. */
  readonly #holder: string;

  /** The grants that these are a noting copy of. */
  #source: Grants | null = null;
  #hasDenied = false;

  /** `otherwise`: what holds where no rule does. */
  constructor(rules: readonly Rule[], otherwise: "allow" | "deny", holder: string) {
    this.#rules = new Map();
    this.#otherwise = otherwise;
    this.#holder = holder;
    for (const { resource, name, prefix, level } of rules) {
      const entries = this.#rules.get(resource) ?? new Map<string, Entry>();
      this.#rules.set(resource, entries);
      const key = `${prefix ? "^" : "="}${name}`;
      const before = entries.get(key);
      if (before === undefined || RANK[level] > RANK[before.level]) entries.set(key, { name, prefix, level });
    }
  }

  static everything(): Grants {
    return new Grants([], "allow", "");
  }

  /** The same grants, which remember whether they did not allow something: whoever asks may be told that it was left out. */
  noting(): Grants {
    const noting = new Grants([], this.#otherwise, this.#holder);
    for (const [resource, entries] of this.#rules) noting.#rules.set(resource, entries);
    noting.#source = this.#source ?? this;
    return noting;
  }

  /** Something that was asked for was not allowed; of a noting copy alone. */
  get hasDenied(): boolean {
    return this.#hasDenied;
  }

  noteDenied(): void {
    if (this.#source !== null) this.#hasDenied = true;
  }

  /** One is the other, or both are noting copies of the same. */
  isSameAs(other: Grants): boolean {
    return (this.#source ?? this) === (other.#source ?? other);
  }

  may(resource: Resource, name: string, access: Access): boolean {
    const level = this.#levelOf(resource, name);
    const is =
      level === null ? this.#otherwise === "allow" : level !== "deny" && (access === "read" || level === "write");
    if (!is) this.noteDenied();
    return is;
  }

  /** @throws AppError 403 in Consul's words when it may not. */
  require(resource: Resource, name: string, access: Access): void {
    if (this.may(resource, name, access)) return;
    throw this.#denied(resource, name, access);
  }

  /** All names below the prefix. @throws AppError 403. */
  requirePrefix(resource: NamedResource, prefix: string, access: Access): void {
    const below = [...(this.#rules.get(resource)?.values() ?? [])].filter(({ name }) => name.startsWith(prefix));
    const fits = below.every(({ level }) => level === "write" || (access === "read" && level !== "deny"));
    if (!fits || !this.may(resource, prefix, access)) throw this.#denied(resource, prefix, access);
  }

  #levelOf(resource: Resource, name: string): Level | null {
    const entries = this.#rules.get(resource);
    if (entries === undefined) return null;
    const exact = entries.get(`=${name}`);
    if (exact !== undefined) return exact.level;
    let best: Entry | null = null;
    for (const entry of entries.values()) {
      if (!entry.prefix || !name.startsWith(entry.name)) continue;
      if (best === null || entry.name.length > best.name.length) best = entry;
    }
    return best?.level ?? null;
  }

  #denied(resource: Resource, name: string, access: Access): Error {
    const on = name === "" ? "" : ` on ${JSON.stringify(name)}`;
    return registryError(
      403,
      `Permission denied: token with AccessorID '${this.#holder}' lacks permission '${resource}:${access}'${on}`,
    );
  }
}
