/**
 * Registrator's `SERVICE_CHECK_*` as a check that this host runs. The first of http, https, cmd, script, ttl, tcp and grpc that
 * is there counts, as with registrator; its commands run inside the container instead of on the host.
 */
import type { CheckStatus, HostCheck } from "../../model/host-check.ts";
import { parseDuration } from "../registry/parse-duration.ts";

export interface CheckPlace {
  /** Id of the check. */
  readonly id: string;
  readonly container: string;
  readonly address: string;
  readonly port: number;
}

/** A declared check, with what is shown of it. */
export interface DeclaredCheck extends HostCheck {
  readonly interval: string;
  readonly timeout: string;
  /** Critical for so long takes the service away; 0 for never. */
  readonly deregisterAfterMs: number;
}

const DEFAULT_INTERVAL = "10s";
/** Less counts as so much, as in Consul. */
const DEREGISTER_MS_MIN = 60_000;
const SHELL = "/bin/sh";

/** Null for a service without a check. `meta` has the keys in lower case, without their prefix. */
export function parseServiceCheck(meta: Readonly<Record<string, string>>, place: CheckPlace): DeclaredCheck | null {
  const given = (key: string): string => meta[`check_${key}`] ?? "";
  const kind = chooseKind(given, place);
  if (kind === null) return null;
  const interval = kind.type === "ttl" ? "" : given("interval") || DEFAULT_INTERVAL;
  const timeout = given("timeout");
  const deregisterMs = parseDuration(given("deregister_after")) ?? 0;
  return {
    id: place.id,
    type: kind.type,
    definition: {
      ...kind.definition,
      ...(interval === "" ? {} : { Interval: interval }),
      ...(timeout === "" ? {} : { Timeout: timeout }),
      ...(isTrue(given("tls_skip_verify")) ? { TLSSkipVerify: true } : {}),
    },
    status: parseStatus(given("initial_status")),
    declaredByContainer: true,
    interval,
    timeout,
    deregisterAfterMs: deregisterMs > 0 ? Math.max(deregisterMs, DEREGISTER_MS_MIN) : 0,
  };
}

function chooseKind(given: (key: string) => string, place: CheckPlace): Pick<HostCheck, "type" | "definition"> | null {
  const { container, address, port } = place;
  const at = `${address}:${port}`;
  for (const scheme of ["http", "https"] as const) {
    const path = given(scheme);
    if (path === "") continue;
    const url = `${scheme}://${at}${path.startsWith("/") ? "" : "/"}${path}`;
    const method = given(`${scheme}_method`);
    return { type: "http", definition: { HTTP: url, ...(method === "" ? {} : { Method: method }) } };
  }
  const command = given("cmd") || given("script");
  if (command !== "") {
    const line = command.replaceAll("$SERVICE_IP", address).replaceAll("$SERVICE_PORT", String(port));
    return { type: "docker", definition: { DockerContainerID: container, Shell: SHELL, Args: [line] } };
  }
  if (given("ttl") !== "") return { type: "ttl", definition: { TTL: given("ttl") } };
  if (given("tcp") !== "") return { type: "tcp", definition: { TCP: at } };
  if (given("grpc") === "") return null;
  return { type: "grpc", definition: { GRPC: at, ...(isTrue(given("grpc_use_tls")) ? { GRPCUseTLS: true } : {}) } };
}

function isTrue(text: string): boolean {
  return text === "true" || text === "1";
}

/** Critical until it was tried, unless the container says otherwise. */
function parseStatus(text: string): CheckStatus {
  return text === "passing" || text === "warning" ? text : "critical";
}
