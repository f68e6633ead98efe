import { DEFAULT_CHECK_TIMING, type HealthCheck, type HealthCheckTiming } from "../../model/app.ts";
import type { JsonObject } from "../read-json.ts";
import { checkFields } from "./app-fields.ts";

const PROTOCOLS = ["HTTP", "HTTPS", "TCP", "COMMAND", "MESOS_HTTP", "MESOS_HTTPS", "MESOS_TCP"] as const;
const PORT_MAX = 65_535;
const INDEX_FAULT = "Health check port indices must address an element of the ports array or container port mappings.";

/** @param portCount how many ports the app declares, for the indices. */
export function parseHealthChecks(app: JsonObject, portCount: number): readonly HealthCheck[] {
  return (app.objects("healthChecks") ?? []).flatMap((check) => parseHealthCheck(check, portCount) ?? []);
}

function parseHealthCheck(check: JsonObject, portCount: number): HealthCheck | null {
  checkFields(check, "healthCheck");
  const timing = parseTiming(check);
  // Marathon's own checks and those of the Mesos agent differ in who probes; here it is always the instance's host.
  const protocol = check.oneOf("protocol", PROTOCOLS)?.replace("MESOS_", "") ?? "HTTP";
  if (protocol === "COMMAND") return parseCommand(check, timing);
  if (check.has("command")) check.issues.sense(check.at("command"), "is only for protocol COMMAND");
  const target = parseTarget(check, portCount);
  if (protocol === "TCP") return { kind: "tcp", ...target, ...timing };
  const path = check.string("path") ?? "/";
  return {
    kind: protocol === "HTTPS" ? "https" : "http",
    path: path.startsWith("/") ? path : `/${path}`,
    ...target,
    ignoreHttp1xx: check.boolean("ignoreHttp1xx") ?? false,
    ...timing,
  };
}

function parseTarget(
  check: JsonObject,
  portCount: number,
): { readonly portIndex: number | null; readonly port: number | null } {
  const port = check.integer("port", 1, PORT_MAX);
  const index = check.integer("portIndex");
  if (check.has("port") && check.has("portIndex")) {
    check.issues.sense(check.path, "HealthCheck must specify either a port or a portIndex");
  }
  if (check.has("port")) return { portIndex: null, port };
  const portIndex = index ?? 0;
  if (portIndex >= portCount) check.issues.sense(check.path, INDEX_FAULT);
  return { portIndex, port: null };
}

function parseCommand(check: JsonObject, timing: HealthCheckTiming): HealthCheck | null {
  const command = check.object("command");
  if (command === null) return check.issues.sense(check.at("command"), "must not be empty for protocol COMMAND");
  checkFields(command, "command");
  const value = command.needString("value");
  if (value === null) return null;
  if (value === "") return command.issues.sense(command.at("value"), "must not be empty");
  return { kind: "command", argv: ["/bin/sh", "-c", value], ...timing };
}

function parseTiming(check: JsonObject): HealthCheckTiming {
  const ms = (name: string, least: number, otherwise: number): number => {
    const seconds = check.number(name, least);
    return seconds === null ? otherwise : Math.round(seconds * 1000);
  };
  return {
    gracePeriodMs: ms("gracePeriodSeconds", 0, DEFAULT_CHECK_TIMING.gracePeriodMs),
    // Marathon takes 0 here and then checks without pause, which is no use to anybody.
    intervalMs: ms("intervalSeconds", 1, DEFAULT_CHECK_TIMING.intervalMs),
    timeoutMs: ms("timeoutSeconds", 1, DEFAULT_CHECK_TIMING.timeoutMs),
    maxConsecutiveFailures: check.integer("maxConsecutiveFailures") ?? DEFAULT_CHECK_TIMING.maxConsecutiveFailures,
  };
}
