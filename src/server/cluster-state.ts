import type { AppSpec, AppVersion } from "../model/app.ts";
import { DEFAULT_SETTINGS, type ClusterSettings } from "../model/cluster.ts";
import type { Deployment, LastFailure } from "../model/deployment.ts";
import { AppError } from "../model/error.ts";
import type { Host } from "../model/host.ts";
import type { AppId, DeploymentId, HostId, InstanceId, Version } from "../model/ids.ts";
import type { Assignment, Instance } from "../model/instance.ts";
import type { NetworkConfig, NetworkObject, NetworkObjectKind } from "../model/network-config.ts";
import type { Ipv4 } from "../model/ip.ts";
import { REGISTRY_PREFIX } from "../discovery/registry/row-keys.ts";
import type { BackoffState } from "../scheduling/backoff.ts";
import type { Store, StoreCondition, StoreWrite } from "../platform/ports/store.ts";

/** Keys of the store. Ids with slashes are encoded, so that one app's prefix is never another's. */
export const keyOf = {
  settings: "cluster/settings",
  probeKey: "cluster/probe-key",
  app: (id: AppId): string => `app/${encodeURIComponent(id)}`,
  version: (id: AppId, version: Version): string => `version/${encodeURIComponent(id)}/${version}`,
  versions: (id: AppId): string => `version/${encodeURIComponent(id)}/`,
  instance: (id: InstanceId): string => `instance/${id}`,
  deployment: (id: DeploymentId): string => `deployment/${id}`,
  host: (id: HostId): string => `host/${id}`,
  failure: (id: AppId): string => `failure/${encodeURIComponent(id)}`,
  backoff: (id: AppId): string => `backoff/${encodeURIComponent(id)}`,
  networkObject: (kind: NetworkObjectKind, name: string): string => `net/${kind}/${name}`,
};

/**
 * The store's content as typed maps, kept in step with every commit of this process. Reads never touch the disk; what
 * the maps hold was acknowledged by the store before.
 */
export class ClusterState {
  settings: ClusterSettings = DEFAULT_SETTINGS;
  readonly apps = new Map<AppId, AppVersion>();
  readonly instances = new Map<InstanceId, Instance>();
  readonly deployments = new Map<DeploymentId, Deployment>();
  readonly hosts = new Map<HostId, Host>();
  readonly failures = new Map<AppId, LastFailure>();
  readonly backoffs = new Map<AppId, BackoffState>();
  /** Declared network objects, by kind and name. */
  readonly networkObjects = new Map<NetworkObjectKind, Map<string, NetworkObject>>();
  /** Stored instances by host, kept with `instances`. */
  readonly instancesByHost = new Map<HostId, Map<InstanceId, Instance>>();
  readonly #instanceChanges = new Map<HostId, number>();
  readonly #versions = new Map<AppId, Map<Version, AppVersion>>();
  readonly store: Store;
  readonly #listeners = new Set<(writes: readonly StoreWrite[]) => void>();

  private constructor(store: Store) {
    this.store = store;
  }

  /** Reads everything once; the settings are written on the first start and kept after. */
  static async load(store: Store, initial: ClusterSettings): Promise<ClusterState> {
    const state = new ClusterState(store);
    store.watch((change) => {
      // Consul's records are the registry's: a busy key must not wake the scheduler and the console.
      if (change.writes.every(({ key }) => key.startsWith(REGISTRY_PREFIX))) return;
      for (const write of change.writes) state.#absorb(write.key, write.kind === "put" ? write.value : null);
      for (const listener of state.#listeners) listener(change.writes);
    });
    for (const prefix of [
      "cluster/",
      "version/",
      "app/",
      "instance/",
      "deployment/",
      "host/",
      "failure/",
      "backoff/",
      "net/",
    ]) {
      for (const entry of await store.list(prefix)) state.#absorb(entry.key, entry.value);
    }
    if ((await store.get(keyOf.settings)) === null) {
      await store.commit(
        [{ kind: "put", key: keyOf.settings, value: initial }],
        [{ key: keyOf.settings, revision: 0 }],
      );
    }
    return state;
  }

  /** Gives a cluster that has no IPv6 range this one; its hosts hear of it when they connect. */
  async addRange6(range6: string | null): Promise<void> {
    await this.update<ClusterSettings>(keyOf.settings, (settings) => ({
      ...settings,
      range6: settings.range6 ?? range6,
    }));
  }

  /** Calls after each commit, with its writes. */
  onCommit(listener: (writes: readonly StoreWrite[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** @throws AppError `conflict` when a condition fails: somebody else was first, nothing was written. */
  async commit(writes: readonly StoreWrite[], conditions: readonly StoreCondition[] = []): Promise<void> {
    if (writes.length === 0) return;
    if ((await this.store.commit(writes, conditions)) === null) {
      throw new AppError("conflict", "Cannot store the change: the same object was changed by someone else meanwhile", {
        hint: "Look at the present state and try again",
      });
    }
  }

  /**
   * Changes the record as it is in the store now: others change other fields of it at the same time, and neither may undo
   * the other's. Null when there is no such record (any more).
   */
  async update<Value>(key: string, change: (value: Value) => Value): Promise<Value | null> {
    for (;;) {
      const entry = await this.store.get(key);
      if (entry === null) return null;
      const value = change(entry.value as Value);
      const condition = { key, revision: entry.revision };
      if ((await this.store.commit([{ kind: "put", key, value }], [condition])) !== null) return value;
    }
  }

  /** A kept version, null when there is none. */
  versionOf(id: AppId, version: Version): AppVersion | null {
    return this.#versions.get(id)?.get(version) ?? null;
  }

  /** The definition an instance runs; null only when its version record is gone, which no commit of ours leaves. */
  specOf(instance: Instance): AppSpec | null {
    return this.versionOf(instance.appId, instance.version)?.spec ?? null;
  }

  /** The kept versions of an app, newest first. */
  versionsOf(id: AppId): readonly AppVersion[] {
    return [...(this.#versions.get(id)?.values() ?? [])].toSorted((a, b) => (a.version > b.version ? -1 : 1));
  }

  /** Addresses that apps have for their own, as declared, sorted. */
  fixedAddresses(): readonly Ipv4[] {
    return [...this.apps.values()].flatMap(({ spec }) => spec.addresses ?? []).toSorted();
  }

  /** What a host is to run, with the definitions. */
  assignmentsOf(hostId: HostId): ReadonlyMap<InstanceId, Assignment> {
    const assignments = new Map<InstanceId, Assignment>();
    for (const instance of this.instancesByHost.get(hostId)?.values() ?? []) {
      const spec = this.specOf(instance);
      if (spec !== null) assignments.set(instance.id, { instance, spec });
    }
    return assignments;
  }

  /** How often the instances of a host have changed: who remembers the number knows whether to look again. */
  instanceChanges(hostId: HostId): number {
    return this.#instanceChanges.get(hostId) ?? 0;
  }

  networkObjectsOf<Kind extends NetworkObjectKind>(kind: Kind): readonly NetworkObject<Kind>[] {
    const objects = [...(this.networkObjects.get(kind)?.values() ?? [])] as NetworkObject<Kind>[];
    return objects.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  networkConfig(): NetworkConfig {
    return {
      networks: this.networkObjectsOf("network"),
      policies: this.networkObjectsOf("policy"),
      publications: this.networkObjectsOf("publication"),
      imports: this.networkObjectsOf("import"),
      virtuals: this.networkObjectsOf("virtual"),
    };
  }

  hostByName(name: string): Host | null {
    return [...this.hosts.values()].find((host) => host.name === name) ?? null;
  }

  #absorb(key: string, value: unknown): void {
    const [kind = ""] = key.split("/", 1);
    const rest = key.slice(kind.length + 1);
    switch (kind) {
      case "cluster":
        if (key === keyOf.settings && value !== null) this.settings = { ...DEFAULT_SETTINGS, ...(value as object) };
        return;
      case "app":
        return put(this.apps, decodeURIComponent(rest) as AppId, value);
      case "version":
        return this.#absorbVersion(rest, value as AppVersion | null);
      case "instance":
        return this.#absorbInstance(rest as InstanceId, value as Instance | null);
      case "deployment":
        return put(this.deployments, rest as DeploymentId, value);
      case "host":
        return put(this.hosts, rest as HostId, value);
      case "failure":
        return put(this.failures, decodeURIComponent(rest) as AppId, value);
      case "backoff":
        return put(this.backoffs, decodeURIComponent(rest) as AppId, value);
      case "net":
        return this.#absorbNetworkObject(rest, value);
      default:
        return;
    }
  }

  #absorbNetworkObject(rest: string, value: unknown): void {
    const [kind = "", name = ""] = rest.split("/");
    const ofKind = this.networkObjects.get(kind as NetworkObjectKind) ?? new Map<string, NetworkObject>();
    put(ofKind, name, value);
    this.networkObjects.set(kind as NetworkObjectKind, ofKind);
  }

  #absorbVersion(rest: string, value: AppVersion | null): void {
    const [app = "", version = ""] = rest.split("/");
    const id = decodeURIComponent(app) as AppId;
    const ofApp = this.#versions.get(id) ?? new Map<Version, AppVersion>();
    put(ofApp, version as Version, value);
    put(this.#versions, id, ofApp.size === 0 ? null : ofApp);
  }

  #absorbInstance(id: InstanceId, value: Instance | null): void {
    const before = this.instances.get(id);
    for (const hostId of new Set([before?.hostId, value?.hostId])) {
      if (hostId !== undefined) this.#instanceChanges.set(hostId, this.instanceChanges(hostId) + 1);
    }
    if (before !== undefined) this.instancesByHost.get(before.hostId)?.delete(id);
    put(this.instances, id, value);
    if (value === null) return;
    const ofHost = this.instancesByHost.get(value.hostId) ?? new Map<InstanceId, Instance>();
    this.instancesByHost.set(value.hostId, ofHost.set(id, value));
  }
}

function put<K, V>(map: Map<K, V>, key: K, value: unknown): void {
  if (value === null) map.delete(key);
  else map.set(key, value as V);
}
