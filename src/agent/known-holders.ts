import type { Holder } from "../model/holder.ts";
import type { ServerMessage } from "../model/wire.ts";

/** What the agent's state says of the hosts, for whose holders count. */
export interface HoldersView {
  /** This host's name; undefined until it has one. */
  own(): string | undefined;
  /** Names of the hosts that are members. */
  members(): ReadonlySet<string>;
}

/** Who holds which address: on other hosts as the server says, on this one as its parts see it. */
export class KnownHolders {
  readonly #view: HoldersView;
  /** By host and id; this host's own are those that it remembers, until it has looked. */
  readonly #told = new Map<string, Map<string, Holder>>();
  readonly #local = new Map<string, readonly Holder[]>();
  /** Parts that will tell holders, and have not yet. */
  readonly #expected = new Set<string>();

  constructor(view: HoldersView) {
    this.#view = view;
  }

  all(): readonly Holder[] {
    const [own, members] = [this.#view.own(), this.#view.members()];
    // A host that was removed while this agent was away is no peer any more.
    const others = [...this.#told].filter(([host]) => host !== own && members.has(host));
    return [...others.flatMap(([, holders]) => [...holders.values()]), ...this.local()];
  }

  local(): readonly Holder[] {
    if (this.#isLocalTold()) return [...this.#local.values()].flat();
    return [...(this.#told.get(this.#view.own() ?? "")?.values() ?? [])];
  }

  /** This host's own were seen, or are remembered from before the agent was restarted. */
  isLocalKnown(): boolean {
    return this.#isLocalTold() || this.#told.has(this.#view.own() ?? "");
  }

  /** That part will tell holders: until then those that are remembered count. */
  expect(part: string): void {
    if (!this.#local.has(part)) this.#expected.add(part);
  }

  /** Each part tells whole what it knows of this host. */
  setLocal(part: string, holders: readonly Holder[]): void {
    this.#expected.delete(part);
    this.#local.set(part, holders);
  }

  receive({ host, reset, upsert, remove }: ServerMessage & { readonly type: "holders" }): void {
    const holders = reset ? new Map<string, Holder>() : (this.#told.get(host) ?? new Map<string, Holder>());
    for (const holder of upsert) holders.set(holder.id, holder);
    for (const id of remove) holders.delete(id);
    if (holders.size === 0) this.#told.delete(host);
    else this.#told.set(host, holders);
  }

  restore(holders: readonly Holder[]): void {
    for (const holder of holders) {
      const known = this.#told.get(holder.host) ?? new Map<string, Holder>();
      this.#told.set(holder.host, known.set(holder.id, holder));
    }
  }

  #isLocalTold(): boolean {
    return this.#local.size > 0 && this.#expected.size === 0;
  }
}
