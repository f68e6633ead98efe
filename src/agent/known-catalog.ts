import { type Endpoint, isNameOnly, judged } from "../model/endpoint.ts";
import type { InstanceId } from "../model/ids.ts";
import type { ServerMessage } from "../model/wire.ts";
import { CatalogTracker } from "./catalog-tracker.ts";

/** What the agent's state says of this host, for which endpoints count here. */
export interface CatalogView {
  /** Nobody is served by a host that was removed. */
  isRemoved(): boolean;
  /** This host's name; undefined until it has one. */
  own(): string | undefined;
  /** Its assignment says that the instance is to go. */
  isLeaving(id: InstanceId): boolean;
}

/** Endpoints as this host knows them: other hosts' from the server, its own as seen here, fresher than any server. */
export class KnownCatalog {
  /** This host's own endpoints were looked at. */
  localKnown = false;
  /** Grows with every change of this host's own endpoints. */
  localRevision = 0;
  /** What the server told last. */
  revision = 0;
  readonly #view: CatalogView;
  readonly #told = new Map<string, Endpoint>();
  #local: ReadonlyMap<string, Endpoint> = new Map();
  /** Readers tell changes by identity: the same object for the same verdict. */
  readonly #judgedLocal = new Map<string, { readonly local: Endpoint; readonly endpoint: Endpoint }>();
  readonly #trackers = new Set<CatalogTracker>();

  constructor(view: CatalogView) {
    this.#view = view;
  }

  /**
   * Endpoints to answer with, by id. An instance that is to go is left out the moment its assignment says so, before any part
   * has looked at it.
   */
  sorted(): readonly Endpoint[] {
    return [...this.each()].filter((endpoint) => !isNameOnly(endpoint)).toSorted((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** The same with those that only name a container, neither copied nor sorted. */
  *each(): Iterable<Endpoint> {
    if (this.#view.isRemoved()) return;
    const own = this.#view.own();
    for (const endpoint of this.#told.values()) if (isOthers(endpoint, own)) yield endpoint;
    for (const endpoint of this.#local.values()) if (!this.#isLeaving(endpoint)) yield this.#judged(endpoint);
  }

  /** The one of `each` with that id, or null. */
  find(id: string): Endpoint | null {
    const local = this.#local.get(id);
    if (local !== undefined) return this.#isLeaving(local) ? null : this.#judged(local);
    const endpoint = this.#told.get(id);
    return endpoint === undefined || !isOthers(endpoint, this.#view.own()) ? null : endpoint;
  }

  track(): CatalogTracker {
    const tracker = new CatalogTracker();
    this.#trackers.add(tracker);
    return tracker;
  }

  /** Everything may be other for those that track. */
  noteAll(): void {
    for (const tracker of this.#trackers) tracker.noteAll();
  }

  local(): ReadonlyMap<string, Endpoint> {
    return this.#local;
  }

  /** All of this host's own. */
  setLocal(endpoints: readonly Endpoint[]): void {
    this.#local = new Map(endpoints.map((endpoint) => [endpoint.id, endpoint]));
    for (const id of this.#judgedLocal.keys()) if (!this.#local.has(id)) this.#judgedLocal.delete(id);
    this.localKnown = true;
    this.localRevision += 1;
  }

  receive({ reset, upsert, remove, revision }: ServerMessage & { readonly type: "catalog" }): void {
    if (reset) this.#told.clear();
    for (const endpoint of upsert) this.#told.set(endpoint.id, endpoint);
    for (const id of remove) this.#told.delete(id);
    if (reset) this.noteAll();
    for (const tracker of this.#trackers) {
      tracker.note(upsert.map(({ id }) => id));
      tracker.note(remove);
    }
    this.revision = revision;
  }

  /** What the server told, as it was kept. */
  told(): readonly Endpoint[] {
    return [...this.#told.values()];
  }

  restore(endpoints: readonly Endpoint[]): void {
    for (const endpoint of endpoints) this.#told.set(endpoint.id, endpoint);
    // Revisions of a former server do not compare with those of the next one.
    this.revision = 0;
    this.noteAll();
  }

  /** Forgets what the server told. */
  forget(): void {
    this.#told.clear();
  }

  #isLeaving({ instanceId }: Endpoint): boolean {
    return instanceId !== null && this.#view.isLeaving(instanceId);
  }

  /** This host sees its own endpoints itself; what clients' checks and maintenance say of them the server told last. */
  #judged(local: Endpoint): Endpoint {
    const said = this.#told.get(local.id)?.verdict?.said;
    if (said === undefined) return local;
    const known = this.#judgedLocal.get(local.id);
    if (known?.local === local && known.endpoint.verdict?.said === said) return known.endpoint;
    const endpoint = judged(local, said);
    this.#judgedLocal.set(local.id, { local, endpoint });
    return endpoint;
  }
}

/** Whether the server's word on an endpoint counts here: this host's own containers it sees itself. */
function isOthers({ host, origin }: Endpoint, own: string | undefined): boolean {
  return host !== own || origin === "registry";
}
