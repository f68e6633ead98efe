/**
 * The server's catalog: which endpoints the cluster answers with. Agents report the endpoints of their hosts; an endpoint
 * is visible while its host is up and its instance is not draining. Every change of what is visible has a revision, and a
 * reader that names the revision it has gets exactly the difference. All costs are those of the change, not of the whole.
 */
import {
  type CatalogHost,
  type Endpoint,
  type EndpointHealth,
  isNameOnly,
  judged,
  worstHealth,
} from "../model/endpoint.ts";
import type { InstanceId } from "../model/ids.ts";

/** A change on top of the revision before, in the form of the wire's `catalog` message. */
export interface CatalogDelta {
  readonly revision: number;
  /** Sorted by id. */
  readonly upsert: readonly Endpoint[];
  readonly remove: readonly string[];
  /** All hosts when any of them changed, else null. */
  readonly hosts: readonly CatalogHost[] | null;
  /** The same as a change, for readers that have the hosts of the revision before; null in a snapshot and without a change. */
  readonly hostChanges: { readonly upsert: readonly CatalogHost[]; readonly remove: readonly string[] } | null;
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
/** With its name after it this stands in the log for a change of a host; no endpoint id begins so. */
const HOST_CHANGED = "\t";
/** Under which name the registry's endpoints are kept; no host has it. */
const REGISTRY = "";
/** The same for a revision in which nothing visible changed; no endpoint id begins so. */
const NOTHING_CHANGED = "\n";

export class Catalog {
  #revision: number;
  readonly #hosts = new Map<string, CatalogHost>();
  /** Null after a change, until somebody asks. */
  #sortedHosts: readonly CatalogHost[] | null = null;
  /** As reported, visible or not. */
  readonly #reported = new Map<string, Map<string, Endpoint>>();
  readonly #byInstance = new Map<InstanceId, Map<string, Endpoint>>();
  #draining: ReadonlySet<InstanceId> = new Set();
  readonly #visible = new Map<string, Endpoint>();
  /** What registered checks say, where that is not "passing"; see `judge`. */
  readonly #verdicts = new Map<string, EndpointHealth>();
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

  /** Takes over what clients registered over Consul's API: it comes from no host, and its health says all. */
  applyRegistered({ upsert, remove }: Omit<EndpointChange, "reset">): void {
    const known = this.#reported.get(REGISTRY) ?? new Map<string, Endpoint>();
    this.#reported.set(REGISTRY, known);
    for (const id of remove) this.#drop(known, id);
    for (const endpoint of upsert) this.#take(known, endpoint);
    if (known.size === 0) this.#reported.delete(REGISTRY);
    this.#commit();
  }

  /** Takes over what registered checks say of endpoints and hosts; "passing" takes it back. */
  judge(what: "endpoint" | "host", name: string, said: EndpointHealth): void {
    const key = `${what} ${name}`;
    if ((this.#verdicts.get(key) ?? "passing") === said) return;
    if (said === "passing") this.#verdicts.delete(key);
    else this.#verdicts.set(key, said);
    if (what === "host") this.#refreshAll(this.#reported.get(name));
    else this.#refreshId(name);
    this.#commit();
  }

  #refreshId(id: string): void {
    const known = this.#reported.get(id.slice(0, id.indexOf(":")))?.get(id);
    if (known !== undefined) this.#refresh(id, known);
  }

  /** Adds a host or changes its address or whether it is up; a host that goes down takes its endpoints out at once. */
  putHost(host: CatalogHost): void {
    const before = this.#hosts.get(host.name);
    const sameMeta = JSON.stringify(before?.meta) === JSON.stringify(host.meta);
    if (before !== undefined && before.address === host.address && before.up === host.up && sameMeta) return;
    this.#hosts.set(host.name, host);
    this.#touchHost(host.name);
    if (before?.up !== host.up) this.#refreshAll(this.#reported.get(host.name));
    this.#commit();
  }

  /** Forgets a host with all it reported. */
  removeHost(name: string): void {
    const reported = this.#reported.get(name);
    if (reported !== undefined) for (const id of reported.keys()) this.#drop(reported, id);
    this.#reported.delete(name);
    if (this.#hosts.delete(name)) this.#touchHost(name);
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
    return {
      revision: this.#revision,
      upsert: sortedById(this.#visible.values()),
      remove: [],
      hosts: this.hosts(),
      hostChanges: null,
    };
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
    this.#sortedHosts ??= [...this.#hosts.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
    return this.#sortedHosts;
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
    if (endpoint.origin === "registry") return null;
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
    const wanted = reported !== null && this.#withheldReason(reported) === null ? this.#judged(reported) : null;
    const before = this.#visible.get(id) ?? null;
    if (before === wanted || (wanted?.verdict !== undefined && before !== null && sameEndpoint(before, wanted))) return;
    if (before !== null && !isNameOnly(before)) dropFrom(this.#services, before.service as string, id);
    if (wanted === null) {
      this.#visible.delete(id);
    } else {
      this.#visible.set(id, wanted);
      if (!isNameOnly(wanted)) addTo(this.#services, wanted.service as string, wanted);
    }
    this.#touched.add(id);
  }

  /** What is registered has its checks counted already. */
  #judged(reported: Endpoint): Endpoint {
    if (this.#verdicts.size === 0 || reported.origin === "registry") return reported;
    const said = [`endpoint ${reported.id}`, `host ${reported.host}`].map(
      (key) => this.#verdicts.get(key) ?? "passing",
    );
    return judged(reported, worstHealth(said));
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
    const names = [...ids]
      .flatMap((id) => (id.startsWith(HOST_CHANGED) ? [id.slice(HOST_CHANGED.length)] : []))
      .toSorted();
    const endpointIds = [...ids].filter((id) => !id.startsWith(HOST_CHANGED) && id !== NOTHING_CHANGED);
    const upsert = sortedById(endpointIds.flatMap((id) => this.#visible.get(id) ?? []));
    const remove = endpointIds.filter((id) => !this.#visible.has(id)).toSorted();
    const hostChanges = {
      upsert: names.flatMap((name) => this.#hosts.get(name) ?? []),
      remove: names.filter((name) => !this.#hosts.has(name)),
    };
    const changed = names.length > 0 ? { hosts: this.hosts(), hostChanges } : { hosts: null, hostChanges: null };
    return { revision: this.#revision, upsert, remove, ...changed };
  }

  #touchHost(name: string): void {
    this.#sortedHosts = null;
    this.#touched.add(HOST_CHANGED + name);
  }
}

/** Whether two reports say the same of an endpoint, so that repeating one is no change. */
export function sameEndpoint(a: Endpoint, b: Endpoint): boolean {
  return a === b || fingerprint(a) === fingerprint(b);
}

function fingerprint(endpoint: Endpoint): string {
  const { id, service, address, address6, port, protocol, tags, host, container, instanceId, appId, health } = endpoint;
  const { weights: { passing, warning } = { passing: 1, warning: 1 }, verdict } = endpoint;
  const meta = Object.entries(endpoint.meta).toSorted(([a], [b]) => (a < b ? -1 : 1));
  const checks = (endpoint.checks ?? []).map((check) => Object.values(check));
  const what = [id, service, address, address6, port, protocol, tags, meta];
  const where = [host, container, instanceId, appId, health, checks];
  return JSON.stringify([what, where, passing, warning, verdict?.own, verdict?.said]);
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
