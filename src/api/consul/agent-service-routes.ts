/** What a client registers with the agent of a node, and what the agent says of it. */
import {
  deregister,
  findService,
  putCheck,
  putService,
  type CheckInput,
} from "../../discovery/registry/catalog-operations.ts";
import { type CheckRecord, onNode, type ServiceRecord } from "../../discovery/registry/records.ts";
import { registryError } from "../../discovery/registry/registry-error.ts";
import type { Transaction } from "../../discovery/registry/tables.ts";
import { topic } from "../../discovery/registry/touched.ts";
import type { HttpResponse } from "../../platform/ports/http.ts";
import type { Call } from "./call.ts";
import { isSet } from "./call.ts";
import { readFilter } from "./choose-instances.ts";
import { badRequest, readFields } from "./read-fields.ts";
import { readAgentService } from "./read-registration.ts";
import { refuseScripts } from "./refuse-scripts.ts";
import { empty, json } from "./respond.ts";
import { renderAgentService, SERVICE_SHAPE } from "./shapes.ts";

export function localNode(call: Call): string {
  return call.backend.localNode(call.request);
}

export function agentServices(call: Call): HttpResponse {
  const { view } = call.backend.parts.registry;
  const { grants } = call.caller;
  const fits = readFilter(call, SERVICE_SHAPE);
  const entries = view
    .servicesOn(localNode(call))
    .filter((service) => !isServersOwn(service) && grants.may("service", service.name, "read"))
    .map((service) => [service.id, renderAgentService(service, call.backend.datacenter())] as const)
    .filter(([, shown]) => fits(shown));
  return json(call, Object.fromEntries(entries));
}

/** The servers' own service is in the catalog, but no agent's. */
function isServersOwn({ name, origin }: ServiceRecord): boolean {
  return name === "consul" && origin === "platform";
}

/** With `?hash=` it waits until the service is another than the one that hash was of. */
export async function agentService(call: Call): Promise<HttpResponse> {
  const { registry } = call.backend.parts;
  const { clock } = registry;
  const node = localNode(call);
  const known = call.request.query.get("hash") ?? "";
  const endMs = clock.monotonicMs() + call.waitMs;
  for (;;) {
    const service = registry.view.service(node, call.rest);
    if (service === null) throw unknownService(call.rest);
    call.caller.grants.require("service", service.name, "read");
    const shown = renderAgentService(service, call.backend.datacenter());
    const hash = registry.digest.sha256(JSON.stringify(shown)).slice(0, 16);
    const leftMs = endMs - clock.monotonicMs();
    const answer = (): HttpResponse => json(call, { ...shown, ContentHash: hash }, { "x-consul-contenthash": hash });
    if (known !== hash || leftMs <= 0) return answer();
    const interests = [{ kind: "topic", topic: topic.node(node) } as const];
    if ((await registry.watches.wait(interests, { ms: leftMs, signal: call.request.signal })) !== "changed")
      return answer();
  }
}

export async function registerService(call: Call): Promise<HttpResponse> {
  const { registry } = call.backend.parts;
  const { service, checks } = readAgentService(await readFields(call.request));
  call.caller.grants.require("service", service.name, "write");
  const node = requireNode(call);
  refuseScripts(call, checks);
  const replace = isSet(call.request, "replace-existing-checks");
  await registry.write((tx) => {
    putService({ tx, view: registry.view, node }, service);
    if (replace) dropOtherChecks(tx, node, { service: service.id, keep: new Set(checks.map(({ id }) => id)) });
    for (const check of checks) putKeepingStatus(tx, call, check);
  });
  return empty();
}

function dropOtherChecks(
  tx: Transaction,
  node: string,
  { service, keep }: { readonly service: string; readonly keep: ReadonlySet<string> },
): void {
  for (const check of tx.list("check", onNode(node, "")))
    if (check.serviceId === service && !keep.has(check.id)) tx.delete("check", onNode(node, check.id));
}

/** A check that is registered again keeps what it last said. */
export function putKeepingStatus(tx: Transaction, call: Call, check: CheckInput): void {
  const node = localNode(call);
  const before = tx.get("check", onNode(node, check.id));
  const said = before === null || before.type !== check.type ? {} : { status: before.status, output: before.output };
  putCheck({ tx, view: call.backend.parts.registry.view, node }, { ...check, ...said });
}

export async function deregisterService(call: Call): Promise<HttpResponse> {
  const { registry } = call.backend.parts;
  const node = localNode(call);
  const known = registry.view.service(node, call.rest);
  if (known !== null) call.caller.grants.require("service", known.name, "write");
  await registry.write((tx) => {
    if (findService({ tx, view: registry.view, node }, call.rest) === null) throw unknownService(call.rest);
    deregister(tx, registry.view, { node, serviceId: call.rest, checkId: "" });
  });
  return empty();
}

export async function serviceMaintenance(call: Call): Promise<HttpResponse> {
  const { view } = call.backend.parts.registry;
  const service = view.service(localNode(call), call.rest);
  if (call.rest === "") throw badRequest("Missing service ID");
  const enable = readEnable(call);
  if (service === null) throw unknownService(call.rest);
  call.caller.grants.require("service", service.name, "write");
  await setMaintenance(call, enable, {
    id: `_service_maintenance:${service.id}`,
    name: "Service Maintenance Mode",
    what: "service",
    service,
  });
  return empty();
}

export async function nodeMaintenance(call: Call): Promise<HttpResponse> {
  const enable = readEnable(call);
  call.caller.grants.require("node", localNode(call), "write");
  await setMaintenance(call, enable, {
    id: "_node_maintenance",
    name: "Node Maintenance Mode",
    what: "node",
    service: null,
  });
  return empty();
}

function readEnable({ request }: Call): boolean {
  const enable = request.query.get("enable");
  if (enable === null) throw badRequest("Missing value for enable");
  if (["true", "1", "t"].includes(enable)) return true;
  if (["false", "0", "f"].includes(enable)) return false;
  throw badRequest(`Invalid value for enable: ${JSON.stringify(enable)}`);
}

interface Maintenance {
  readonly id: string;
  readonly name: string;
  readonly what: string;
  readonly service: ServiceRecord | null;
}

/** A critical check takes whatever it belongs to out of DNS, ingress and every passing query. */
async function setMaintenance(call: Call, enable: boolean, { id, name, what, service }: Maintenance): Promise<void> {
  const { registry } = call.backend.parts;
  const node = requireNode(call);
  const otherwise = `Maintenance mode is enabled for this ${what}, but no reason was provided. This is a default message.`;
  const notes = call.request.query.get("reason") || otherwise;
  const timing = { type: "maintenance", interval: "", timeout: "", definition: {}, ttlMs: 0, deregisterAfterMs: 0 };
  await registry.write((tx) => {
    if (!enable) return tx.delete("check", onNode(node, id));
    const check = { id, name, status: "critical", notes, output: "", serviceId: service?.id ?? "", ...timing } as const;
    putCheck({ tx, view: registry.view, node }, check);
  });
}

export function requireNode(call: Call): string {
  const node = localNode(call);
  if (call.backend.parts.registry.view.node(node) === null)
    throw registryError(503, `Cannot register on node "${node}": the cluster does not know it yet`);
  return node;
}

export function unknownService(id: string): Error {
  return registryError(
    404,
    `Unknown service ID ${JSON.stringify(id)}. Ensure that the service ID is passed, not the service name.`,
  );
}

/** Worst of a list of checks; maintenance goes before all. */
export function aggregate(checks: readonly CheckRecord[]): "maintenance" | "critical" | "warning" | "passing" {
  if (checks.some(({ id }) => id === "_node_maintenance" || id.startsWith("_service_maintenance:")))
    return "maintenance";
  if (checks.some(({ status }) => status === "critical")) return "critical";
  return checks.some(({ status }) => status === "warning") ? "warning" : "passing";
}
