/** What is known of a container's health, as checks of its service: its app's, its own and its engine's. */
import type { AppSpec, HealthCheck } from "../../model/app.ts";
import type { Container } from "../../model/container.ts";
import type { EndpointCheck, EndpointHealth } from "../../model/endpoint.ts";
import type { HostCheckResult } from "../../model/host-check.ts";
import type { CheckResult, InstanceStatus } from "../../model/instance.ts";
import { formatDuration } from "../registry/parse-duration.ts";
import type { DeclaredCheck } from "./parse-service-checks.ts";

/** Checks of the app that were declared for the instance in this container. */
export function appChecks(
  spec: AppSpec,
  status: InstanceStatus | undefined,
  container: Pick<Container, "id">,
): readonly EndpointCheck[] {
  // A report of the container before this one says nothing about this one.
  const running = status?.phase === "running" && status.containerId === container.id ? status : null;
  return spec.healthChecks.map((check, index) => {
    const healthy = running?.health === "healthy" && !running.condemned;
    const said = healthy ? HEALTHY : judgeApp(running?.checks[index], running?.condemned === true);
    const { intervalMs, timeoutMs } = check;
    return {
      kind: "app",
      type: check.kind === "command" ? "docker" : check.kind === "tcp" ? "tcp" : "http",
      name: nameOf(check),
      ...said,
      interval: formatDuration(intervalMs),
      timeout: formatDuration(timeoutMs),
    };
  });
}

const HEALTHY = { status: "passing", output: "Healthy" } as const;

function judgeApp(result: CheckResult | undefined, condemned: boolean): Pick<EndpointCheck, "status" | "output"> {
  if (result === undefined || (result.firstSuccessMs === null && result.consecutiveFailures === 0))
    return { status: "critical", output: result?.lastFailureCause ?? "Not healthy yet" };
  if (result.consecutiveFailures === 0 && !condemned) return HEALTHY;
  return { status: "critical", output: result.lastFailureCause ?? "Unhealthy" };
}

function nameOf(check: HealthCheck): string {
  switch (check.kind) {
    case "command":
      return "Health check by command of the app";
    case "tcp":
      return "Health check by TCP of the app";
    case "http":
    case "https":
      return `Health check by ${check.kind.toUpperCase()} ${check.path} of the app`;
  }
}

/** The check that the container declares, with what it says. */
export function declaredCheck(check: DeclaredCheck, result: HostCheckResult | undefined): EndpointCheck {
  const { type, interval, timeout } = check;
  const { status, output } = result ?? { status: check.status, output: "" };
  return { kind: "container", type, name: "Check of the container", status, output, interval, timeout };
}

/** What the engine's own HEALTHCHECK says; null for an image without one. */
export function engineCheck({ health }: Pick<Container, "health">): EndpointCheck | null {
  if (health === undefined) return null;
  return {
    kind: "engine",
    type: "docker",
    name: "HEALTHCHECK of the image",
    status: health === "healthy" ? "passing" : "critical",
    output: `The engine says: ${health}`,
    interval: "",
    timeout: "",
  };
}

/** The worst counts; without checks a container that runs is well. */
export function worstOf(checks: readonly Pick<EndpointCheck, "status">[]): EndpointHealth {
  const order: readonly EndpointHealth[] = ["critical", "warning"];
  return order.find((each) => checks.some(({ status }) => status === each)) ?? "passing";
}
