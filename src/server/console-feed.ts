import type { FeedMessage, FeedState } from "../api/native/shapes.ts";
import type { Clock } from "../platform/ports/clock.ts";

export interface FeedClient {
  send(message: FeedMessage): void;
}

/** Changes within this time reach the console as one delta: more often than the eye sees is waste. */
const FOLD_MS = 60;

const KEY_OF: { readonly [K in keyof FeedState]: (item: FeedState[K][number]) => string } = {
  hosts: (host) => host.name,
  apps: (app) => app.id,
  instances: (instance) => instance.id,
  services: (service) => service.name,
  deployments: (deployment) => deployment.id,
};
const KINDS = Object.keys(KEY_OF) as readonly (keyof FeedState)[];

type Texts = ReadonlyMap<keyof FeedState, ReadonlyMap<string, string>>;

/**
 * The console's live state: a snapshot for each new client, then deltas of whole objects. Nothing is computed while nobody
 * looks. A client that missed a sequence number asks for a new snapshot by connecting again.
 */
export class ConsoleFeed {
  readonly #source: () => FeedState;
  readonly #clock: Clock;
  readonly #clients = new Set<FeedClient>();
  #texts: Texts = new Map();
  #sequence = 0;
  #waiting = false;

  constructor(source: () => FeedState, clock: Clock) {
    this.#source = source;
    this.#clock = clock;
  }

  join(client: FeedClient): void {
    if (this.#clients.size === 0) this.#texts = textsOf(this.#source());
    else this.#flush();
    this.#clients.add(client);
    client.send({ type: "snapshot", sequence: this.#sequence, state: this.#source() });
  }

  leave(client: FeedClient): void {
    this.#clients.delete(client);
  }

  /** Something may have changed. */
  poke(): void {
    if (this.#waiting || this.#clients.size === 0) return;
    this.#waiting = true;
    void this.#clock.sleep(FOLD_MS).then(() => {
      this.#waiting = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#clients.size === 0) return;
    const state = this.#source();
    const texts = textsOf(state);
    const put: Record<string, unknown[]> = {};
    const drop: Record<string, string[]> = {};
    for (const kind of KINDS) {
      const before = this.#texts.get(kind);
      const now = texts.get(kind);
      const keyOf = KEY_OF[kind] as (item: unknown) => string;
      const changed = state[kind].filter((item) => before?.get(keyOf(item)) !== now?.get(keyOf(item)));
      const gone = [...(before?.keys() ?? [])].filter((key) => now?.has(key) !== true);
      if (changed.length > 0) put[kind] = [...changed];
      if (gone.length > 0) drop[kind] = gone;
    }
    this.#texts = texts;
    if (Object.keys(put).length === 0 && Object.keys(drop).length === 0) return;
    this.#sequence += 1;
    const message = { type: "delta", sequence: this.#sequence, put, drop } as unknown as FeedMessage;
    for (const client of this.#clients) client.send(message);
  }
}

function textsOf(state: FeedState): Texts {
  return new Map(
    KINDS.map((kind) => {
      const keyOf = KEY_OF[kind] as (item: unknown) => string;
      return [kind, new Map(state[kind].map((item) => [keyOf(item), JSON.stringify(item)]))];
    }),
  );
}
