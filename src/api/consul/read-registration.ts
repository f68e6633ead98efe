/** Services, checks and nodes as clients register them, over the agent or into the catalog. */
import type { CheckInput, NodeInput, Registration, ServiceInput } from "../../discovery/registry/catalog-operations.ts";
import { formatDuration, parseDuration } from "../../discovery/registry/parse-duration.ts";
import type { CheckStatus } from "../../discovery/registry/records.ts";
import { badRequest, type Fields } from "./read-fields.ts";

const META = { pairs: 64, key: 128, value: 512 } as const;
const INTERVAL_MS_MIN = 1000;
const DEREGISTER_MS_MIN = 60_000;
const STAMPS = [
  "CreateIndex",
  "ModifyIndex",
  "Datacenter",
  "Namespace",
  "Partition",
  "EnterpriseMeta",
  "PeerName",
  "RaftIndex",
  "Locality",
] as const;

/** Body of catalog/register. */
export function readRegistration(fields: Fields): Registration {
  fields.ignore(...STAMPS, "WriteRequest", "Token");
  const service = fields.object("Service");
  const one = fields.object("Check");
  const many = fields.objects("Checks");
  const registration = {
    node: readNode(fields),
    skipNodeUpdate: fields.boolean("SkipNodeUpdate"),
    service: service === null ? null : readCatalogService(service),
    checks: [...(one === null ? [] : [one]), ...many].map((check) => readCatalogCheck(check)),
  };
  fields.finish();
  if (registration.node.node === "") throw badRequest("Must provide node");
  return registration;
}

function readNode(fields: Fields): NodeInput {
  return {
    id: fields.string("ID"),
    node: fields.string("Node"),
    address: fields.string("Address"),
    taggedAddresses: fields.stringMap("TaggedAddresses"),
    meta: readMeta(fields, "NodeMeta"),
  };
}

/** Node of a transaction: as catalog/nodes shows it. */
export function readTxnNode(fields: Fields): NodeInput {
  fields.ignore(...STAMPS);
  const { id, node, address, taggedAddresses } = readNode(fields);
  const input = { id, node, address, taggedAddresses, meta: readMeta(fields, "Meta") };
  fields.finish();
  return input;
}

export function readCatalogService(fields: Fields): ServiceInput {
  fields.ignore(...STAMPS);
  const name = fields.string("Service") || fields.string("Name");
  const service = readServiceFields(fields, name);
  fields.finish();
  return service;
}

export interface AgentRegistration {
  readonly service: ServiceInput;
  readonly checks: readonly CheckInput[];
}

/** Body of agent/service/register. */
export function readAgentService(fields: Fields): AgentRegistration {
  fields.ignore(...STAMPS, "Token");
  const name = fields.string("Name");
  if (name === "") throw badRequest("Missing service name");
  if (fields.object("Connect")?.has("SidecarService") === true)
    throw badRequest("Invalid SidecarService: this cluster has no service mesh");
  const service = readServiceFields(fields, name);
  const one = fields.object("Check");
  const definitions = [...(one === null ? [] : [one]), ...fields.objects("Checks")];
  const checks = definitions.map((check, at) => {
    const suffix = definitions.length === 1 ? "" : `:${at + 1}`;
    const defaults = { id: `service:${service.id}${suffix}`, name: `Service '${service.name}' check` };
    return readAgentCheck(check, { ...defaults, serviceId: service.id });
  });
  fields.finish();
  return { service, checks };
}

function readServiceFields(fields: Fields, name: string): ServiceInput {
  const weights = fields.object("Weights");
  const port = fields.integer("Port");
  if (port < 0 || port > 65_535) throw badRequest(`Invalid service port ${port}`);
  const service: ServiceInput = {
    id: fields.string("ID") || name,
    name,
    kind: fields.string("Kind"),
    tags: fields.strings("Tags"),
    address: fields.string("Address"),
    taggedAddresses: readTagged(fields),
    port,
    socketPath: fields.string("SocketPath"),
    meta: readMeta(fields, "Meta"),
    weights: { passing: weights?.integer("Passing", 1) ?? 1, warning: weights?.integer("Warning", 1) ?? 1 },
    enableTagOverride: fields.boolean("EnableTagOverride"),
    proxy: fields.opaque("Proxy"),
    connect: fields.opaque("Connect"),
  };
  weights?.finish();
  if (service.weights.passing < 0 || service.weights.warning < 0 || service.weights.passing > 65_535)
    throw badRequest("Invalid Weights: passing must be 1 to 65535, warning 0 to 65535");
  if (service.socketPath !== "" && service.port !== 0) throw badRequest("Cannot use both Port and SocketPath");
  return service;
}

function readTagged(fields: Fields): ServiceInput["taggedAddresses"] {
  const tagged = fields.object("TaggedAddresses");
  if (tagged === null) return {};
  const entries = tagged.names().map((name) => {
    const each = tagged.object(name);
    const value = { address: each?.string("Address") ?? "", port: each?.integer("Port") ?? 0 };
    each?.finish();
    return [name, value] as const;
  });
  return Object.fromEntries(entries);
}

function readMeta(fields: Fields, name: string): Readonly<Record<string, string>> {
  const meta = fields.stringMap(name);
  const pairs = Object.entries(meta);
  if (pairs.length > META.pairs)
    throw badRequest(`Node/service metadata cannot contain more than ${META.pairs} key/value pairs`);
  for (const [key, value] of pairs) {
    if (key === "" || key.length > META.key)
      throw badRequest(
        `Key is too long (limit: ${META.key} characters) or empty: ${JSON.stringify(key.slice(0, META.key))}`,
      );
    if (!/^[\w-]+$/.test(key))
      throw badRequest(`Couldn't load metadata pair ('${key}'): Key contains invalid characters`);
    if (value.length > META.value) throw badRequest(`Value is too long (limit: ${META.value} characters)`);
  }
  return meta;
}

const STATUSES: readonly CheckStatus[] = ["passing", "warning", "critical"];

function readStatus(fields: Fields, otherwise: CheckStatus): CheckStatus {
  const text = fields.string("Status").toLowerCase();
  if (text === "") return otherwise;
  const status = STATUSES.find((each) => each === text);
  if (status === undefined) throw badRequest(`Bad check status ${JSON.stringify(text)}`);
  return status;
}

/** A check in the catalog: somebody else runs it. */
export function readCatalogCheck(fields: Fields): CheckInput {
  fields.ignore(...STAMPS, "Node", "ServiceName", "ServiceTags", "ExposedPort");
  const name = fields.string("Name");
  const check: CheckInput = {
    id: fields.string("CheckID") || name,
    name: name || fields.string("CheckID"),
    status: readStatus(fields, "critical"),
    notes: fields.string("Notes"),
    output: fields.string("Output"),
    serviceId: fields.string("ServiceID"),
    type: fields.string("Type"),
    interval: fields.string("Interval"),
    timeout: fields.string("Timeout"),
    definition: fields.opaque("Definition"),
    ttlMs: 0,
    deregisterAfterMs: 0,
  };
  fields.finish();
  if (check.id === "") throw badRequest("Must provide check ID or name");
  return check;
}

/** How each type is told: the field that only it has. */
const TYPES: readonly (readonly [field: string, type: string])[] = [
  ["TTL", "ttl"],
  ["DockerContainerID", "docker"],
  ["Args", "script"],
  ["HTTP", "http"],
  ["TCP", "tcp"],
  ["UDP", "udp"],
  ["GRPC", "grpc"],
  ["H2PING", "h2ping"],
  ["OSService", "os_service"],
  ["AliasService", "alias"],
  ["AliasNode", "alias"],
];

/** Fields of a check that are kept as they came, with how they are read. */
const DEFINITION_FIELDS: Readonly<
  Record<string, "string" | "boolean" | "integer" | "strings" | "opaque" | "duration">
> = {
  Args: "strings",
  HTTP: "string",
  Method: "string",
  Header: "opaque",
  Body: "string",
  DisableRedirects: "boolean",
  TLSServerName: "string",
  TLSSkipVerify: "boolean",
  TCP: "string",
  TCPUseTLS: "boolean",
  UDP: "string",
  GRPC: "string",
  GRPCUseTLS: "boolean",
  H2PING: "string",
  H2PingUseTLS: "boolean",
  DockerContainerID: "string",
  Shell: "string",
  AliasNode: "string",
  AliasService: "string",
  OSService: "string",
  Interval: "duration",
  Timeout: "duration",
  DeregisterCriticalServiceAfter: "duration",
  OutputMaxSize: "integer",
  SuccessBeforePassing: "integer",
  FailuresBeforeWarning: "integer",
  FailuresBeforeCritical: "integer",
};

/** Body of agent/check/register, and a check inside a service. */
export function readAgentCheck(
  fields: Fields,
  defaults: { readonly id: string; readonly name: string; readonly serviceId: string },
): CheckInput {
  fields.ignore(...STAMPS, "Token", "ProxyHTTP", "ProxyGRPC", "ExposedPort");
  if (fields.has("Script")) throw badRequest("Invalid check: Script is not supported, use Args");
  const name = fields.string("Name") || defaults.name;
  const id = fields.string("CheckID") || fields.string("ID") || defaults.id || name;
  if (id === "") throw badRequest("Missing check name");
  const types = [...new Set(TYPES.flatMap(([field, type]) => (isGiven(fields, field) ? [type] : [])))];
  // Docker and alias checks share a field with others.
  const type = types[0] ?? "";
  const ttlMs = fields.durationMs("TTL");
  const definition = readDefinition(fields);
  const check: CheckInput = {
    id,
    name: name || id,
    status: readStatus(fields, "critical"),
    notes: fields.string("Notes"),
    output: fields.string("Output"),
    serviceId: fields.string("ServiceID") || defaults.serviceId,
    type,
    interval: textOf(definition, "Interval"),
    timeout: textOf(definition, "Timeout"),
    definition,
    ttlMs,
    deregisterAfterMs: deregisterAfter(definition),
  };
  fields.finish();
  checkTiming(check, types);
  return check;
}

function isGiven(fields: Fields, name: string): boolean {
  if (!fields.has(name)) return false;
  const value = fields.raw(name);
  return !(value === "" || value === 0 || (Array.isArray(value) && value.length === 0));
}

function readDefinition(fields: Fields): Readonly<Record<string, unknown>> {
  const entries = Object.entries(DEFINITION_FIELDS).flatMap(([name, kind]) => {
    if (!isGiven(fields, name)) {
      fields.ignore(name);
      return [];
    }
    return [[name, kind === "duration" ? formatDuration(fields.durationMs(name)) : fields[kind](name)] as const];
  });
  return Object.fromEntries(entries);
}

function checkTiming({ ttlMs, interval, type }: CheckInput, types: readonly string[]): void {
  const intervalMs = interval === "" ? 0 : (parseDuration(interval) ?? 0);
  if (type === "") throw badRequest("Invalid check: TTL must be > 0 for TTL checks");
  if (ttlMs > 0 && intervalMs > 0) throw badRequest("Invalid check: Interval and TTL cannot both be specified");
  if (types.some((each) => each !== "docker" && each !== "script") && types.length > 1)
    throw badRequest(`Invalid check: only one type can be given, not ${types.join(" and ")}`);
  if (type === "ttl" && ttlMs <= 0) throw badRequest("Invalid check: TTL must be > 0 for TTL checks");
  if (type === "ttl" || type === "alias") return;
  if (intervalMs <= 0)
    throw badRequest(`Invalid check: Interval must be > 0 for Script, HTTP, H2PING, TCP, UDP or OSService checks`);
  if (intervalMs < INTERVAL_MS_MIN) throw badRequest("Invalid check: Interval must be at least 1s");
}

/** What is less than a minute counts as one. */
function deregisterAfter(definition: Readonly<Record<string, unknown>>): number {
  const text = textOf(definition, "DeregisterCriticalServiceAfter");
  const ms = text === "" ? 0 : (parseDuration(text) ?? 0);
  return ms <= 0 ? 0 : Math.max(ms, DEREGISTER_MS_MIN);
}

function textOf(definition: Readonly<Record<string, unknown>>, name: string): string {
  const value = definition[name];
  return typeof value === "string" ? value : "";
}
