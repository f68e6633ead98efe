/** The servers of the cluster, as they are stored. */
import { type EtcdGateway } from "../platform/etcd/etcd-gateway.ts";
import { readStored } from "../platform/etcd/etcd-store.ts";
import type { Store } from "../platform/ports/store.ts";
import type { GroupServer, ServerGroup } from "../server/server-group.ts";

export interface ServerRecord extends GroupServer {
  /** In etcd. */
  readonly memberId: string;
}

/** Of all keys in etcd. */
export const ETCD_PREFIX = "apollo/";
/** Of the servers in the store. */
export const RECORDS = "server/";

/** As the leading server keeps them. */
export class ServerRecords implements ServerGroup {
  readonly #store: Store;
  readonly #gateway: EtcdGateway;
  readonly #records = new Map<string, ServerRecord>();
  readonly #listeners = new Set<() => void>();

  static async load(store: Store, gateway: EtcdGateway): Promise<ServerRecords> {
    const records = new ServerRecords(store, gateway);
    for (const { value } of await store.list(RECORDS)) records.#set(value as ServerRecord);
    return records;
  }

  private constructor(store: Store, gateway: EtcdGateway) {
    this.#store = store;
    this.#gateway = gateway;
  }

  list(): readonly ServerRecord[] {
    return [...this.#records.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  get(name: string): ServerRecord | null {
    return this.#records.get(name) ?? null;
  }

  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  async put(record: ServerRecord): Promise<void> {
    await this.#store.commit([{ kind: "put", key: RECORDS + record.name, value: record }]);
    this.#set(record);
    this.#tell();
  }

  /** The member first: should this process die in between, a second try does the rest. */
  async remove(name: string): Promise<void> {
    const record = this.get(name);
    if (record === null) return;
    await this.#gateway.removeMember(record.memberId);
    await this.#store.commit([{ kind: "delete", key: RECORDS + name }]);
    this.#records.delete(name);
    this.#tell();
  }

  #set(record: ServerRecord): void {
    this.#records.set(record.name, record);
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}

/** The same for the others. @throws AppError `unavailable` without a quorum. */
export async function readServers(gateway: EtcdGateway): Promise<readonly ServerRecord[]> {
  return (await readStored({ gateway, prefix: ETCD_PREFIX }, RECORDS)) as readonly ServerRecord[];
}
