/**
 * The console's copy of the cluster. The server sends one snapshot and then changes; each carries the next sequence
 * number. A number that does not follow means that something was lost: the store refuses the message and its caller
 * asks for a new snapshot, so what is shown is either right or said to be old, never quietly wrong.
 */
import type {
  AppJson,
  DeploymentJson,
  FeedMessage,
  FeedState,
  HostJson,
  InstanceJson,
  ServiceJson,
} from "../api/native/shapes.ts";
import { compareNatural } from "./compare-natural.ts";

/** What pages read: sorted lists with look-ups. A new object for every change, so that React can compare by identity. */
export interface FeedView extends FeedState {
  /** Null until the first snapshot. */
  readonly sequence: number | null;
  readonly instancesByApp: ReadonlyMap<string, readonly InstanceJson[]>;
  readonly instancesByHost: ReadonlyMap<string, readonly InstanceJson[]>;
}

type Kind = keyof FeedState;
const KINDS = ["hosts", "apps", "instances", "services", "deployments"] as const satisfies readonly Kind[];

interface Tables {
  readonly hosts: Map<string, HostJson>;
  readonly apps: Map<string, AppJson>;
  readonly instances: Map<string, InstanceJson>;
  readonly services: Map<string, ServiceJson>;
  readonly deployments: Map<string, DeploymentJson>;
}

const EMPTY_VIEW: FeedView = {
  sequence: null,
  hosts: [],
  apps: [],
  instances: [],
  services: [],
  deployments: [],
  instancesByApp: new Map(),
  instancesByHost: new Map(),
};

/** Runs a function once, soon; the browser's frame clock, or at once in tests. */
export type Schedule = (run: () => void) => void;

export class FeedStore {
  readonly #schedule: Schedule;
  readonly #listeners = new Set<() => void>();
  #tables: Tables = emptyTables();
  #sequence: number | null = null;
  #view: FeedView = EMPTY_VIEW;
  /** Kinds that changed since the view was built: the lists of all others are used again as they are. */
  readonly #stale = new Set<Kind>();
  #changed = false;
  #notifying = false;

  /** `schedule` folds a burst of changes into one call of the listeners. */
  constructor(schedule: Schedule = (run) => run()) {
    this.#schedule = schedule;
  }

  /** Takes a message in; false when its sequence number does not follow, and then nothing has changed. */
  apply(message: FeedMessage): boolean {
    if (message.type === "snapshot") {
      this.#tables = emptyTables();
      putAll(this.#tables, message.state);
    } else {
      if (this.#sequence === null || message.sequence !== this.#sequence + 1) return false;
      for (const kind of KINDS) for (const key of message.drop[kind] ?? []) this.#tables[kind].delete(key);
      putAll(this.#tables, message.put);
    }
    const touched = message.type === "snapshot" ? this.#tables : { ...message.put, ...message.drop };
    for (const kind of KINDS) if (kind in touched) this.#stale.add(kind);
    this.#sequence = message.sequence;
    this.#changed = true;
    this.#notify();
    return true;
  }

  /** The same object until the next change. */
  readonly view = (): FeedView => {
    if (this.#changed) {
      this.#view = buildView(this.#tables, { sequence: this.#sequence, last: this.#view, stale: this.#stale });
      this.#stale.clear();
      this.#changed = false;
    }
    return this.#view;
  };

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  #notify(): void {
    if (this.#notifying) return;
    this.#notifying = true;
    this.#schedule(() => {
      this.#notifying = false;
      for (const listener of this.#listeners) listener();
    });
  }
}

function emptyTables(): Tables {
  return { hosts: new Map(), apps: new Map(), instances: new Map(), services: new Map(), deployments: new Map() };
}

function putAll(tables: Tables, put: Partial<FeedState>): void {
  for (const host of put.hosts ?? []) tables.hosts.set(host.name, host);
  for (const app of put.apps ?? []) tables.apps.set(app.id, app);
  for (const instance of put.instances ?? []) tables.instances.set(instance.id, instance);
  for (const service of put.services ?? []) tables.services.set(service.name, service);
  for (const deployment of put.deployments ?? []) tables.deployments.set(deployment.id, deployment);
}

function buildView(
  tables: Tables,
  from: { readonly sequence: number | null; readonly last: FeedView; readonly stale: ReadonlySet<Kind> },
): FeedView {
  const { last, stale } = from;
  const instances = stale.has("instances") ? sortInstances(tables.instances) : last.instances;
  const same = instances === last.instances;
  return {
    sequence: from.sequence,
    hosts: stale.has("hosts") ? sortBy(tables.hosts, (host) => host.name) : last.hosts,
    apps: stale.has("apps") ? sortBy(tables.apps, (app) => app.id) : last.apps,
    instances,
    services: stale.has("services") ? sortBy(tables.services, (service) => service.name) : last.services,
    deployments: stale.has("deployments") ? sortDeployments(tables.deployments) : last.deployments,
    instancesByApp: same ? last.instancesByApp : Map.groupBy(instances, (instance) => instance.app),
    instancesByHost: same ? last.instancesByHost : Map.groupBy(instances, (instance) => instance.host),
  };
}

function sortBy<T>(table: ReadonlyMap<string, T>, name: (item: T) => string): readonly T[] {
  return [...table.values()].toSorted((a, b) => compareNatural(name(a), name(b)));
}

/** By app as people count; within an app by id alone, which is cheaper and as good for random ids. */
function sortInstances(table: ReadonlyMap<string, InstanceJson>): readonly InstanceJson[] {
  return [...table.values()].toSorted((a, b) =>
    a.app === b.app ? compareText(a.id, b.id) : compareNatural(a.app, b.app),
  );
}

function sortDeployments(table: ReadonlyMap<string, DeploymentJson>): readonly DeploymentJson[] {
  return [...table.values()].toSorted((a, b) => a.startedAtMs - b.startedAtMs || compareText(a.id, b.id));
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
