import type { Query } from "../../discovery/registry/registry.ts";
import type { CheckRecord, ServiceRecord } from "../../discovery/registry/records.ts";
import { topic } from "../../discovery/registry/touched.ts";
import type { HttpResponse } from "../../platform/ports/http.ts";
import type { Call } from "./call.ts";
import {
  chooseInstances,
  connectInstances,
  hasMeta,
  type InstanceView,
  readFilter,
  readNear,
  readNodeMeta,
  readPassing,
} from "./choose-instances.ts";
import { badRequest } from "./read-fields.ts";
import { answerJson } from "./respond.ts";
import { CHECK_SHAPE, INSTANCE_SHAPE, renderCheck, renderNode, renderService } from "./shapes.ts";

export function healthNode(call: Call): Promise<HttpResponse> {
  const { registry } = call.backend.parts;
  const node = require(call, "node name");
  return answerChecks(
    call,
    registry.query([topic.nodeChecks(node)], () => registry.view.checksOn(node)),
  );
}

export function healthChecks(call: Call): Promise<HttpResponse> {
  const { registry } = call.backend.parts;
  const service = require(call, "service name");
  return answerChecks(
    call,
    registry.query([topic.serviceChecks(service)], () => registry.view.checksOfService(service)),
  );
}

export function healthState(call: Call): Promise<HttpResponse> {
  const { registry } = call.backend.parts;
  const state = require(call, "check state");
  return answerChecks(
    call,
    registry.query([topic.checks(state)], () => registry.view.checksIn(state)),
  );
}

function answerChecks(call: Call, query: Query<readonly CheckRecord[]>): Promise<HttpResponse> {
  const { registry, coordinates } = call.backend.parts;
  const { grants } = call.caller;
  const fits = readFilter(call, CHECK_SHAPE);
  const meta = readNodeMeta(call.request);
  return answerJson(call, query, (checks) =>
    coordinates
      .sortNear(checks, readNear(call), ({ node }) => node)
      .filter(({ node, serviceName }) =>
        serviceName === "" ? grants.may("node", node, "read") : grants.may("service", serviceName, "read"),
      )
      .filter(({ node }) => hasMeta(registry.view.node(node)?.meta ?? {}, meta))
      .map(renderCheck)
      .filter(fits),
  );
}

export function healthService(call: Call): Promise<HttpResponse> {
  const { registry } = call.backend.parts;
  const service = require(call, "service name");
  return answerInstances(
    call,
    registry.query([topic.health(service)], () => registry.view.instances(service)),
  );
}

export function healthConnect(call: Call): Promise<HttpResponse> {
  const { registry } = call.backend.parts;
  const service = require(call, "service name");
  const topics = [topic.catalog, topic.checks("any")];
  return answerInstances(
    call,
    registry.query(topics, () => connectInstances(registry.view, service)),
  );
}

function answerInstances(call: Call, query: Query<readonly ServiceRecord[]>): Promise<HttpResponse> {
  const fits = readFilter(call, INSTANCE_SHAPE);
  const passing = readPassing(call);
  return answerJson(call, query, (services) =>
    chooseInstances(call, services)
      .filter(({ checks }) => !passing || checks.every(({ status }) => status === "passing"))
      .map((instance) => renderInstance(instance, call.backend.datacenter()))
      .filter(fits),
  );
}

export function renderInstance({ node, service, checks }: InstanceView, datacenter: string): object {
  return { Node: renderNode(node, datacenter), Service: renderService(service), Checks: checks.map(renderCheck) };
}

function require({ rest }: Call, what: string): string {
  if (rest === "") throw badRequest(`Missing ${what}`);
  return rest;
}
