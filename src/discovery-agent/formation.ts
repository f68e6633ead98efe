/**
 * `--bootstrap-expect N`: a cluster has no leader, for clients and nodes, before N servers have a vote in it. The mark lies in the
 * store, so that it goes with the office to any server that leads meanwhile; once it is taken away nobody waits ever again.
 */
import { AppError } from "../model/error.ts";
import type { HttpRequest, HttpResponse } from "../platform/ports/http.ts";
import type { Log } from "../platform/ports/log.ts";
import type { Store } from "../platform/ports/store.ts";
import type { DiscoveryConfig } from "./discovery-config.ts";
import { SERVERS_PATH } from "./servers-api.ts";
import { notLeading } from "./standby.ts";

const KEY = "forming";

export type Expectation = Pick<DiscoveryConfig, "node" | "bootstrap" | "bootstrapExpect">;

/** What a server says that wants to be one of those that are waited for. */
export interface FormationWish {
  readonly name: string;
  /** 0: it did not say. */
  readonly expect?: number | undefined;
}

/** Makes a cluster that nobody has seen yet wait for its servers. */
export async function markForming(store: Store, servers: number): Promise<void> {
  await store.commit([{ kind: "put", key: KEY, value: { servers } }]);
}

export async function isForming(store: Store): Promise<boolean> {
  return (await store.get(KEY)) !== null;
}

const JOIN_HINT =
  "If the cluster is there already, empty this server's data directory and start it with --join ADDRESS of one of the others";

export class Formation {
  readonly #store: Store;
  readonly #log: Log;
  /** Null: the cluster has been formed. */
  #servers: number | null;
  #voters: readonly string[];

  /** `--bootstrap` at the server that leads ends the wait; another number there takes the place of the first one. */
  static async open(store: Store, { node, bootstrap, bootstrapExpect }: Expectation, log: Log): Promise<Formation> {
    const mark = (await store.get(KEY))?.value as { readonly servers: number } | undefined;
    const asked = bootstrap ? 1 : bootstrapExpect;
    const servers = mark === undefined ? null : asked > 0 ? asked : mark.servers;
    const formation = new Formation(store, { servers, node, log });
    await formation.see([node]);
    if (formation.waits) log.info(formation.#state(), { hint: JOIN_HINT });
    return formation;
  }

  private constructor(store: Store, { servers, node, log }: { servers: number | null; node: string; log: Log }) {
    this.#store = store;
    this.#log = log;
    this.#servers = servers;
    this.#voters = [node];
  }

  /** Whether there are servers to wait for. */
  get waits(): boolean {
    return this.#servers !== null;
  }

  /** Takes note of the servers that have a vote; with enough of them the wait is over. @throws AppError of the store. */
  async see(voters: readonly string[]): Promise<void> {
    if (this.#servers === null) return;
    const isNews = voters.join() !== this.#voters.join();
    this.#voters = voters;
    if (voters.length < this.#servers) {
      if (isNews) this.#log.info(this.#state());
      return;
    }
    await this.#store.commit([{ kind: "delete", key: KEY }]);
    this.#servers = null;
    this.#log.info("All expected servers are here", { servers: voters.join(", ") });
  }

  /** @throws AppError `conflict` for a server that waits for another number of servers. */
  check({ name, expect = 0 }: FormationWish): void {
    if (this.#servers === null || expect === 0 || expect === this.#servers) return;
    throw new AppError(
      "conflict",
      `Cannot take server "${name}": it expects ${expect} servers, the others ${this.#servers}`,
      { hint: `Start it with --bootstrap-expect ${this.#servers}, or all of them with another number` },
    );
  }

  /** What is answered while there is no leader for anybody but servers; null when the request may pass. */
  refuse({ path }: Pick<HttpRequest, "path">): HttpResponse | null {
    if (this.#servers === null || path === "/api/ca" || path.startsWith(`${SERVERS_PATH}/`)) return null;
    return notLeading({ path }, this.#state());
  }

  #state(): string {
    const here = this.#voters.length;
    return `Cannot begin yet: ${here} of ${this.#servers} expected servers ${here === 1 ? "is" : "are"} here (${this.#voters.join(", ")})`;
  }
}
