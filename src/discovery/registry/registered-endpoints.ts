/**
 * Shows what clients registered over Consul's API to the rest of the platform, as endpoints: DNS, ingress, virtual addresses and
 * the console know no other kind. Only what a change touched is looked at again. The servers' own service `consul`, which is what
 * people ask DNS for first to see whether it answers, is shown to DNS alone.
 */
import { type Endpoint, type EndpointHealth, META_NAME_ONLY, NAMES_NODE, NAMES_SERVER } from "../../model/endpoint.ts";
import type { ServiceName } from "../../model/ids.ts";
import { byText } from "./catalog-view.ts";
import { type CheckRecord, type NodeRecord, onNode, type ServiceRecord } from "./records.ts";
import type { Registry } from "./registry.ts";
import { topic, type Touched } from "./touched.ts";

export interface RegisteredChange {
  readonly upsert: readonly Endpoint[];
  /** Ids. */
  readonly remove: readonly string[];
}

const NODE_CHECKS = "node-checks:";
const NODE = "node:";
/** Name, and id on its node, of the service that servers are instances of. */
const SERVERS = "consul";
const SERVER = "registry-server/";

export interface RegisteredListener {
  change(change: RegisteredChange): void;
  /** What checks that clients registered say of a container's endpoint, or of all on a host. */
  judge(what: "endpoint" | "host", name: string, said: EndpointHealth): void;
}

export class RegisteredEndpoints {
  readonly #registry: Registry;
  readonly #listener: RegisteredListener;
  /** Ids of endpoints that are shown, with what they were made of. */
  readonly #shown = new Set<string>();
  /** Of nodes that were registered or have registered services: what all of these depend on. */
  readonly #nodes = new Map<string, string>();
  /** `onNode` ids of services that may have changed. */
  #dirty = new Set<string>();
  #dirtyNodes = new Set<string>();
  /** Nodes that are, or may have ceased to be, servers. */
  #dirtyServers = new Set<string>();

  /** Tells the listener at once of all there is, then of every change. */
  constructor(registry: Registry, listener: RegisteredListener) {
    this.#registry = registry;
    this.#listener = listener;
    registry.onChange(({ table, id, row }, before) => {
      if (table === "service") this.#dirty.add(id);
      if (table === "node") this.#dirtyNodes.add(id);
      if (table === "check") this.#noteCheck((row ?? before) as CheckRecord, before as CheckRecord | null);
    });
    registry.onTouched((touched) => this.#follow(touched));
    for (const { node } of registry.view.instances(SERVERS)) this.#dirtyServers.add(node);
    for (const node of registry.tables.list("node", "")) this.#dirtyNodes.add(node.node);
    for (const service of registry.tables.list("service", "")) this.#dirty.add(onNode(service.node, service.id));
    for (const check of registry.tables.list("check", "")) this.#noteCheck(check, null);
    this.#flush();
  }

  #noteCheck(check: CheckRecord, before: CheckRecord | null): void {
    for (const { node, serviceId } of before === null ? [check] : [check, before]) {
      if (serviceId === "") this.#dirtyNodes.add(node);
      else this.#dirty.add(onNode(node, serviceId));
    }
  }

  /** Checks and addresses of nodes come from hosts, too, and count for what is registered on them. */
  #follow({ topics }: Touched): void {
    for (const moved of topics) {
      if (moved.startsWith(NODE_CHECKS)) this.#noteNode(moved.slice(NODE_CHECKS.length));
      else if (moved.startsWith(NODE)) this.#noteNode(moved.slice(NODE.length));
    }
    if (topics.has(topic.health(SERVERS))) this.#noteServers();
    this.#flush();
  }

  #noteNode(node: string): void {
    if (this.#nodes.has(node) && this.#nodes.get(node) !== this.#stateOf(node)) this.#dirtyNodes.add(node);
  }

  #noteServers(): void {
    for (const { node } of this.#registry.view.instances(SERVERS)) this.#dirtyServers.add(node);
    for (const id of this.#shown) if (id.startsWith(SERVER)) this.#dirtyServers.add(id.slice(SERVER.length));
  }

  /** Everything about a node that its services' endpoints show; "" when it is not there. */
  #stateOf(name: string): string {
    const { view } = this.#registry;
    const node = view.node(name);
    return node === null ? "" : `${node.address} ${healthOf(view.checksFor({ node: name, id: "" }))}`;
  }

  #flush(): void {
    if (this.#dirty.size === 0 && this.#dirtyNodes.size === 0 && this.#dirtyServers.size === 0) return;
    const upsert = new Map<string, Endpoint>();
    const remove: string[] = [];
    const put = (id: string, endpoint: Endpoint | null): void => {
      if (endpoint !== null) {
        this.#shown.add(id);
        upsert.set(id, endpoint);
      } else if (this.#shown.delete(id)) {
        remove.push(id);
      }
    };
    for (const node of this.#dirtyNodes) {
      for (const { id } of this.#registry.tables.list("service", onNode(node, ""))) this.#dirty.add(onNode(node, id));
      put(nodeIdOf(node), this.#nodeEndpoint(node));
      this.#listener.judge("host", node, this.#saidOf(node, ""));
    }
    for (const key of this.#dirty) {
      const at = key.indexOf("\0");
      const [node, id] = [key.slice(0, at), key.slice(at + 1)];
      put(endpointIdOf(node, id), this.#serviceEndpoint(node, id));
      // Of a container: it is known by its own id.
      if (this.#registry.tables.get("service", key) === null && id.startsWith(`${node}:`))
        this.#listener.judge("endpoint", id, this.#saidOf(node, id));
      this.#noteUse(node);
    }
    for (const node of this.#dirtyNodes) this.#noteUse(node);
    for (const node of this.#dirtyServers) put(serverIdOf(node), this.#serverEndpoint(node));
    this.#dirty = new Set();
    this.#dirtyNodes = new Set();
    this.#dirtyServers = new Set();
    if (upsert.size > 0 || remove.length > 0)
      this.#listener.change({ upsert: [...upsert.values()].toSorted((a, b) => byText(a.id, b.id)), remove });
  }

  /** By the checks that clients registered; those of the platform are in the endpoint's health. */
  #saidOf(node: string, id: string): EndpointHealth {
    const checks = this.#registry.view.checksFor({ node, id });
    return healthOf(checks.filter(({ origin, serviceId }) => origin === "api" && serviceId === id));
  }

  #noteUse(node: string): void {
    const state = this.#stateOf(node);
    // What is registered on a host of the cluster waits for it when it is not there.
    const used = this.#registry.tables.ids("service", onNode(node, "")).next().done !== true;
    if (used || state !== "") this.#nodes.set(node, state);
    else this.#nodes.delete(node);
  }

  /** The cluster's own hosts have their names already. */
  #nodeEndpoint(name: string): Endpoint | null {
    const node = this.#registry.view.node(name);
    if (node === null || node.origin === "platform") return null;
    return {
      ...NO_CONTAINER,
      id: nodeIdOf(name),
      service: name as ServiceName,
      address: node.address,
      port: 0,
      tags: [],
      meta: { ...node.meta, [META_NAME_ONLY]: NAMES_NODE },
      host: name,
      health: "passing",
    };
  }

  #serviceEndpoint(nodeName: string, id: string): Endpoint | null {
    const { view } = this.#registry;
    const node = view.node(nodeName);
    const service = view.service(nodeName, id);
    if (node === null || service === null || service.origin === "platform") return null;
    return endpointOf(service, node, healthOf(view.checksFor(service)));
  }

  #serverEndpoint(name: string): Endpoint | null {
    const { view } = this.#registry;
    const node = view.node(name);
    const service = view.service(name, SERVERS);
    if (node === null || service?.origin !== "platform") return null;
    const own = endpointOf(service, node, healthOf(view.checksFor(service)));
    return { ...own, id: serverIdOf(name), meta: { ...own.meta, [META_NAME_ONLY]: NAMES_SERVER } };
  }
}

const NO_CONTAINER = {
  protocol: "tcp",
  container: "",
  instanceId: null,
  appId: null,
  origin: "registry",
} as const;

function endpointOf(service: ServiceRecord, node: NodeRecord, health: EndpointHealth): Endpoint {
  const { passing, warning } = service.weights;
  // What an endpoint of ours means with this mark is nobody's to register.
  const { [META_NAME_ONLY]: _mark, ...meta } = service.meta;
  return {
    ...NO_CONTAINER,
    id: endpointIdOf(service.node, service.id),
    // DNS ignores case (RFC 4343), and so does everything that goes by a service's name here.
    service: service.name.toLowerCase() as ServiceName,
    address: service.address === "" ? node.address : service.address,
    port: service.port,
    protocol: service.tags.includes("udp") ? "udp" : "tcp",
    tags: service.tags,
    meta,
    host: service.node,
    health,
    ...(passing === 1 && warning === 1 ? {} : { weights: { passing, warning } }),
  };
}

/** Worst of the checks of node and service, maintenance included. */
export function healthOf(checks: readonly CheckRecord[]): EndpointHealth {
  if (checks.some(({ status }) => status === "critical")) return "critical";
  return checks.some(({ status }) => status === "warning") ? "warning" : "passing";
}

/** No name of a host has a slash, so no endpoint of a container has such an id. */
function endpointIdOf(node: string, id: string): string {
  return `registry/${encodeURIComponent(node)}/${id}`;
}

function serverIdOf(node: string): string {
  return `${SERVER}${node}`;
}

function nodeIdOf(node: string): string {
  return `registry-node/${node}`;
}
