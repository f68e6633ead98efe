/** Events that users fire: the last 256, in memory as in Consul, and whoever waits for the next one. */
import type { CatalogView } from "./catalog-view.ts";
import { compileLinearPattern } from "./filter/linear-pattern.ts";
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
  /** Nodes that its filters held for when it was fired; null for all. */
  readonly nodes: ReadonlySet<string> | null;
}

export type FiredEvent = Omit<UserEvent, "id" | "version" | "lTime" | "nodes">;

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

  /** @throws AppError 400 for a filter that is no pattern. */
  fire(event: FiredEvent): UserEvent {
    const nodes = chooseNodes(this.#registry.view, event);
    this.#lTime += 1;
    const fired = {
      nodes,
      ...event,
      id: this.#registry.random.uuid(),
      version: 1,
      lTime: this.#lTime,
    };
    this.#events = [...this.#events, fired].slice(-EVENTS_MAX);
    this.#registry.touch(TOPIC);
    return fired;
  }

  /** Oldest first, as the agent of that node has them: of one name when it is not "". */
  list(name: string, node: string): readonly UserEvent[] {
    return this.#events.filter(
      (event) => (name === "" || event.name === name) && (event.nodes === null || event.nodes.has(node)),
    );
  }

  /**
   * Waits until the newest event is another than the one the client has seen. Events have no order across the cluster, so
   * their index is a hash of the newest id: equal means nothing new.
   */
  async next(
    name: string,
    node: string,
    options: { minIndex: bigint; waitMs: number; signal: AbortSignal },
  ): Promise<readonly UserEvent[]> {
    const { clock } = this.#registry;
    const endMs = clock.monotonicMs() + options.waitMs;
    for (;;) {
      const leftMs = endMs - clock.monotonicMs();
      if (options.minIndex === 0n || this.indexOf(name, node) !== options.minIndex || leftMs <= 0)
        return this.list(name, node);
      const interests = [{ kind: "topic", topic: TOPIC } as const];
      const woken = await this.#registry.watches.wait(interests, { ms: leftMs, signal: options.signal });
      if (woken !== "changed") return this.list(name, node);
    }
  }

  /** Of the newest event of that name there; 1 when there is none. */
  indexOf(name: string, node: string): bigint {
    const newest = this.list(name, node).at(-1);
    return newest === undefined ? 1n : eventIndex(newest.id);
  }
}

/** As each of Consul's agents decides for itself: by its name, and by a service of its that has both id and tag. */
function chooseNodes(view: CatalogView, filters: FiredEvent): ReadonlySet<string> | null {
  const { nodeFilter, serviceFilter, tagFilter } = filters;
  const [node, service, tag] = [nodeFilter, serviceFilter, tagFilter].map(compileLinearPattern);
  if (nodeFilter === "" && serviceFilter === "") return null;
  const fits = (name: string): boolean =>
    node?.(name) === true &&
    (serviceFilter === "" ||
      view
        .servicesOn(name)
        .some(({ id, tags }) => service?.(id) === true && (tagFilter === "" || tags.some((each) => tag?.(each)))));
  return new Set(view.nodes().flatMap((each) => (fits(each.node) ? [each.node] : [])));
}

/** Consul's own formula: both halves of the id, xored. */
export function eventIndex(id: string): bigint {
  const hex = id.replaceAll("-", "");
  return BigInt(`0x${hex.slice(0, HASH_HALF)}`) ^ BigInt(`0x${hex.slice(HASH_HALF)}`);
}
