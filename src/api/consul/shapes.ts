/** Nodes, services and checks as Consul's clients parse them, and what a filter may ask of each. */
import type { CheckRecord, NodeRecord, ServiceRecord } from "../../discovery/registry/records.ts";
import type { Shape } from "../../discovery/registry/filter/evaluate-filter.ts";

export function renderNode(node: NodeRecord, datacenter: string): object {
  return {
    ID: node.id,
    Node: node.node,
    Address: node.address,
    Datacenter: datacenter,
    TaggedAddresses: node.taggedAddresses,
    Meta: node.meta,
    CreateIndex: node.createIndex,
    ModifyIndex: node.modifyIndex,
  };
}

/** One instance with its node, flat: catalog/service. */
export function renderCatalogService(service: ServiceRecord, node: NodeRecord, datacenter: string): object {
  return {
    ID: node.id,
    Node: node.node,
    Address: node.address,
    Datacenter: datacenter,
    TaggedAddresses: node.taggedAddresses,
    NodeMeta: node.meta,
    ServiceKind: service.kind,
    ServiceID: service.id,
    ServiceName: service.name,
    ServiceTags: service.tags,
    ServiceAddress: service.address,
    ServiceTaggedAddresses: renderTagged(service),
    ServiceWeights: renderWeights(service),
    ServiceMeta: service.meta,
    ServicePort: service.port,
    ServiceSocketPath: service.socketPath,
    ServiceEnableTagOverride: service.enableTagOverride,
    ServiceProxy: renderProxy(service),
    ServiceConnect: service.connect,
    CreateIndex: service.createIndex,
    ModifyIndex: service.modifyIndex,
  };
}

/** One instance alone: catalog/node, health/service. */
export function renderService(service: ServiceRecord): object {
  return {
    ...(service.kind === "" ? {} : { Kind: service.kind }),
    ID: service.id,
    Service: service.name,
    Tags: service.tags,
    Address: service.address,
    ...taggedIfAny(service),
    Meta: service.meta,
    Port: service.port,
    ...(service.socketPath === "" ? {} : { SocketPath: service.socketPath }),
    Weights: renderWeights(service),
    EnableTagOverride: service.enableTagOverride,
    Proxy: renderProxy(service),
    Connect: service.connect,
    PeerName: "",
    CreateIndex: service.createIndex,
    ModifyIndex: service.modifyIndex,
  };
}

/** One instance as its agent has it. */
export function renderAgentService(service: ServiceRecord, datacenter: string): object {
  return {
    ...(service.kind === "" ? {} : { Kind: service.kind }),
    ID: service.id,
    Service: service.name,
    Tags: service.tags,
    Meta: service.meta,
    Port: service.port,
    Address: service.address,
    ...taggedIfAny(service),
    ...(service.socketPath === "" ? {} : { SocketPath: service.socketPath }),
    Weights: renderWeights(service),
    EnableTagOverride: service.enableTagOverride,
    ...(Object.keys(service.proxy).length === 0 ? {} : { Proxy: service.proxy }),
    ...(Object.keys(service.connect).length === 0 ? {} : { Connect: service.connect }),
    Datacenter: datacenter,
  };
}

export function renderCheck(check: CheckRecord): object {
  return {
    Node: check.node,
    CheckID: check.id,
    Name: check.name,
    Status: check.status,
    Notes: check.notes,
    Output: check.output,
    ServiceID: check.serviceId,
    ServiceName: check.serviceName,
    ServiceTags: check.serviceTags,
    Type: check.type,
    Interval: check.interval,
    Timeout: check.timeout,
    ExposedPort: 0,
    Definition: check.definition,
    CreateIndex: check.createIndex,
    ModifyIndex: check.modifyIndex,
  };
}

function renderWeights({ weights }: ServiceRecord): object {
  return { Passing: weights.passing, Warning: weights.warning };
}

function renderTagged({ taggedAddresses }: ServiceRecord): object {
  return Object.fromEntries(
    Object.entries(taggedAddresses).map(([name, { address, port }]) => [name, { Address: address, Port: port }]),
  );
}

function taggedIfAny(service: ServiceRecord): object {
  return Object.keys(service.taggedAddresses).length === 0 ? {} : { TaggedAddresses: renderTagged(service) };
}

function renderProxy({ proxy }: ServiceRecord): object {
  return Object.keys(proxy).length === 0 ? { Mode: "", MeshGateway: {}, Expose: {} } : proxy;
}

const STAMPS = { CreateIndex: "number", ModifyIndex: "number" } as const;

export const NODE_SHAPE = {
  ID: "text",
  Node: "text",
  Address: "text",
  Datacenter: "text",
  TaggedAddresses: "map",
  Meta: "map",
  ...STAMPS,
} as const satisfies Shape;

export const SERVICE_SHAPE = {
  Kind: "text",
  ID: "text",
  Service: "text",
  Tags: "texts",
  Address: "text",
  TaggedAddresses: "map",
  Meta: "map",
  Port: "number",
  SocketPath: "text",
  Weights: { Passing: "number", Warning: "number" },
  EnableTagOverride: "boolean",
  Proxy: {
    DestinationServiceName: "text",
    DestinationServiceID: "text",
    LocalServiceAddress: "text",
    LocalServicePort: "number",
  },
  Connect: { Native: "boolean" },
  PeerName: "text",
  Datacenter: "text",
  ...STAMPS,
} as const satisfies Shape;

export const CATALOG_SERVICE_SHAPE = {
  ID: "text",
  Node: "text",
  Address: "text",
  Datacenter: "text",
  TaggedAddresses: "map",
  NodeMeta: "map",
  ServiceKind: "text",
  ServiceID: "text",
  ServiceName: "text",
  ServiceTags: "texts",
  ServiceAddress: "text",
  ServiceTaggedAddresses: "map",
  ServiceWeights: { Passing: "number", Warning: "number" },
  ServiceMeta: "map",
  ServicePort: "number",
  ServiceSocketPath: "text",
  ServiceEnableTagOverride: "boolean",
  ServiceProxy: SERVICE_SHAPE.Proxy,
  ServiceConnect: SERVICE_SHAPE.Connect,
  ...STAMPS,
} as const satisfies Shape;

export const CHECK_SHAPE = {
  Node: "text",
  CheckID: "text",
  Name: "text",
  Status: "text",
  Notes: "text",
  Output: "text",
  ServiceID: "text",
  ServiceName: "text",
  ServiceTags: "texts",
  Type: "text",
  Interval: "text",
  Timeout: "text",
  ...STAMPS,
} as const satisfies Shape;

export const INSTANCE_SHAPE = {
  Node: NODE_SHAPE,
  Service: SERVICE_SHAPE,
  Checks: CHECK_SHAPE,
} as const satisfies Shape;
