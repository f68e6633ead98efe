/** A check's definition, in Consul's fields, as something that can be run. */
import { CHECK_OUTPUT_MAX, type HostCheck } from "../../model/host-check.ts";
import type { CheckTarget, CheckTls } from "../../platform/ports/check-runner.ts";
import { parseDuration } from "../registry/parse-duration.ts";
import type { CheckThresholds } from "./apply-check-answer.ts";

export interface RunnableCheck {
  readonly target: CheckTarget;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly outputMax: number;
  readonly thresholds: CheckThresholds;
}

/** Types that a host runs; TTL checks are told, alias checks looked up, all others somebody else's. */
export const RUN_TYPES: ReadonlySet<string> = new Set([
  "script",
  "docker",
  "http",
  "tcp",
  "udp",
  "grpc",
  "h2ping",
  "os_service",
]);

const INTERVAL_MS_MIN = 1000;
const TIMEOUT_MS = { script: 30_000, other: 10_000 } as const;
const TIMEOUT_MS_MAX = 3_600_000;
const ARGV_MAX = 256;
const URL_MAX = 8192;

type Definition = HostCheck["definition"];

/** A text says why the check cannot be run: it is what the check then shows. */
export function parseHostCheck(
  check: Pick<HostCheck, "type" | "definition" | "declaredByContainer">,
): RunnableCheck | string {
  const { type, definition } = check;
  const target = type === "docker" ? parseDocker(check) : parseTarget(type, definition);
  if (typeof target === "string") return target;
  const intervalMs = duration(definition, "Interval");
  if (intervalMs === null || intervalMs <= 0) return "Cannot run the check: it has no interval";
  const timeoutMs = duration(definition, "Timeout");
  const command = target.kind === "script" || target.kind === "docker";
  const wanted = timeoutMs === null || timeoutMs <= 0 ? TIMEOUT_MS[command ? "script" : "other"] : timeoutMs;
  const outputMax = count(definition, "OutputMaxSize");
  return {
    target,
    intervalMs: Math.max(INTERVAL_MS_MIN, intervalMs),
    timeoutMs: Math.min(wanted, TIMEOUT_MS_MAX),
    outputMax: outputMax === 0 ? CHECK_OUTPUT_MAX : Math.min(outputMax, CHECK_OUTPUT_MAX),
    thresholds: {
      successBeforePassing: count(definition, "SuccessBeforePassing"),
      failuresBeforeCritical: count(definition, "FailuresBeforeCritical"),
      // Without a number of its own a failure is a warning only where it is critical: never.
      failuresBeforeWarning: count(definition, "FailuresBeforeWarning") || count(definition, "FailuresBeforeCritical"),
    },
  };
}

function parseTarget(type: string, definition: Definition): CheckTarget | string {
  switch (type) {
    case "http":
      return parseHttp(definition);
    case "tcp": {
      const place = parseHostPort(text(definition, "TCP"));
      if (place === null) return `Cannot run the check: "${text(definition, "TCP")}" is not HOST:PORT`;
      return { kind: "tcp", ...place, tls: flag(definition, "TCPUseTLS") ? tlsOf(definition) : null };
    }
    case "udp": {
      const place = parseHostPort(text(definition, "UDP"));
      return place === null
        ? `Cannot run the check: "${text(definition, "UDP")}" is not HOST:PORT`
        : { kind: "udp", ...place };
    }
    case "grpc":
      return parseGrpc(definition);
    case "h2ping": {
      const place = parseHostPort(text(definition, "H2PING"));
      if (place === null) return `Cannot run the check: "${text(definition, "H2PING")}" is not HOST:PORT`;
      // TLS unless it is switched off, as in Consul.
      const plain = definition["H2PingUseTLS"] === false;
      return { kind: "h2ping", ...place, tls: plain ? null : tlsOf(definition) };
    }
    case "script": {
      const argv = parseArgs(definition);
      return argv === null ? NO_PROGRAM : { kind: "script", argv };
    }
    case "os_service": {
      const name = text(definition, "OSService");
      // What begins with a dash would be an option to systemctl.
      return /^[\w@.:\\][\w@.:\\-]*$/.test(name)
        ? { kind: "os-service", name }
        : `Cannot run the check: "${name}" is no name of a service`;
    }
    default:
      return `Cannot run the check: this host knows no type "${type}"`;
  }
}

function parseHttp(definition: Definition): CheckTarget | string {
  const url = text(definition, "HTTP");
  if (!/^https?:\/\/[^\s/]+/i.test(url) || url.length > URL_MAX)
    return `Cannot run the check: "${url}" is no http or https URL`;
  const method = text(definition, "Method").toUpperCase() || "GET";
  if (!/^[A-Z]{1,20}$/.test(method)) return `Cannot run the check: "${method}" is no HTTP method`;
  const headers = parseHeaders(definition["Header"]);
  if (headers === null) return "Cannot run the check: its Header is not names with lists of texts";
  return {
    kind: "http",
    url,
    method,
    headers,
    body: text(definition, "Body"),
    tls: tlsOf(definition),
    followRedirects: !flag(definition, "DisableRedirects"),
  };
}

/** Header names and values as they may be written into a request: no line may begin inside one. */
function parseHeaders(value: unknown): Readonly<Record<string, readonly string[]>> | null {
  if (value === undefined || value === null) return {};
  if (typeof value !== "object") return null;
  const headers: Record<string, readonly string[]> = {};
  for (const [name, given] of Object.entries(value)) {
    const values: readonly unknown[] = Array.isArray(given) ? given : [given];
    const texts = values.filter((each): each is string => typeof each === "string" && /^[^\r\n\0]*$/.test(each));
    if (!/^[\w!#$%&'*+.^`|~-]+$/.test(name) || texts.length !== values.length) return null;
    headers[name] = texts;
  }
  return headers;
}

/** `HOST:PORT` or `HOST:PORT/SERVICE`. */
function parseGrpc(definition: Definition): CheckTarget | string {
  const given = text(definition, "GRPC");
  const slash = given.indexOf("/");
  const place = parseHostPort(slash < 0 ? given : given.slice(0, slash));
  if (place === null) return `Cannot run the check: "${given}" is not HOST:PORT or HOST:PORT/SERVICE`;
  const service = slash < 0 ? "" : given.slice(slash + 1);
  return { kind: "grpc", ...place, service, tls: flag(definition, "GRPCUseTLS") ? tlsOf(definition) : null };
}

const NO_PROGRAM = "Cannot run the check: Args names no program";

function parseArgs(definition: Definition): readonly string[] | null {
  const args = definition["Args"];
  const argv = Array.isArray(args) ? args.filter((each): each is string => typeof each === "string") : [];
  return argv.length === 0 || argv.length > ARGV_MAX || argv[0] === "" ? null : argv;
}

function parseDocker({
  definition,
  declaredByContainer,
}: Pick<HostCheck, "definition" | "declaredByContainer">): CheckTarget | string {
  const args = parseArgs(definition);
  if (args === null) return NO_PROGRAM;
  const container = text(definition, "DockerContainerID");
  if (!/^\w[\w.-]*$/.test(container)) return `Cannot run the check: "${container}" is no container`;
  const shell = text(definition, "Shell");
  // With a shell the words are one line for it, inside the container; without, they are the program and its arguments.
  const argv = shell === "" ? args : [shell, "-c", args.join(" ")];
  return { kind: "docker", container, argv, declared: declaredByContainer === true };
}

function tlsOf(definition: Definition): CheckTls {
  return { serverName: text(definition, "TLSServerName"), skipVerify: flag(definition, "TLSSkipVerify") };
}

/** "10.0.0.1:80", "name:80", "[::1]:80"; null for anything else. */
export function parseHostPort(value: string): { readonly host: string; readonly port: number } | null {
  const [, bracketed, plain, digits = ""] = /^(?:\[([0-9a-fA-F:.]+)\]|([\w.-]{1,255})):(\d{1,5})$/.exec(value) ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits);
  return host === undefined || port < 1 || port > 65_535 ? null : { host, port };
}

function text(definition: Definition, name: string): string {
  const value = definition[name];
  return typeof value === "string" ? value : "";
}

function flag(definition: Definition, name: string): boolean {
  return definition[name] === true;
}

function count(definition: Definition, name: string): number {
  const value = definition[name];
  return typeof value === "number" && Number.isInteger(value) && value > 0 ? value : 0;
}

/** Null where none is given or it cannot be read. */
function duration(definition: Definition, name: string): number | null {
  const value = text(definition, name);
  return value === "" ? null : parseDuration(value);
}
