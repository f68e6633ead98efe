/**
 * Which endpoints the containers of a host are. Registrator's rules in its internal mode: the container's own address and
 * port are registered, never a published one.
 */
import type { AppSpec } from "../../model/app.ts";
import { type Container, LABEL_INSTANCE } from "../../model/container.ts";
import type { Endpoint, EndpointCheck } from "../../model/endpoint.ts";
import { AppError } from "../../model/error.ts";
import type { HostCheck, HostCheckResult } from "../../model/host-check.ts";
import { type InstanceId, type ServiceName, defaultServiceName, parseServiceName } from "../../model/ids.ts";
import type { Assignment, InstanceStatus } from "../../model/instance.ts";
import type { Ipv4 } from "../../model/ip.ts";
import type { Ipv6 } from "../../model/ip6.ts";
import type { Condition } from "../../model/wire.ts";
import { appChecks, declaredCheck, engineCheck, worstOf } from "./derive-checks.ts";
import { parseServiceCheck } from "./parse-service-checks.ts";
import { type MetadataSources, hasServiceMetadata, parseServiceMetadata } from "./parse-service-metadata.ts";

export interface RegistrationContext {
  readonly hostName: string;
  /** For containers on the host's own network; null leaves those out. */
  readonly hostAddress: Ipv4 | null;
  /** The same of IPv6; null or missing when it has none that others reach it by. */
  readonly hostAddress6?: Ipv6 | null;
  readonly assignments: ReadonlyMap<InstanceId, Assignment>;
  readonly reports: ReadonlyMap<InstanceId, InstanceStatus>;
  /** The engine's name of our network. */
  readonly engineNetworkName: string;
  /** Further engine networks on our bridges: its default network when that lies there, and those of our plugin. */
  readonly otherNetworks: readonly string[];
  /** That all services get beside their own; missing: none. */
  readonly tags?: readonly string[];
  /** What the checks say that were derived before, by id. */
  readonly checkResults?: ReadonlyMap<string, HostCheckResult>;
  /** For how long a check has been critical. */
  readonly criticalMs?: (check: string) => number;
}

export interface Registration {
  /** Sorted by id. */
  readonly endpoints: readonly Endpoint[];
  /** Checks that the containers declare, for the host to run. */
  readonly checks: readonly HostCheck[];
  readonly conditions: readonly Condition[];
}

interface Port {
  readonly port: number;
  readonly protocol: "tcp" | "udp";
}

/** What of a container is registered; null for a container that takes no part. */
interface Subject {
  readonly sources: MetadataSources;
  readonly address: Ipv4;
  readonly address6: Ipv6 | null;
  readonly ports: readonly Port[];
  readonly defaultName: string;
  /** What is known of the container whatever the port. */
  readonly checks: readonly EndpointCheck[];
  readonly assignment: Assignment | null;
}

/** Engines call the host's own network so. */
const HOST_NETWORK = "host";
/** The wire refuses more; nobody asks for one by name. */
const TAGS_MAX = 64;

export function deriveEndpoints(containers: readonly Container[], context: RegistrationContext): Registration {
  const endpoints = new Map<string, Endpoint>();
  const checks: HostCheck[] = [];
  const conditions: Condition[] = [];
  for (const container of containers.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const subject = chooseSubject(container, context);
    if (subject === null) continue;
    for (const port of subject.ports) {
      const made = makeEndpoint(container, subject, { port, context });
      if (made === null) continue;
      if ("code" in made) conditions.push(made);
      else if (endpoints.has(made.endpoint.id)) conditions.push(takenId(container, made.endpoint.id));
      else {
        // Its check goes on, so that it is registered again once it is well.
        if (made.check !== null) checks.push(made.check);
        if (!made.overdue) endpoints.set(made.endpoint.id, made.endpoint);
      }
    }
  }
  return { endpoints: [...endpoints.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1)), checks, conditions };
}

function chooseSubject(container: Container, context: RegistrationContext): Subject | null {
  if (container.state !== "running") return null;
  const instanceId = container.labels[LABEL_INSTANCE];
  return instanceId === undefined
    ? plainSubject(container, context)
    : instanceSubject(container, context, instanceId as InstanceId);
}

function instanceSubject(container: Container, context: RegistrationContext, id: InstanceId): Subject | null {
  const assignment = context.assignments.get(id);
  // A container whose assignment is gone or going serves nobody any more.
  if (assignment?.instance.goal !== "running") return null;
  const status = context.reports.get(id);
  if (status !== undefined && (!isServing(status) || isOfEarlierRun(status, container))) return null;
  const { spec } = assignment;
  const address = spec.network === "host" ? context.hostAddress : addressOf(container, context);
  if (address === null) return null;
  return {
    sources: { env: { ...container.env, ...spec.env }, labels: { ...container.labels, ...spec.labels } },
    address,
    address6: spec.network === "host" ? (context.hostAddress6 ?? null) : address6Of(container, context),
    ports: portsOfApp(spec),
    defaultName: defaultServiceName(spec.id),
    checks: [...appChecks(spec, status, container), ...listOf(engineCheck(container))],
    assignment,
  };
}

function isServing(status: InstanceStatus): boolean {
  // Staging: the report lags behind the engine, which says that the container runs.
  return status.phase === "running" || status.phase === "staging";
}

/**
 * The engine starts a container that died again at once, and the health in the report is that of the run before. Under a server
 * such a container is about to be ended for good: it must not be answered with in between.
 */
function isOfEarlierRun(status: InstanceStatus, { id, startedAtMs }: Container): boolean {
  return status.phase === "running" && status.containerId === id && status.startedAtMs < (startedAtMs ?? 0);
}

function portsOfApp(spec: AppSpec): readonly Port[] {
  const ports = spec.ports.map(({ containerPort, hostPort, protocol }) => ({
    port: spec.network === "host" && hostPort !== null && hostPort !== 0 ? hostPort : containerPort,
    protocol,
  }));
  return uniquePorts(ports.filter(({ port }) => port > 0));
}

function plainSubject(container: Container, context: RegistrationContext): Subject | null {
  const sources = { env: container.env, labels: container.labels };
  if (!hasServiceMetadata(sources)) return null;
  const onHost = HOST_NETWORK in container.addresses;
  const address = onHost ? context.hostAddress : addressOf(container, context);
  if (address === null) return null;
  const ports = uniquePorts(container.exposedPorts);
  const address6 = onHost ? (context.hostAddress6 ?? null) : address6Of(container, context);
  const checks = listOf(engineCheck(container));
  const defaultName = imageBaseName(container.image);
  return { sources, address, address6, ports, defaultName, checks, assignment: null };
}

/** Its address on the first of our networks that it is on. */
export function addressOf(container: Container, context: RegistrationContext): Ipv4 | null {
  const names = [context.engineNetworkName, ...context.otherNetworks];
  return names.map((name) => container.addresses[name]).find((address) => address !== undefined) ?? null;
}

/** The same for IPv6. */
export function address6Of(container: Container, context: RegistrationContext): Ipv6 | null {
  const names = [context.engineNetworkName, ...context.otherNetworks];
  return names.map((name) => container.addresses6?.[name]).find((address) => address !== undefined) ?? null;
}

function uniquePorts(ports: readonly Port[]): readonly Port[] {
  const unique = new Map(ports.map((each) => [`${each.port}/${each.protocol}`, each]));
  return [...unique.values()].toSorted((a, b) => a.port - b.port || (a.protocol < b.protocol ? -1 : 1));
}

/** "registry:5000/team/web:1.2@sha256:..." → "web" */
function imageBaseName(image: string): string {
  return (image.split("@")[0] ?? "").split("/").at(-1)?.split(":")[0] ?? "";
}

function makeEndpoint(
  container: Container,
  subject: Subject,
  { port, context }: { readonly port: Port; readonly context: RegistrationContext },
): Made | Condition | null {
  const { hostName } = context;
  const metadata = parseServiceMetadata(subject.sources, port.port);
  if (metadata.ignore) return null;
  // Ports that are ignored count, too: a name must not change with what another port is set to.
  const suffix = subject.ports.length > 1 && !metadata.nameIsForPort ? `-${port.port}` : "";
  const service = readName(`${metadata.name ?? subject.defaultName}${suffix}`);
  if (service === null) return badName(container, `${metadata.name ?? subject.defaultName}${suffix}`);
  const udp = port.protocol === "udp";
  const ownId = `${container.name}:${port.port}${udp ? ":udp" : ""}`;
  const { instance } = subject.assignment ?? { instance: null };
  const id = `${hostName}:${metadata.id ?? ownId}`;
  const check = parseServiceCheck(metadata.meta, {
    id,
    container: container.id,
    address: subject.address,
    port: port.port,
  });
  const declared = check === null ? [] : [declaredCheck(check, context.checkResults?.get(id))];
  const checks = [...subject.checks, ...declared];
  const endpoint: Endpoint = {
    id,
    service,
    address: subject.address,
    ...(subject.address6 === null ? {} : { address6: subject.address6 }),
    port: port.port,
    protocol: port.protocol,
    tags: [...new Set([...metadata.tags, ...(udp ? ["udp"] : []), ...(context.tags ?? [])])].slice(0, TAGS_MAX),
    meta: metadata.meta,
    host: hostName,
    container: container.name,
    instanceId: instance?.id ?? null,
    appId: instance?.appId ?? null,
    health: worstOf(checks),
    ...(checks.length === 0 ? {} : { checks }),
  };
  const { deregisterAfterMs = 0 } = check ?? {};
  const overdue = deregisterAfterMs > 0 && (context.criticalMs?.(id) ?? 0) >= deregisterAfterMs;
  return { endpoint, check, overdue };
}

interface Made {
  readonly endpoint: Endpoint;
  readonly check: HostCheck | null;
  /** Critical for longer than the container lets itself be registered so. */
  readonly overdue: boolean;
}

function listOf<Value>(value: Value | null): readonly Value[] {
  return value === null ? [] : [value];
}

/** Null for what is no DNS name. */
export function readName(text: string): ServiceName | null {
  try {
    return parseServiceName(text);
  } catch (error) {
    if (error instanceof AppError) return null;
    throw error;
  }
}

function badName(container: Container, name: string): Condition {
  return {
    code: "service-name-invalid",
    severity: "warning",
    text: `Container "${container.name}" is not registered as "${shorten(name)}": that is not a DNS name`,
    hint: "Set SERVICE_NAME to letters, digits, dashes and underscores, and start the container again",
  };
}

function takenId(container: Container, id: string): Condition {
  return {
    code: "service-id-taken",
    severity: "warning",
    text: `A port of container "${container.name}" is not registered: the id "${shorten(id)}" is taken on this host`,
    hint: "Give each container its own SERVICE_ID, and each of its ports SERVICE_<port>_ID, or leave them out",
  };
}

function shorten(text: string): string {
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
