/** Events that users fire: the last 256, in memory as in Consul, and whoever waits for the next one. */
import type { Registry } from "./registry.ts";

export interface UserEvent {
  readonly id: string;
  readonly name: string;
  /** Base64, null for none. */
  readonly payload: string | null;
  readonly nodeFilter: string;
  readonly serviceFilter: string;
  readonly tagFilter: string;
  readonly version: number;
  readonly lTime: number;
}

const EVENTS_MAX = 256;
const TOPIC = "events";
const HASH_HALF = 16;

export class UserEvents {
  readonly #registry: Registry;
  #events: readonly UserEvent[] = [];
  #lTime = 1;

  constructor(registry: Registry) {
    this.#registry = registry;
  }

  fire(event: Omit<UserEvent, "id" | "version" | "lTime">): UserEvent {
    this.#lTime += 1;
    const fired = { ...event, id: this.#registry.random.uuid(), version: 1, lTime: this.#lTime };
    this.#events = [...this.#events, fired].slice(-EVENTS_MAX);
    this.#registry.touch(TOPIC);
    return fired;
  }

  /** Oldest first; of one name when it is not "". */
  list(name: string): readonly UserEvent[] {
    return name === "" ? this.#events : this.#events.filter((event) => event.name === name);
  }

  /**
   * Waits until the newest event is another than the one the client has seen. Events have no order across the cluster, so
   * their index is a hash of the newest id: equal means nothing new.
   */
  async next(
    name: string,
    options: { minIndex: bigint; waitMs: number; signal: AbortSignal },
  ): Promise<readonly UserEvent[]> {
    const { clock } = this.#registry;
    const endMs = clock.monotonicMs() + options.waitMs;
    for (;;) {
      const leftMs = endMs - clock.monotonicMs();
      if (options.minIndex === 0n || this.indexOf(name) !== options.minIndex || leftMs <= 0) return this.list(name);
      const interests = [{ kind: "topic", topic: TOPIC } as const];
      const woken = await this.#registry.watches.wait(interests, { ms: leftMs, signal: options.signal });
      if (woken !== "changed") return this.list(name);
    }
  }

  /** Of the newest event of that name; 1 when there is none. */
  indexOf(name: string): bigint {
    const newest = this.list(name).at(-1);
    return newest === undefined ? 1n : eventIndex(newest.id);
  }
}

/** Consul's own formula: both halves of the id, xored. */
export function eventIndex(id: string): bigint {
  const hex = id.replaceAll("-", "");
  return BigInt(`0x${hex.slice(0, HASH_HALF)}`) ^ BigInt(`0x${hex.slice(HASH_HALF)}`);
}
