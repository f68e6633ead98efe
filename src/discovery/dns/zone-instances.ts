import { META_NAME_ONLY, NAMES_NODE, NAMES_SERVER } from "../../model/endpoint.ts";
import { addressKey } from "./address-bytes.ts";
import type { ZoneInstance, ZoneNode } from "./zone-instance.ts";

type Index = Map<string, Map<string, ZoneInstance>>;

/** The instances of a zone by all that names look for; a change costs the same however many there are. */
export class Instances {
  readonly #all = new Map<string, ZoneInstance>();
  readonly #services: Index = new Map();
  /** By the name of a container, or of what is named only. */
  readonly #names: Index = new Map();
  /** Those that stand for a node which a client of Consul's API registered, by its name. */
  readonly #nodes: Index = new Map();
  readonly #addresses: Index = new Map();

  get size(): number {
    return this.#all.size;
  }

  get(id: string): ZoneInstance | undefined {
    return this.#all.get(id);
  }

  ids(): Iterable<string> {
    return this.#all.keys();
  }

  /** Its id must not be there. */
  put(instance: ZoneInstance): void {
    this.#all.set(instance.id, instance);
    if (!isNameOnly(instance)) addTo(this.#services, instance.service.toLowerCase(), instance);
    addTo(namesNode(instance) ? this.#nodes : this.#names, containerNameOf(instance), instance);
    for (const address of addressesOf(instance)) addTo(this.#addresses, addressKey(address), instance);
  }

  /** What was there. */
  remove(id: string): ZoneInstance | null {
    const instance = this.#all.get(id);
    if (instance === undefined) return null;
    this.#all.delete(id);
    if (!isNameOnly(instance)) dropFrom(this.#services, instance.service.toLowerCase(), id);
    dropFrom(namesNode(instance) ? this.#nodes : this.#names, containerNameOf(instance), id);
    for (const address of addressesOf(instance)) dropFrom(this.#addresses, addressKey(address), id);
    return instance;
  }

  /** `service` in lower case. */
  ofService(service: string): Iterable<ZoneInstance> {
    return this.#services.get(service)?.values() ?? [];
  }

  /** `name` in lower case. */
  named(name: string): Iterable<ZoneInstance> {
    return this.#names.get(name)?.values() ?? [];
  }

  /** `name` in lower case. */
  node(name: string): ZoneNode | undefined {
    const [first] = this.#nodes.get(name)?.values() ?? [];
    return first === undefined ? undefined : { name: first.service, address: first.address };
  }

  /** By `addressKey`. */
  at(address: string): Iterable<ZoneInstance> {
    return this.#addresses.get(address)?.values() ?? [];
  }
}

/** Its address, and the one of the other family when it has one. */
export function addressesOf({ address, address6 }: ZoneInstance): readonly string[] {
  return address6 === undefined ? [address] : [address, address6];
}

/** It is no instance of a service; here servers of the platform are. */
export function isNameOnly(instance: ZoneInstance): boolean {
  const mark = instance.meta[META_NAME_ONLY];
  return mark !== undefined && mark !== NAMES_SERVER;
}

/** It stands for a node: `service` is the name of that. */
export function namesNode(instance: ZoneInstance): boolean {
  return instance.meta[META_NAME_ONLY] === NAMES_NODE;
}

function containerNameOf(instance: ZoneInstance): string {
  return (isNameOnly(instance) ? instance.service : instance.container).toLowerCase();
}

function addTo(index: Index, key: string, instance: ZoneInstance): void {
  const group = index.get(key) ?? new Map<string, ZoneInstance>();
  index.set(key, group.set(instance.id, instance));
}

function dropFrom(index: Index, key: string, id: string): void {
  const group = index.get(key);
  group?.delete(id);
  if (group?.size === 0) index.delete(key);
}
