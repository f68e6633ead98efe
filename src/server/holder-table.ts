import type { Holder } from "../model/holder.ts";

/** In the form of the wire. */
export interface HolderChange {
  readonly reset: boolean;
  readonly upsert: readonly Holder[];
  readonly remove: readonly string[];
}

/** Who holds addresses on each host, as its agent told: kept for agents that connect later. */
export class HolderTable {
  readonly #hosts = new Map<string, Map<string, Holder>>();

  /** Takes over what an agent says of its own host, and gives what is to be passed on. */
  apply(host: string, change: HolderChange): HolderChange {
    const known = this.#hosts.get(host);
    const holders = change.reset || known === undefined ? new Map<string, Holder>() : known;
    // Nobody speaks for another host.
    const upsert = change.upsert.filter((holder) => holder.host === host && holder.id.startsWith(`${host}:`));
    for (const holder of upsert) holders.set(holder.id, holder);
    for (const id of change.remove) holders.delete(id);
    this.#hosts.set(host, holders);
    return { reset: change.reset, upsert, remove: change.remove };
  }

  /** The host is no member any more. */
  drop(host: string): HolderChange | null {
    return this.#hosts.delete(host) ? { reset: true, upsert: [], remove: [] } : null;
  }

  /** For an agent that knows nothing yet. */
  *all(): Iterable<readonly [host: string, change: HolderChange]> {
    for (const [host, holders] of this.#hosts) yield [host, { reset: true, upsert: [...holders.values()], remove: [] }];
  }
}
