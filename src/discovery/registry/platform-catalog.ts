/** Shows the platform's own hosts and containers in the registry as Consul would have them: nodes and services. */
import { type Endpoint, META_NAME_ONLY, namesNode } from "../../model/endpoint.ts";
import { fingerprint, forgetNode } from "./catalog-operations.ts";
import type { CatalogView } from "./catalog-view.ts";
import { type CheckRecord, type NodeRecord, onNode, type ServiceRecord } from "./records.ts";
import type { Registry } from "./registry.ts";
import { SERF_HEALTH } from "./session-operations.ts";
import type { Unstamped } from "./tables.ts";
import type { Touched } from "./touched.ts";

export interface PlatformHost {
  /** A UUID, stable for the host's life. */
  readonly id: string;
  readonly name: string;
  readonly address: string;
  readonly up: boolean;
  /** A server of the cluster runs there. */
  readonly server: boolean;
  /** Of a server, where servers agree; missing: `SERVER_PORT`. */
  readonly serverPort?: number;
  readonly meta: Readonly<Record<string, string>>;
}

/** Consul's servers are registered with the port of their own protocol. */
export const SERVER_PORT = 8300;

export class PlatformCatalog {
  readonly #registry: Registry;
  readonly #hosts = new Map<string, string>();
  /** Host of each endpoint that is shown. */
  readonly #shown = new Map<string, string>();
  /** The same of endpoints that were registered elsewhere, and nodes outside the cluster. */
  #registered: ReadonlyMap<string, string> = new Map();
  #outside: ReadonlySet<string> = new Set();

  constructor(registry: Registry) {
    this.#registry = registry;
  }

  /** The whole list of hosts. Those that are gone take with them what was registered on them. */
  setHosts(hosts: readonly PlatformHost[]): void {
    const changed = hosts.filter((host) => this.#hosts.get(host.name) !== fingerprint(host));
    const wanted = new Set(hosts.map(({ name }) => name));
    const gone = [...this.#hosts.keys()].filter((name) => !wanted.has(name));
    if (changed.length === 0 && gone.length === 0) return;
    this.#registry.observe((view, touched, index) => {
      for (const host of changed) this.#putHost(host, { view, touched, index });
      for (const name of gone) view.dropNode(name, touched);
    });
    for (const host of changed) this.#hosts.set(host.name, fingerprint(host));
    for (const name of gone) {
      this.#hosts.delete(name);
      this.#registry.persist(
        (tx) => forgetNode(tx, name),
        () => !this.#hosts.has(name),
      );
    }
  }

  /** Changes of the endpoints that the cluster answers with. Those that clients registered came from here and are left out. */
  applyEndpoints(changed: readonly Endpoint[], gone: readonly string[]): void {
    const upsert = changed.filter(({ origin }) => origin !== "registry");
    const remove = gone.filter((id) => this.#shown.has(id));
    if (upsert.length === 0 && remove.length === 0) return;
    this.#registry.observe((view, touched, index) => {
      for (const id of remove) this.#drop(id, view, touched);
      for (const endpoint of upsert) {
        if (view.node(endpoint.host) === null) continue;
        const before = this.#shown.get(endpoint.id);
        if (before !== undefined && before !== endpoint.host) this.#drop(endpoint.id, view, touched);
        this.#shown.set(endpoint.id, endpoint.host);
        putService(serviceOf(endpoint), { view, touched, index });
        const checks = checksOf(endpoint);
        const ids = new Set(checks.map((check) => check.id));
        for (const check of view.checksFor({ node: endpoint.host, id: endpoint.id }))
          if (check.serviceId === endpoint.id && check.origin === "platform" && !ids.has(check.id))
            view.dropCheck(endpoint.host, check.id, touched);
        for (const check of checks) putCheck(check, { view, touched, index });
      }
    });
  }

  /** All endpoints there are; the rest goes. */
  resetEndpoints(endpoints: readonly Endpoint[]): void {
    const ids = new Set(endpoints.map(({ id }) => id));
    this.applyEndpoints(
      endpoints,
      [...this.#shown.keys()].filter((id) => !ids.has(id)),
    );
  }

  /**
   * All that clients registered, as another process knows it: for a registry that holds none of it itself. What an endpoint does
   * not carry, such as the single checks, is not there.
   */
  resetRegistered(endpoints: readonly Endpoint[]): void {
    const nodes = endpoints.filter(namesNode);
    const services = endpoints.filter((endpoint) => !namesNode(endpoint));
    const [nodeNames, ids] = [new Set(nodes.map(({ host }) => host)), new Set(services.map(({ id }) => id))];
    this.#registry.observe((view, touched, index) => {
      for (const [id, host] of this.#registered) if (!ids.has(id)) this.#dropRegistered({ id, host }, view, touched);
      for (const name of this.#outside) if (!nodeNames.has(name)) view.dropNode(name, touched);
      for (const { host, address, meta } of nodes)
        putNode(outsideNodeOf(host, address, meta), { view, touched, index });
      for (const endpoint of services) {
        if (view.node(endpoint.host) === null) continue;
        const { weights = { passing: 1, warning: 1 } } = endpoint;
        const service = { ...serviceOf({ ...endpoint, id: serviceIdOf(endpoint) }), weights };
        putService(service, { view, touched, index });
        for (const check of checksOf({ ...endpoint, id: service.id, checks: [] }))
          putCheck({ ...check, output: "", type: "" }, { view, touched, index });
      }
    });
    this.#outside = nodeNames;
    this.#registered = new Map(services.map(({ id, host }) => [id, host]));
  }

  #dropRegistered(endpoint: Pick<Endpoint, "id" | "host">, view: CatalogView, touched: Touched): void {
    const id = serviceIdOf(endpoint);
    view.dropCheck(endpoint.host, `service:${id}`, touched);
    view.dropService(endpoint.host, id, touched);
  }

  #drop(id: string, view: CatalogView, touched: Touched): void {
    const host = this.#shown.get(id);
    if (host === undefined) return;
    this.#shown.delete(id);
    for (const check of view.checksFor({ node: host, id }))
      if (check.serviceId === id && check.origin === "platform") view.dropCheck(host, check.id, touched);
    view.dropService(host, id, touched);
  }

  #putHost(host: PlatformHost, place: Place): void {
    const { view, touched } = place;
    const isNew = view.node(host.name) === null;
    putNode(nodeOf(host), place);
    putCheck(serfHealthOf(host), place);
    if (host.server) putService(consulServiceOf(host), place);
    else view.dropService(host.name, "consul", touched);
    if (!isNew) return;
    // What clients registered on this node is stored and waits for it.
    const prefix = onNode(host.name, "");
    for (const service of this.#registry.tables.list("service", prefix)) view.putService(service, touched);
    for (const check of this.#registry.tables.list("check", prefix)) view.putCheck(check, touched);
  }
}

interface Place {
  readonly view: CatalogView;
  readonly touched: Touched;
  readonly index: number;
}

function putNode(row: Unstamped<NodeRecord>, { view, touched, index }: Place): void {
  const before = view.node(row.node);
  if (before !== null && fingerprint(before) === fingerprint(row)) return;
  view.putNode({ ...row, createIndex: before?.createIndex ?? index, modifyIndex: index }, touched);
}

function putService(row: Unstamped<ServiceRecord>, { view, touched, index }: Place): void {
  const before = view.service(row.node, row.id);
  if (before !== null && fingerprint(before) === fingerprint(row)) return;
  view.putService({ ...row, createIndex: before?.createIndex ?? index, modifyIndex: index }, touched);
}

function putCheck(row: Unstamped<CheckRecord>, { view, touched, index }: Place): void {
  const before = view.check(row.node, row.id);
  if (before !== null && fingerprint(before) === fingerprint(row)) return;
  view.putCheck({ ...row, createIndex: before?.createIndex ?? index, modifyIndex: index }, touched);
}

function nodeOf({ id, name, address, meta }: PlatformHost): Unstamped<NodeRecord> {
  const taggedAddresses = { lan: address, lan_ipv4: address, wan: address, wan_ipv4: address };
  const shown = { "consul-network-segment": "", ...meta };
  return { id, node: name, address, taggedAddresses, meta: shown, origin: "platform" };
}

function outsideNodeOf(
  node: string,
  address: string,
  { [META_NAME_ONLY]: _mark, ...meta }: Endpoint["meta"],
): Unstamped<NodeRecord> {
  return { id: "", node, address, taggedAddresses: {}, meta, origin: "platform" };
}

/** Behind `registry/<node>/`, see RegisteredEndpoints. */
function serviceIdOf({ id }: Pick<Endpoint, "id">): string {
  return id.split("/").slice(2).join("/");
}

const NO_CHECK = {
  notes: "",
  serviceId: "",
  serviceName: "",
  serviceTags: [],
  type: "",
  interval: "",
  timeout: "",
  definition: {},
  ttlMs: 0,
  deregisterAfterMs: 0,
  origin: "platform",
} as const;

function serfHealthOf({ name, up }: PlatformHost): Unstamped<CheckRecord> {
  return {
    ...NO_CHECK,
    node: name,
    id: SERF_HEALTH,
    name: "Serf Health Status",
    status: up ? "passing" : "critical",
    output: up ? "Agent alive and reachable" : "Agent not live or unreachable",
  };
}

const NO_SERVICE = {
  kind: "",
  address: "",
  taggedAddresses: {},
  socketPath: "",
  weights: { passing: 1, warning: 1 },
  enableTagOverride: false,
  proxy: {},
  connect: {},
  origin: "platform",
} as const;

function consulServiceOf({ name, meta, serverPort: port = SERVER_PORT }: PlatformHost): Unstamped<ServiceRecord> {
  return { ...NO_SERVICE, node: name, id: "consul", name: "consul", tags: [], port, meta };
}

function serviceOf(endpoint: Endpoint): Unstamped<ServiceRecord> {
  const { id, host, service, address, port, tags, meta } = endpoint;
  const tagged = { address: address as string, port };
  const taggedAddresses = { lan_ipv4: tagged, wan_ipv4: tagged };
  return { ...NO_SERVICE, node: host, id, name: service, tags, address, taggedAddresses, port, meta };
}

function checkIdOf(endpoint: string): string {
  return `service:${endpoint}`;
}

/** The checks that the endpoint names, or one that stands for its running. */
function checksOf(endpoint: Endpoint): readonly Unstamped<CheckRecord>[] {
  const { checks = [] } = endpoint;
  if (checks.length === 0) return [checkOf(endpoint)];
  return checks.map(({ type, name, status, output, interval, timeout }, at) => {
    const id = `${checkIdOf(endpoint.id)}${checks.length === 1 ? "" : `:${at + 1}`}`;
    return { ...checkOf(endpoint), id, name, status, output, type, interval, timeout };
  });
}

function checkOf(endpoint: Endpoint): Unstamped<CheckRecord> {
  const { id, host, service, tags, health, container } = endpoint;
  return {
    ...NO_CHECK,
    node: host,
    id: checkIdOf(id),
    name: `Service '${service}' check`,
    status: health,
    output: `Container ${container} is ${health === "passing" ? "running and healthy" : health}`,
    serviceId: id,
    serviceName: service,
    serviceTags: tags,
    type: "container",
  };
}
