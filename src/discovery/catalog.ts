/**
 * The server's catalog: which endpoints the cluster answers with. Agents report the endpoints of their hosts; an endpoint
 * is visible while its host is up and its instance is not draining. Every change of what is visible has a revision, and a
 * reader that names the revision it has gets exactly the difference. All costs are those of the change, not of the whole.
 */
import { type CatalogHost, type Endpoint, isNameOnly } from "../model/endpoint.ts";
import type { InstanceId } from "../model/ids.ts";

/** A change on top of the revision before, in the form of the wire's `catalog` message. */
export interface CatalogDelta {
  readonly revision: number;
  /** Sorted by id. */
  readonly upsert: readonly Endpoint[];
  readonly remove: readonly string[];
  /** All hosts when any of them changed, else null. */
  readonly hosts: readonly CatalogHost[] | null;
}

/** Why an endpoint that a host reported is not visible. */
export type WithheldReason = "draining" | "host-down";

export interface CatalogService {
  readonly name: string;
  /** Of all endpoints, sorted. */
  readonly tags: readonly string[];
  /** Sorted by id. */
  readonly endpoints: readonly Endpoint[];
}

export interface EndpointChange {
  /** Replaces all endpoints of that host. */
  readonly reset: boolean;
  readonly upsert: readonly Endpoint[];
  readonly remove: readonly string[];
}

/** Revisions a reader may be behind and still get a difference; further back it takes the whole, which is then cheaper. */
const LOG_ENTRIES_MAX = 20_000;
/** What stands in the log for a change of the hosts; no endpoint id is empty. */
const HOSTS_CHANGED = "";
/** The same for a revision in which nothing visible changed; no endpoint id begins so. */
const NOTHING_CHANGED = "\n";

export class Catalog {
  #revision: number;
  readonly #hosts = new Map<string, CatalogHost>();
  /** As reported, visible or not. */
  readonly #reported = new Map<string, Map<string, Endpoint>>();
  readonly #byInstance = new Map<InstanceId, Map<string, Endpoint>>();
  #draining: ReadonlySet<InstanceId> = new Set();
  readonly #visible = new Map<string, Endpoint>();
  readonly #services = new Map<string, Map<string, Endpoint>>();
  /** Ids in the order of their last changes; a revision each. */
  #log: { readonly revision: number; readonly id: string }[] = [];
  /** Revisions up to this one have left the log. */
  #logStart: number;
  #touched: Set<string> = new Set();
  readonly #listeners = new Set<(delta: CatalogDelta) => void>();

  /** `firstRevision`: of the empty catalog. A server counts on from what earlier runs of it may have promised. */
  constructor(firstRevision = 1) {
    this.#revision = firstRevision;
    this.#logStart = firstRevision;
  }

  get revision(): number {
    return this.#revision;
  }

  /**
   * Takes over what a host's agent reports. Endpoints that claim another host, or an id outside the host's own
   * `<host>:`, are refused, so that no agent can take another's endpoints away; their ids are returned.
   */
  applyEndpoints(host: string, change: EndpointChange): readonly string[] {
    const known = this.#reported.get(host) ?? new Map<string, Endpoint>();
    this.#reported.set(host, known);
    const mine = (endpoint: Endpoint): boolean => endpoint.host === host && endpoint.id.startsWith(`${host}:`);
    const wanted = new Set(change.upsert.filter(mine).map((endpoint) => endpoint.id));
    const gone = change.reset ? [...known.keys()].filter((id) => !wanted.has(id)) : change.remove;
    for (const id of gone) this.#drop(known, id);
    for (const endpoint of change.upsert) if (mine(endpoint)) this.#take(known, endpoint);
    if (known.size === 0) this.#reported.delete(host);
    this.#commit();
    return change.upsert.filter((endpoint) => !mine(endpoint)).map((endpoint) => endpoint.id);
  }

  /** Adds a host or changes its address or whether it is up; a host that goes down takes its endpoints out at once. */
  putHost(host: CatalogHost): void {
    const before = this.#hosts.get(host.name);
    if (before !== undefined && before.address === host.address && before.up === host.up) return;
    this.#hosts.set(host.name, host);
    this.#touched.add(HOSTS_CHANGED);
    if (before?.up !== host.up) this.#refreshAll(this.#reported.get(host.name));
    this.#commit();
  }

  /** Forgets a host with all it reported. */
  removeHost(name: string): void {
    const reported = this.#reported.get(name);
    if (reported !== undefined) for (const id of reported.keys()) this.#drop(reported, id);
    this.#reported.delete(name);
    if (this.#hosts.delete(name)) this.#touched.add(HOSTS_CHANGED);
    this.#commit();
  }

  /**
   * The whole set of instances whose endpoints are to be out; returns the first revision that has them out. More of them
   * make a new revision even if none was visible: their own hosts may serve what they have not reported yet, and only a
   * revision that is sent after the news tells that they have it.
   */
  setDraining(instances: Iterable<InstanceId>): number {
    const before = this.#draining;
    this.#draining = new Set(instances);
    for (const id of this.#draining) {
      if (before.has(id)) continue;
      this.#touched.add(NOTHING_CHANGED);
      this.#refreshAll(this.#byInstance.get(id));
    }
    for (const id of before) if (!this.#draining.has(id)) this.#refreshAll(this.#byInstance.get(id));
    this.#commit();
    return this.#revision;
  }

  /** Called after every change, before the changing call returns. Readers that coalesce use `changesSince` instead. */
  subscribe(listener: (delta: CatalogDelta) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** All that changed after that revision as one delta, null when it is too long ago: take `snapshot` then. */
  changesSince(revision: number): CatalogDelta | null {
    if (revision < this.#logStart || revision > this.#revision) return null;
    const ids = new Set<string>();
    for (let index = this.#log.length - 1; index >= 0; index--) {
      const entry = this.#log[index];
      if (entry === undefined || entry.revision <= revision) break;
      ids.add(entry.id);
    }
    return this.#delta(ids);
  }

  /** All of it, to be sent with `reset: true`. */
  snapshot(): CatalogDelta {
    return { revision: this.#revision, upsert: sortedById(this.#visible.values()), remove: [], hosts: this.hosts() };
  }

  /** Visible endpoints of services, sorted by id; those that only name a container are in the deltas alone. */
  list(): readonly Endpoint[] {
    return sortedById([...this.#visible.values()].filter((endpoint) => !isNameOnly(endpoint)));
  }

  /** Visible endpoints that only name a container, sorted by id. */
  named(): readonly Endpoint[] {
    return sortedById([...this.#visible.values()].filter(isNameOnly));
  }

  /** Sorted by name. */
  hosts(): readonly CatalogHost[] {
    return [...this.#hosts.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Services with at least one visible endpoint, sorted by name. */
  services(): readonly CatalogService[] {
    return [...this.#services.keys()].toSorted().flatMap((name) => this.service(name) ?? []);
  }

  /** Null when no visible endpoint has that name. */
  service(name: string): CatalogService | null {
    const group = this.#services.get(name);
    if (group === undefined) return null;
    const endpoints = sortedById(group.values());
    const tags = [...new Set(endpoints.flatMap((endpoint) => endpoint.tags))].toSorted();
    return { name, tags, endpoints };
  }

  /** What hosts reported and nobody is sent to, sorted by id: for explanations. */
  withheld(): readonly { readonly endpoint: Endpoint; readonly reason: WithheldReason }[] {
    const reported = [...this.#reported.values()]
      .flatMap((group) => [...group.values()])
      .filter((endpoint) => !isNameOnly(endpoint));
    return sortedById(reported).flatMap((endpoint) => {
      const reason = this.#withheldReason(endpoint);
      return reason === null ? [] : [{ endpoint, reason }];
    });
  }

  #withheldReason(endpoint: Endpoint): WithheldReason | null {
    if (this.#hosts.get(endpoint.host)?.up !== true) return "host-down";
    return endpoint.instanceId !== null && this.#draining.has(endpoint.instanceId) ? "draining" : null;
  }

  #take(known: Map<string, Endpoint>, endpoint: Endpoint): void {
    const before = known.get(endpoint.id);
    if (before !== undefined && sameEndpoint(before, endpoint)) return;
    if (before !== undefined) this.#unlink(before);
    known.set(endpoint.id, endpoint);
    if (endpoint.instanceId !== null) addTo(this.#byInstance, endpoint.instanceId, endpoint);
    this.#refresh(endpoint.id, endpoint);
  }

  #drop(known: Map<string, Endpoint>, id: string): void {
    const before = known.get(id);
    if (before === undefined) return;
    known.delete(id);
    this.#unlink(before);
    this.#refresh(id, null);
  }

  #unlink(endpoint: Endpoint): void {
    if (endpoint.instanceId !== null) dropFrom(this.#byInstance, endpoint.instanceId, endpoint.id);
  }

  #refreshAll(group: ReadonlyMap<string, Endpoint> | undefined): void {
    for (const endpoint of group?.values() ?? []) this.#refresh(endpoint.id, endpoint);
  }

  /** Brings what is visible of one endpoint in line with what was reported of it. */
  #refresh(id: string, reported: Endpoint | null): void {
    const wanted = reported !== null && this.#withheldReason(reported) === null ? reported : null;
    const before = this.#visible.get(id) ?? null;
    if (before === wanted) return;
    if (before !== null && !isNameOnly(before)) dropFrom(this.#services, before.service as string, id);
    if (wanted === null) {
      this.#visible.delete(id);
    } else {
      this.#visible.set(id, wanted);
      if (!isNameOnly(wanted)) addTo(this.#services, wanted.service as string, wanted);
    }
    this.#touched.add(id);
  }

  /** Makes one revision of all that was touched since the last one, and tells the listeners. */
  #commit(): void {
    if (this.#touched.size === 0) return;
    const touched = this.#touched;
    this.#touched = new Set();
    this.#revision += 1;
    for (const id of touched) this.#log.push({ revision: this.#revision, id });
    // Cut at half as much again, so that the cost of cutting is spread over many changes.
    if (this.#log.length > LOG_ENTRIES_MAX * 1.5) {
      const cut = this.#log.length - LOG_ENTRIES_MAX;
      this.#logStart = this.#log[cut - 1]?.revision ?? this.#logStart;
      this.#log = this.#log.slice(cut);
    }
    if (this.#listeners.size === 0) return;
    const delta = this.#delta(touched);
    for (const listener of this.#listeners) listener(delta);
  }

  #delta(ids: ReadonlySet<string>): CatalogDelta {
    const endpointIds = [...ids].filter((id) => id !== HOSTS_CHANGED && id !== NOTHING_CHANGED);
    const upsert = sortedById(endpointIds.flatMap((id) => this.#visible.get(id) ?? []));
    const remove = endpointIds.filter((id) => !this.#visible.has(id)).toSorted();
    return { revision: this.#revision, upsert, remove, hosts: ids.has(HOSTS_CHANGED) ? this.hosts() : null };
  }
}

/** Whether two reports say the same of an endpoint, so that repeating one is no change. */
export function sameEndpoint(a: Endpoint, b: Endpoint): boolean {
  return a === b || fingerprint(a) === fingerprint(b);
}

function fingerprint(endpoint: Endpoint): string {
  const { id, service, address, address6, port, protocol, tags, host, container, instanceId, appId, health } = endpoint;
  const meta = Object.entries(endpoint.meta).toSorted(([a], [b]) => (a < b ? -1 : 1));
  const what = [id, service, address, address6, port, protocol, tags, meta];
  return JSON.stringify([...what, host, container, instanceId, appId, health]);
}

function sortedById(endpoints: Iterable<Endpoint>): readonly Endpoint[] {
  return [...endpoints].toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

function addTo<Key>(index: Map<Key, Map<string, Endpoint>>, key: Key, endpoint: Endpoint): void {
  const group = index.get(key) ?? new Map<string, Endpoint>();
  index.set(key, group.set(endpoint.id, endpoint));
}

function dropFrom<Key>(index: Map<Key, Map<string, Endpoint>>, key: Key, id: string): void {
  const group = index.get(key);
  group?.delete(id);
  if (group?.size === 0) index.delete(key);
}
