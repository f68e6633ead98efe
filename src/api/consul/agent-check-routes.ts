import { deregister } from "../../discovery/registry/catalog-operations.ts";
import { unknownCheck } from "../../discovery/registry/check-keeper.ts";
import type { CheckRecord, CheckStatus } from "../../discovery/registry/records.ts";
import type { HttpResponse } from "../../platform/ports/http.ts";
import { aggregate, localNode, putKeepingStatus, requireNode } from "./agent-service-routes.ts";
import type { Call, Route } from "./call.ts";
import { readFilter } from "./choose-instances.ts";
import { badRequest, readFields } from "./read-fields.ts";
import { readAgentCheck } from "./read-registration.ts";
import { refuseScripts } from "./refuse-scripts.ts";
import { empty, json, jsonWith, text } from "./respond.ts";
import { CHECK_SHAPE, renderAgentService, renderCheck } from "./shapes.ts";

/** The check of a host's liveness is the servers', no agent's. */
const SERVERS_CHECK = "serfHealth";

export function agentChecks(call: Call): HttpResponse {
  const { view } = call.backend.parts.registry;
  const fits = readFilter(call, CHECK_SHAPE);
  const entries = view
    .checksOn(localNode(call))
    .filter((check) => check.id !== SERVERS_CHECK && mayRead(call, check))
    .map((check) => [check.id, renderCheck(check)] as const)
    .filter(([, shown]) => fits(shown));
  return json(call, Object.fromEntries(entries));
}

function mayRead({ caller: { grants } }: Call, { node, serviceName }: CheckRecord): boolean {
  return serviceName === "" ? grants.may("node", node, "read") : grants.may("service", serviceName, "read");
}

function requireWrite(call: Call, serviceName: string): void {
  if (serviceName === "") call.caller.grants.require("node", localNode(call), "write");
  else call.caller.grants.require("service", serviceName, "write");
}

export async function registerCheck(call: Call): Promise<HttpResponse> {
  const { registry } = call.backend.parts;
  const check = readAgentCheck(await readFields(call.request), { id: "", name: "", serviceId: "" });
  const node = requireNode(call);
  const service = check.serviceId === "" ? null : registry.view.service(node, check.serviceId);
  requireWrite(call, service?.name ?? "");
  refuseScripts(call, [check]);
  await registry.write((tx) => putKeepingStatus(tx, call, check));
  return empty();
}

export async function deregisterCheck(call: Call): Promise<HttpResponse> {
  const { registry } = call.backend.parts;
  const node = localNode(call);
  const check = registry.view.check(node, call.rest);
  if (check === null) throw unknownCheck(call.rest);
  requireWrite(call, check.serviceName);
  await registry.write((tx) => deregister(tx, registry.view, { node, serviceId: "", checkId: call.rest }));
  return empty();
}

/** `check/pass`, `check/warn` and `check/fail`: the note is what the check says. */
export function reportAs(status: CheckStatus): Route {
  return (call) => report(call, { status, output: call.request.query.get("note") ?? "" });
}

export async function updateCheck(call: Call): Promise<HttpResponse> {
  const fields = await readFields(call.request);
  const status = fields.string("Status");
  const output = fields.string("Output");
  fields.finish();
  if (status !== "passing" && status !== "warning" && status !== "critical")
    throw badRequest(`Invalid check status: '${status}'`);
  return report(call, { status, output });
}

async function report(
  call: Call,
  said: { readonly status: CheckStatus; readonly output: string },
): Promise<HttpResponse> {
  const { registry, checks } = call.backend.parts;
  const node = localNode(call);
  requireWrite(call, registry.view.check(node, call.rest)?.serviceName ?? "");
  await checks.report(node, call.rest, said);
  return empty();
}

const HEALTH_STATUS = { passing: 200, warning: 429, critical: 503, maintenance: 503 } as const;

export function healthOfServiceId(call: Call): HttpResponse {
  const { view } = call.backend.parts.registry;
  const service = view.service(localNode(call), call.rest);
  if (service === null || !call.caller.grants.may("service", service.name, "read"))
    return text(404, `ServiceId ${call.rest} not found`, { "x-consul-reason": "not found" });
  return answerHealth(call, [service], true);
}

export function healthOfServiceName(call: Call): HttpResponse {
  const { view } = call.backend.parts.registry;
  call.caller.grants.require("service", call.rest, "read");
  const services = view.servicesOn(localNode(call)).filter(({ name }) => name === call.rest);
  if (services.length === 0) return text(404, `ServiceName ${call.rest} Not Found`);
  return answerHealth(call, services, false);
}

function answerHealth(
  call: Call,
  services: ReturnType<Call["backend"]["parts"]["registry"]["view"]["servicesOn"]>,
  single: boolean,
): HttpResponse {
  const { view } = call.backend.parts.registry;
  const rows = services.map((service) => {
    const checks = view.checksFor(service);
    const shown = renderAgentService(service, call.backend.datacenter());
    return { AggregatedStatus: aggregate(checks), Service: shown, Checks: checks.map(renderCheck) };
  });
  const order = ["maintenance", "critical", "warning", "passing"] as const;
  const worst = order.find((each) => rows.some((row) => row.AggregatedStatus === each)) ?? "passing";
  const headers = { "x-consul-reason": worst };
  if (call.request.query.get("format") === "text") return text(HEALTH_STATUS[worst], worst, headers);
  return jsonWith(HEALTH_STATUS[worst], call, { value: single ? rows[0] : rows, headers });
}
