/**
 * What the server that led before knew of who is there: stored, so that nodes which are down stay so when another one leads, and so
 * that all others get time to find it. Their sessions hang on it.
 */
import type { Host } from "../model/host.ts";
import { AppError } from "../model/error.ts";
import type { Store } from "../platform/ports/store.ts";
import type { ClusterServer } from "../server/cluster-server.ts";

const KEY = "heard";

interface Heard {
  readonly leader: string;
  /** Names of nodes that are down. */
  readonly down: readonly string[];
}

/** Ticks of half a second: who led before and is silent for so long has gone. */
const FORMER_GRACE_TICKS = 6;
/** Who was down before is until it is heard of. */
const DOWN_GRACE_TICKS = 0;

export class HeardBefore {
  readonly #store: Store;
  readonly #self: string;
  readonly #before: Heard | null;
  #stored: string;
  #storing: Promise<void> = Promise.resolve();

  /** @param self name of this server, which leads from now on */
  static async load(store: Store, self: string): Promise<HeardBefore> {
    return new HeardBefore(store, self, ((await store.get(KEY))?.value as Heard | undefined) ?? null);
  }

  private constructor(store: Store, self: string, before: Heard | null) {
    this.#store = store;
    this.#self = self;
    this.#before = before;
    this.#stored = JSON.stringify(before);
  }

  /** How long a node is waited for; undefined: as long as usual. */
  graceTicks({ name }: Pick<Host, "name">): number | undefined {
    if (this.#before === null || name === this.#self) return undefined;
    const { leader, down } = this.#before;
    if (down.includes(name)) return DOWN_GRACE_TICKS;
    return name === leader ? FORMER_GRACE_TICKS : undefined;
  }

  /** Stores what this server hears from now on. */
  follow(cluster: Pick<ClusterServer, "state" | "liveness" | "onChange">): void {
    const note = (): void => {
      const hosts = [...cluster.state.hosts.values()];
      const down = hosts.filter(({ id }) => cluster.liveness.presenceOf(id).phase === "down").map(({ name }) => name);
      this.#note({ leader: this.#self, down: down.toSorted() });
    };
    note();
    cluster.onChange(note);
  }

  #note(value: Heard): void {
    const text = JSON.stringify(value);
    if (text === this.#stored) return;
    this.#stored = text;
    this.#storing = this.#storing.then(() => this.#commit(value));
  }

  /** Of no use to who leads by now: another one notes for itself. */
  async #commit(value: Heard): Promise<void> {
    try {
      await this.#store.commit([{ kind: "put", key: KEY, value }]);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      this.#stored = "";
    }
  }
}
