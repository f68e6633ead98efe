import type { PlatformHost } from "../discovery/registry/platform-catalog.ts";
import type { Clock } from "../platform/ports/clock.ts";

/** As long as Consul shows who has gone. */
const SHOWN_MS = 72 * 3_600_000;
const SHOWN_MAX = 1000;

/** Hosts that were members in this life of the server and are none any more: for lists of members only. */
export class LeftMembers {
  readonly #clock: Clock;
  readonly #left = new Map<string, { readonly host: PlatformHost; readonly atMs: number }>();
  #members: ReadonlyMap<string, PlatformHost> = new Map();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** All members there are. */
  see(hosts: readonly PlatformHost[]): void {
    const now = new Map(hosts.map((host) => [host.name, host]));
    for (const [name, host] of this.#members) {
      if (now.has(name)) continue;
      this.#left.set(name, { host, atMs: this.#clock.monotonicMs() });
    }
    for (const name of now.keys()) this.#left.delete(name);
    for (const name of this.#left.keys()) if (this.#left.size > SHOWN_MAX) this.#left.delete(name);
    this.#members = now;
  }

  has(name: string): boolean {
    return this.list().some((host) => host.name === name);
  }

  /** No longer shown; a name that is not there is fine. */
  forget(name: string): void {
    this.#left.delete(name);
  }

  list(): readonly PlatformHost[] {
    const nowMs = this.#clock.monotonicMs();
    return [...this.#left.values()].filter(({ atMs }) => nowMs - atMs < SHOWN_MS).map(({ host }) => host);
  }
}
