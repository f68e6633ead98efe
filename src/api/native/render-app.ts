import type { AppVersion } from "../../model/app.ts";
import type { Deployment } from "../../model/deployment.ts";
import { DEFAULT_NETWORK } from "../../model/network-config.ts";
import type { InstanceHealth, InstanceStatus } from "../../model/instance.ts";
import type { AppView, InstanceView } from "../../scheduling/app-service.ts";
import type { AppJson, DeploymentJson, InstanceJson, VersionJson, WhyJson } from "./shapes.ts";

/** @param service name in the catalog, null for none. */
export function renderAppJson(view: AppView, service: string | null): AppJson {
  const { spec, version } = view.current;
  const phases = view.instances.map(phaseOf);
  const healths = view.instances.map((one) => (phaseOf(one) === "running" ? healthOf(one.status) : null));
  const count = <T>(values: readonly T[], ...wanted: readonly T[]): number =>
    values.filter((value) => wanted.includes(value)).length;
  return {
    id: spec.id,
    ...(spec.network === DEFAULT_NETWORK || spec.network === "host" ? {} : { network: spec.network }),
    image: spec.image,
    instances: spec.instances,
    running: count(phases, "running"),
    healthy: count(healths, "healthy"),
    unhealthy: count(healths, "unhealthy"),
    staging: count(phases, "assigned", "staging"),
    cpus: spec.cpus,
    memoryMiB: spec.memoryMiB,
    service,
    version,
    status: statusOf(view, count(phases, "running")),
    deployments: view.deployments,
    problem: view.problem?.message ?? null,
    labels: spec.labels,
  };
}

/** The rule of Marathon's own console. */
function statusOf(view: AppView, running: number): AppJson["status"] {
  if (view.deployments.length > 0) return "deploying";
  if (view.current.spec.instances === 0 && running === 0) return "suspended";
  if (view.problem === null) return "running";
  return view.problem.code === "backoff" ? "delayed" : "waiting";
}

export function renderInstanceJson(view: InstanceView): InstanceJson {
  const { instance, status, spec } = view;
  const running = status?.phase === "running" ? status : null;
  return {
    id: instance.id,
    app: instance.appId,
    version: instance.version,
    current: view.current,
    host: view.hostName,
    goal: instance.goal,
    phase: phaseOf(view),
    health: healthOf(status),
    address: running === null ? null : spec.network === "host" ? view.hostAddress : running.address,
    ports: spec.ports.map(({ containerPort, hostPort }) =>
      spec.network === "host" && hostPort !== null ? hostPort : containerPort,
    ),
    startedAtMs: running?.startedAtMs ?? null,
    message: messageOf(status),
  };
}

function phaseOf({ hostUp, status }: InstanceView): InstanceJson["phase"] {
  if (!hostUp) return "lost";
  return status?.phase ?? "assigned";
}

function healthOf(status: InstanceStatus | null): InstanceHealth {
  return status?.phase === "running" ? status.health : "unknown";
}

function messageOf(status: InstanceStatus | null): string | null {
  if (status?.phase === "failed") return status.reason;
  if (status?.phase === "staging") return status.step === "waiting" ? "waits for its turn" : status.step;
  if (status?.phase !== "running") return null;
  return status.checks.find((check) => !check.alive && check.lastFailureCause !== null)?.lastFailureCause ?? null;
}

export function renderDeploymentJson(deployment: Deployment): DeploymentJson {
  const actions = deployment.steps[deployment.currentStep] ?? [];
  return {
    id: deployment.id,
    version: deployment.version,
    apps: deployment.affectedApps,
    step: Math.min(deployment.currentStep + 1, deployment.steps.length),
    steps: deployment.steps.length,
    actions: actions.map(({ action, app }) => ({ action, app })),
    startedAtMs: deployment.startedAtMs,
  };
}

/** @param index place in the list of versions, newest first. */
export function renderVersionJson({ version, spec }: AppVersion, index: number): VersionJson {
  return { version, image: spec.image, instances: spec.instances, current: index === 0 };
}

/** Why an app is not (yet) what was declared, in one sentence and by host. */
export function renderWhyJson(view: AppView): WhyJson {
  const { spec } = view.current;
  const { problem, lastFailure } = view;
  const running = view.instances.filter((one) => phaseOf(one) === "running").length;
  return {
    app: spec.id,
    wanted: spec.instances,
    running,
    summary: problem?.message ?? summaryOf(view, running),
    code: problem?.code ?? null,
    hosts: problem?.hosts ?? [],
    retryAtMs: problem?.retryAtMs ?? null,
    lastFailure:
      lastFailure === null
        ? null
        : {
            instance: lastFailure.instanceId,
            host: lastFailure.host,
            message: lastFailure.message,
            atMs: lastFailure.atMs,
          },
  };
}

function summaryOf(view: AppView, running: number): string {
  const wanted = view.current.spec.instances;
  const old = view.instances.filter((one) => !one.current && phaseOf(one) === "running").length;
  const lost = view.instances.filter((one) => phaseOf(one) === "lost").map((one) => one.hostName);
  const unhealthy = view.instances.filter((one) => healthOf(one.status) === "unhealthy").length;
  const unchecked = view.instances.filter(
    (one) => phaseOf(one) === "running" && healthOf(one.status) === "unknown",
  ).length;
  const some = (count: number): string => `${count} ${count === 1 ? "instance" : "instances"}`;
  if (lost.length > 0 && running < wanted) {
    return `Waits for replacements of instances on ${[...new Set(lost)].join(", ")}, which cannot be reached`;
  }
  if (running < wanted) return `Waits for ${wanted - running} of ${some(wanted)} to start`;
  if (unhealthy > 0) return `${unhealthy} of ${some(running)} fail their health checks`;
  if (unchecked > 0) return `Waits for the first health check of ${unchecked} of ${some(running)}`;
  if (old > 0) return `Waits for ${some(old)} of an older version to be replaced`;
  if (running > wanted) return `Waits for ${some(running - wanted)} to stop`;
  if (lost.length > 0) {
    return `Running as declared; ${some(lost.length)} on ${[...new Set(lost)].join(", ")}, which cannot be reached, ${lost.length === 1 ? "is" : "are"} replaced`;
  }
  return wanted === 0 ? "Suspended: 0 instances are declared" : "Running as declared";
}
