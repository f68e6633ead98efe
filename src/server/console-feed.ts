import type { FeedMessage, FeedState } from "../api/native/shapes.ts";
import type { Clock } from "../platform/ports/clock.ts";

export interface FeedClient {
  /** A `FeedMessage` as JSON, made once for all clients. */
  send(text: string): void;
}

/** Changes within this time reach the console as one delta: more often than the eye sees is waste. */
const FOLD_MS = 60;
/** A fold costs time in proportion to the cluster; the next one waits so long that all take a tenth of a core at most. */
const FOLD_COST_SHARE = 9;
/** With much to do the console still moves at least this often. */
const FOLD_MAX_MS = 2000;
/** An empty delta as often as this tells the console that the line is alive; it gives up after three that did not come. */
export const BEAT_MS = 10_000;

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
  #costMs = 0;
  /** Ends the beats with the last client. */
  #beats: AbortController | null = null;

  constructor(source: () => FeedState, clock: Clock) {
    this.#source = source;
    this.#clock = clock;
  }

  join(client: FeedClient): void {
    const state = this.#source();
    if (this.#clients.size === 0) this.#texts = textsOf(state);
    else this.#tellChanges(state);
    this.#clients.add(client);
    client.send(JSON.stringify({ type: "snapshot", sequence: this.#sequence, state } satisfies FeedMessage));
    if (this.#beats === null) void this.#beat((this.#beats = new AbortController()).signal);
  }

  leave(client: FeedClient): void {
    this.#clients.delete(client);
    if (this.#clients.size > 0) return;
    this.#beats?.abort();
    this.#beats = null;
  }

  /** Something may have changed. */
  poke(): void {
    if (this.#waiting || this.#clients.size === 0) return;
    this.#waiting = true;
    const waitMs = Math.min(FOLD_MAX_MS, Math.max(FOLD_MS, this.#costMs * FOLD_COST_SHARE));
    void this.#clock.sleep(waitMs).then(() => {
      this.#waiting = false;
      this.flush();
    });
  }

  /** Sends what changed since the last time, now. */
  flush(): void {
    if (this.#clients.size === 0) return;
    const startMs = this.#clock.monotonicMs();
    this.#tellChanges(this.#source());
    this.#costMs = this.#clock.monotonicMs() - startMs;
  }

  async #beat(signal: AbortSignal): Promise<void> {
    for (;;) {
      await this.#clock.sleep(BEAT_MS, signal);
      if (signal.aborted) return;
      // What changed without anyone saying so is found now at the latest.
      this.flush();
      this.#tell({}, {});
    }
  }

  #tellChanges(state: FeedState): void {
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
    if (Object.keys(put).length > 0 || Object.keys(drop).length > 0) this.#tell(put, drop);
  }

  #tell(put: Readonly<Record<string, unknown[]>>, drop: Readonly<Record<string, string[]>>): void {
    this.#sequence += 1;
    const text = JSON.stringify({ type: "delta", sequence: this.#sequence, put, drop });
    for (const client of this.#clients) client.send(text);
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
