import { getQuery, putQuery, resolveQuery } from "../../discovery/registry/prepared-queries.ts";
import type { PreparedQuery } from "../../discovery/registry/records.ts";
import type { Unstamped } from "../../discovery/registry/tables.ts";
import { topic } from "../../discovery/registry/touched.ts";
import type { HttpResponse } from "../../platform/ports/http.ts";
import type { Call } from "./call.ts";
import { hasMeta, type InstanceView, withNode } from "./choose-instances.ts";
import { renderInstance } from "./health-routes.ts";
import { type Fields, readFields } from "./read-fields.ts";
import { answerJson, empty, json, readHeaders, text } from "./respond.ts";

export async function createQuery(call: Call): Promise<HttpResponse> {
  const { registry } = call.backend.parts;
  const id = registry.random.uuid();
  const query = readQuery(await readFields(call.request), { id, token: "" });
  call.caller.grants.require("query", query.name, "write");
  await registry.write((tx) => putQuery(tx, query));
  return json(call, { ID: id });
}

export function listQueries(call: Call): Promise<HttpResponse> {
  const { registry } = call.backend.parts;
  const { grants } = call.caller;
  const query = registry.query([topic.queries], () => registry.tables.list("query", ""));
  return answerJson(call, query, (queries) =>
    queries.filter(({ name }) => grants.may("query", name, "read")).map(renderQuery),
  );
}

/** `/query/:id`, `/query/:id/execute`, `/query/:id/explain`. */
export async function readOneQuery(call: Call): Promise<HttpResponse> {
  const execute = /^(.+)\/execute$/.exec(call.rest)?.[1];
  if (execute !== undefined) return executeQuery(call, execute);
  const explain = /^(.+)\/explain$/.exec(call.rest)?.[1];
  if (explain !== undefined) return explainQuery(call, explain);
  const { registry } = call.backend.parts;
  const found = getQuery(registry.tables, call.rest);
  if (found === null) return notFound();
  call.caller.grants.require("query", found.name, "read");
  return answerJson(
    call,
    registry.query([topic.queries], () => getQuery(registry.tables, call.rest)),
    (query) => (query === null ? [] : [renderQuery(query)]),
  );
}

export async function updateQuery(call: Call): Promise<HttpResponse> {
  const { registry } = call.backend.parts;
  const before = getQuery(registry.tables, call.rest);
  if (before === null) return notFound();
  call.caller.grants.require("query", before.name, "write");
  const query = readQuery(await readFields(call.request), { id: call.rest, token: before.token });
  call.caller.grants.require("query", query.name, "write");
  await registry.write((tx) => putQuery(tx, query));
  return empty();
}

export async function deleteQuery(call: Call): Promise<HttpResponse> {
  const { registry } = call.backend.parts;
  const before = getQuery(registry.tables, call.rest);
  if (before === null) return notFound();
  call.caller.grants.require("query", before.name, "write");
  await registry.write((tx) => tx.delete("query", call.rest));
  return empty();
}

function executeQuery(call: Call, idOrName: string): HttpResponse {
  const { registry, coordinates } = call.backend.parts;
  const query = resolveQuery(registry.tables, idOrName);
  if (query === null) return notFound();
  const { service } = query;
  const near = call.request.query.get("near") ?? service.near;
  const from = near === "_agent" || near === "_ip" ? call.backend.localNode(call.request) : near;
  const fitting = registry.view
    .instances(service.service)
    .filter(({ name }) => call.caller.grants.may("service", name, "read"))
    .flatMap((each) => withNode(registry.view, each))
    .filter((instance) => fits(query, instance));
  const ordered = near === "" ? shuffled(call, fitting) : coordinates.sortNear(fitting, from, ({ node }) => node.node);
  const limit = Number(call.request.query.get("limit") ?? 0);
  const chosen = limit > 0 ? ordered.slice(0, limit) : ordered;
  const datacenter = call.backend.datacenter();
  const body = {
    Service: service.service,
    Nodes: chosen.map((instance) => renderInstance(instance, datacenter)),
    DNS: { TTL: query.dnsTtl },
    Datacenter: datacenter,
    // There is one datacenter: nowhere to go when nobody is left.
    Failovers: 0,
  };
  return json(call, body, readHeaders(call, registry.index));
}

/** Without `near` clients expect the load to be spread. */
function shuffled(call: Call, instances: readonly InstanceView[]): readonly InstanceView[] {
  const { random } = call.backend.parts.registry;
  return instances
    .map((instance) => ({ instance, at: random.next() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ instance }) => instance);
}

/** Tags with `!` in front must not be there. */
function fits({ service }: PreparedQuery, instance: InstanceView): boolean {
  const own = new Set(instance.service.tags.map((tag) => tag.toLowerCase()));
  const tagsFit = service.tags.every((tag) =>
    tag.startsWith("!") ? !own.has(tag.slice(1).toLowerCase()) : own.has(tag.toLowerCase()),
  );
  const ignored = new Set(service.ignoreCheckIds);
  const healthy = instance.checks.every(
    ({ id, status }) => ignored.has(id) || status === "passing" || (status === "warning" && !service.onlyPassing),
  );
  return (
    tagsFit &&
    healthy &&
    hasMeta(instance.node.meta, service.nodeMeta) &&
    hasMeta(instance.service.meta, service.serviceMeta)
  );
}

function explainQuery(call: Call, idOrName: string): HttpResponse {
  const { registry } = call.backend.parts;
  const query = resolveQuery(registry.tables, idOrName);
  if (query === null) return notFound();
  call.caller.grants.require("query", query.name, "read");
  return json(call, { Query: renderQuery(query) }, readHeaders(call, registry.watches.indexOf(topic.queries)));
}

function notFound(): HttpResponse {
  return text(404, "Query not found");
}

function readQuery(
  fields: Fields,
  { id, token }: { readonly id: string; readonly token: string },
): Unstamped<PreparedQuery> {
  fields.ignore("ID", "CreateIndex", "ModifyIndex");
  const template = fields.object("Template");
  const service = fields.object("Service");
  const dns = fields.object("DNS");
  const failover = service?.object("Failover") ?? null;
  failover?.ignore("Targets", "SamenessGroup");
  service?.ignore("Connect", "SamenessGroup", "Peer", "Namespace", "Partition");
  const query: Unstamped<PreparedQuery> = {
    id,
    name: fields.string("Name"),
    session: fields.string("Session"),
    token: fields.string("Token", token),
    template: {
      type: template?.string("Type") ?? "",
      regexp: template?.string("Regexp") ?? "",
      removeEmptyTags: template?.boolean("RemoveEmptyTags") ?? false,
    },
    service: {
      service: service?.string("Service") ?? "",
      onlyPassing: service?.boolean("OnlyPassing") ?? false,
      near: service?.string("Near") ?? "",
      tags: service?.strings("Tags") ?? [],
      nodeMeta: service?.stringMap("NodeMeta") ?? {},
      serviceMeta: service?.stringMap("ServiceMeta") ?? {},
      ignoreCheckIds: service?.strings("IgnoreCheckIDs") ?? [],
      nearestN: failover?.integer("NearestN") ?? 0,
      datacenters: failover?.strings("Datacenters") ?? [],
    },
    dnsTtl: dns?.string("TTL") ?? "",
  };
  for (const each of [failover, service, template, dns, fields]) each?.finish();
  return query;
}

function renderQuery(query: PreparedQuery): object {
  const { service, template } = query;
  return {
    ID: query.id,
    Name: query.name,
    Session: query.session,
    Token: query.token === "" ? "" : "<hidden>",
    Template: { Type: template.type, Regexp: template.regexp, RemoveEmptyTags: template.removeEmptyTags },
    Service: {
      Service: service.service,
      Failover: { NearestN: service.nearestN, Datacenters: service.datacenters, Targets: null },
      OnlyPassing: service.onlyPassing,
      Near: service.near,
      Tags: service.tags,
      NodeMeta: service.nodeMeta,
      ServiceMeta: service.serviceMeta,
      IgnoreCheckIDs: service.ignoreCheckIds,
      Connect: false,
    },
    DNS: { TTL: query.dnsTtl },
    CreateIndex: query.createIndex,
    ModifyIndex: query.modifyIndex,
  };
}
