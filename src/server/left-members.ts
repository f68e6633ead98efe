/**
 * Hosts that were members and are none any more: for lists of members only. They are stored, in the very commit that ends the
 * membership, so that every server that leads later tells the same of them.
 */
import type { PlatformHost } from "../discovery/registry/platform-catalog.ts";
import type { Host } from "../model/host.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Store, StoreWrite } from "../platform/ports/store.ts";

/** As long as Consul shows who has gone. */
const SHOWN_MS = 72 * 3_600_000;
const SHOWN_MAX = 1000;
const PREFIX = "left/";

interface LeftMember {
  readonly host: PlatformHost;
  /** Since 1970: it outlives processes. */
  readonly atMs: number;
}

export class LeftMembers {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #left = new Map<string, LeftMember>();
  #members: ReadonlyMap<string, PlatformHost> = new Map();
  /** Who leaves a group of servers is none any more a moment before it is no member. */
  readonly #servers = new Set<string>();

  static async load(store: Store, clock: Clock): Promise<LeftMembers> {
    const left = new LeftMembers(store, clock);
    const stored = (await store.list(PREFIX)).map(({ value }) => value as LeftMember);
    for (const member of stored.toSorted((a, b) => a.atMs - b.atMs)) left.#add(member);
    return left;
  }

  private constructor(store: Store, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
    store.watch(({ writes }) => {
      for (const write of writes) this.#absorb(write);
    });
  }

  /** All members there are: who comes back is not shown as gone. */
  see(hosts: readonly PlatformHost[]): void {
    this.#members = new Map(hosts.map((host) => [host.name, host]));
    for (const { name, server } of hosts) if (server) this.#servers.add(name);
  }

  /** To be stored with the end of that membership. */
  farewell({ id, name, address }: Host): readonly StoreWrite[] {
    const known = this.#members.get(name);
    const host: PlatformHost = {
      id,
      name,
      address,
      server: this.#servers.has(name),
      meta: known?.meta ?? {},
      up: false,
    };
    const value: LeftMember = { host, atMs: this.#clock.nowMs() };
    const places = [...this.#left.keys()].slice(0, Math.max(0, this.#left.size + 1 - SHOWN_MAX));
    const gone = new Set([...places, ...this.#overdue()]);
    gone.delete(name);
    return [...[...gone].map(forgetting), { kind: "put", key: PREFIX + name, value }];
  }

  has(name: string): boolean {
    return this.list().some((host) => host.name === name);
  }

  /** No longer shown; a name that is not there is fine. @throws AppError of the store. */
  async forget(name: string): Promise<void> {
    if (this.#left.has(name)) await this.#store.commit([forgetting(name)]);
  }

  /** By name. */
  list(): readonly PlatformHost[] {
    const overdue = new Set(this.#overdue());
    return [...this.#left.values()]
      .map(({ host }) => host)
      .filter(({ name }) => !overdue.has(name) && !this.#members.has(name))
      .toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  #overdue(): readonly string[] {
    const nowMs = this.#clock.nowMs();
    return [...this.#left].flatMap(([name, { atMs }]) => (nowMs - atMs >= SHOWN_MS ? [name] : []));
  }

  #absorb(write: StoreWrite): void {
    if (!write.key.startsWith(PREFIX)) return;
    if (write.kind === "put") this.#add(write.value as LeftMember);
    else this.#left.delete(write.key.slice(PREFIX.length));
  }

  /** Oldest first. */
  #add(member: LeftMember): void {
    this.#left.delete(member.host.name);
    this.#left.set(member.host.name, member);
  }
}

function forgetting(name: string): StoreWrite {
  return { kind: "delete", key: PREFIX + name };
}
