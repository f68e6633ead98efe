import { deregister, register } from "../../discovery/registry/catalog-operations.ts";
import type { NodeRecord } from "../../discovery/registry/records.ts";
import { registryError } from "../../discovery/registry/registry-error.ts";
import { topic } from "../../discovery/registry/touched.ts";
import type { HttpResponse } from "../../platform/ports/http.ts";
import type { Call } from "./call.ts";
import {
  chooseInstances,
  connectInstances,
  hasMeta,
  readFilter,
  readNear,
  readNodeMeta,
  withNode,
} from "./choose-instances.ts";
import { badRequest, type Fields, readFields } from "./read-fields.ts";
import { readRegistration } from "./read-registration.ts";
import { answerJson, json } from "./respond.ts";
import {
  CATALOG_SERVICE_SHAPE,
  NODE_SHAPE,
  renderCatalogService,
  renderNode,
  renderService,
  SERVICE_SHAPE,
} from "./shapes.ts";

export async function registerInCatalog(call: Call): Promise<HttpResponse> {
  const fields = await readFields(call.request);
  requireDatacenter(call, fields);
  const registration = readRegistration(fields);
  const { registry } = call.backend.parts;
  const { grants } = call.caller;
  grants.require("node", registration.node.node, "write");
  if (registration.service !== null) grants.require("service", registration.service.name, "write");
  await registry.write((tx) => register(tx, registry.view, registration));
  return json(call, true);
}

export async function deregisterFromCatalog(call: Call): Promise<HttpResponse> {
  const fields = await readFields(call.request);
  requireDatacenter(call, fields);
  fields.ignore("Namespace", "Partition", "Address", "WriteRequest", "Token");
  const wanted = {
    node: fields.string("Node"),
    serviceId: fields.string("ServiceID"),
    checkId: fields.string("CheckID"),
  };
  fields.finish();
  if (wanted.node === "") throw badRequest("Must provide node");
  const { registry } = call.backend.parts;
  const service = wanted.serviceId === "" ? null : registry.view.service(wanted.node, wanted.serviceId);
  if (service === null) call.caller.grants.require("node", wanted.node, "write");
  else call.caller.grants.require("service", service.name, "write");
  await registry.write((tx) => deregister(tx, registry.view, wanted));
  return json(call, true);
}

/** Bodies may name one, too. */
function requireDatacenter(call: Call, fields: Fields): void {
  const wanted = fields.string("Datacenter");
  if (wanted !== "" && wanted !== call.backend.datacenter()) throw registryError(500, "No path to datacenter");
}

export function listDatacenters(call: Call): HttpResponse {
  return json(call, [call.backend.datacenter()]);
}

export function listNodes(call: Call): Promise<HttpResponse> {
  const { registry, coordinates } = call.backend.parts;
  const { grants } = call.caller;
  const fits = readFilter(call, NODE_SHAPE);
  const meta = readNodeMeta(call.request);
  return answerJson(
    call,
    registry.query([topic.nodes], () => registry.view.nodes()),
    (nodes) =>
      coordinates
        .sortNear(nodes, readNear(call), ({ node }) => node)
        .filter((node) => grants.may("node", node.node, "read") && hasMeta(node.meta, meta))
        .map((node) => renderNode(node, call.backend.datacenter()))
        .filter(fits),
  );
}

export function listServices(call: Call): Promise<HttpResponse> {
  const { registry } = call.backend.parts;
  const { grants } = call.caller;
  const fits = readFilter(call, CATALOG_SERVICE_SHAPE);
  const meta = readNodeMeta(call.request);
  const isNarrowed = Object.keys(meta).length > 0 || (call.request.query.get("filter") ?? "") !== "";
  const visible = (): readonly string[] =>
    registry.view.serviceNames().filter((name) => grants.may("service", name, "read"));
  if (!isNarrowed) {
    const query = registry.query([topic.services], visible);
    return answerJson(call, query, (names) =>
      Object.fromEntries(names.map((name) => [name, registry.view.tagsOf(name)])),
    );
  }
  return answerJson(call, registry.query([topic.catalog], visible), (names) => {
    const entries = names.flatMap((name) => {
      const instances = registry.view
        .instances(name)
        .flatMap((service) => withNode(registry.view, service))
        .filter(({ node }) => hasMeta(node.meta, meta))
        .filter(({ service, node }) => fits(renderCatalogService(service, node, call.backend.datacenter())));
      const tags = [...new Set(instances.flatMap(({ service }) => service.tags))].toSorted();
      return instances.length === 0 ? [] : [[name, tags] as const];
    });
    return Object.fromEntries(entries);
  });
}

export function catalogService(call: Call): Promise<HttpResponse> {
  const { registry } = call.backend.parts;
  const name = requireService(call);
  return answerInstances(call, [topic.instances(name)], () => registry.view.instances(name));
}

export function catalogConnect(call: Call): Promise<HttpResponse> {
  const { registry } = call.backend.parts;
  const name = requireService(call);
  return answerInstances(call, [topic.catalog], () => connectInstances(registry.view, name));
}

function answerInstances(
  call: Call,
  topics: readonly string[],
  find: () => ReturnType<typeof connectInstances>,
): Promise<HttpResponse> {
  const fits = readFilter(call, CATALOG_SERVICE_SHAPE);
  return answerJson(call, call.backend.parts.registry.query(topics, find), (services) =>
    chooseInstances(call, services)
      .map(({ service, node }) => renderCatalogService(service, node, call.backend.datacenter()))
      .filter(fits),
  );
}

/** Null for an unknown node, as Consul has it. */
export function catalogNode(call: Call): Promise<HttpResponse> {
  return answerNode(call, (node, services) => ({
    Node: node,
    Services: Object.fromEntries(services.map((service) => [(service as { ID: string }).ID, service])),
  }));
}

export function catalogNodeServices(call: Call): Promise<HttpResponse> {
  return answerNode(call, (node, services) => ({ Node: node, Services: services }));
}

function answerNode(call: Call, shape: (node: object, services: readonly object[]) => object): Promise<HttpResponse> {
  const { registry } = call.backend.parts;
  const { grants } = call.caller;
  if (call.rest === "") throw badRequest("Missing node name");
  const fits = readFilter(call, SERVICE_SHAPE);
  const find = (): NodeRecord | null => registry.view.node(call.rest) ?? registry.view.nodeById(call.rest);
  const name = find()?.node ?? call.rest;
  return answerJson(call, registry.query([topic.node(name)], find), (node) => {
    if (node === null || !grants.may("node", node.node, "read")) return null;
    const services = registry.view
      .servicesOn(node.node)
      .filter((service) => grants.may("service", service.name, "read"))
      .map(renderService)
      .filter(fits);
    return shape(renderNode(node, call.backend.datacenter()), services);
  });
}

function requireService({ rest }: Call): string {
  if (rest === "") throw badRequest("Missing service name");
  return rest;
}
