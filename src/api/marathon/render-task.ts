import type { AppSpec } from "../../model/app.ts";
import { formatVersion } from "../../model/ids.ts";
import type { CheckResult } from "../../model/instance.ts";
import type { InstanceView } from "../../scheduling/app-service.ts";
import type { Json } from "./render-definition.ts";

export interface TaskCounts {
  readonly tasksStaged: number;
  readonly tasksRunning: number;
  readonly tasksHealthy: number;
  readonly tasksUnhealthy: number;
}

type TaskState = "TASK_STAGING" | "TASK_RUNNING" | "TASK_KILLING" | "TASK_FAILED" | "TASK_KILLED" | "TASK_UNREACHABLE";

/** Marathon's word for where an instance is. */
export function taskState(view: InstanceView): TaskState {
  const { status } = view;
  if (!view.hostUp) return "TASK_UNREACHABLE";
  if (status?.phase === "gone") return "TASK_KILLED";
  if (status?.phase === "failed") return "TASK_FAILED";
  if (status?.phase === "stopping" || view.instance.goal === "stopped") return "TASK_KILLING";
  return status?.phase === "running" ? "TASK_RUNNING" : "TASK_STAGING";
}

export function countTasks(views: readonly InstanceView[]): TaskCounts {
  let [tasksStaged, tasksRunning, tasksHealthy, tasksUnhealthy] = [0, 0, 0, 0];
  for (const view of views) {
    const state = taskState(view);
    if (state === "TASK_STAGING") tasksStaged++;
    if (state !== "TASK_RUNNING" || view.status?.phase !== "running") continue;
    tasksRunning++;
    if (view.status.health === "healthy") tasksHealthy++;
    if (view.status.health === "unhealthy") tasksUnhealthy++;
  }
  return { tasksStaged, tasksRunning, tasksHealthy, tasksUnhealthy };
}

/** Marathon counts restarts of an instance in the last part; ours get a new instance instead, so it is always 1. */
const TASK_SUFFIX = "._app.1";

export function taskIdOf(instanceId: string): string {
  return instanceId + TASK_SUFFIX;
}

/** The instance that a client means, by task id or instance id. */
export function instanceIdOf(taskId: string): string {
  return taskId.replace(/\._app\.\d+$/, "");
}

/**
 * A task as every answer has it. `ports` are ports of the host: on the flat network there are none unless published,
 * and clients go by `ipAddresses` and the container ports of the app.
 */
export function renderTask(view: InstanceView, spec: AppSpec): Json {
  const { instance, status } = view;
  const running = status?.phase === "running" ? status : null;
  return {
    id: taskIdOf(instance.id),
    appId: instance.appId,
    host: view.hostName,
    ports: hostPortsOf(spec),
    slaveId: instance.hostId,
    state: taskState(view),
    stagedAt: formatVersion(instance.createdAtMs),
    ...(running === null ? {} : { startedAt: formatVersion(running.startedAtMs) }),
    version: instance.version,
    ipAddresses: running === null ? [] : [{ ipAddress: running.address, protocol: "IPv4" }],
    ...(running === null || running.checks.length === 0
      ? {}
      : { healthCheckResults: running.checks.map((check) => renderCheckResult(check, instance.id)) }),
    localVolumes: [],
    role: "*",
  };
}

function hostPortsOf(spec: AppSpec): readonly number[] {
  return spec.ports.flatMap(({ hostPort }) => (hostPort === null || hostPort === 0 ? [] : [hostPort]));
}

function renderCheckResult(check: CheckResult, instanceId: string): Json {
  const time = (ms: number | null): string | null => (ms === null ? null : formatVersion(ms));
  return {
    instanceId,
    taskId: taskIdOf(instanceId),
    alive: check.alive,
    consecutiveFailures: check.consecutiveFailures,
    firstSuccess: time(check.firstSuccessMs),
    lastSuccess: time(check.lastSuccessMs),
    lastFailure: time(check.lastFailureMs),
    lastFailureCause: check.lastFailureCause,
  };
}

/**
 * The text form that load balancers of 2015 read: a line a service port, with the running tasks' addresses. It says
 * where to connect, so on the flat network it is the container's own address and port.
 */
export function renderTasksText(
  apps: readonly { readonly spec: AppSpec; readonly instances: readonly InstanceView[] }[],
): string {
  return apps.flatMap(({ spec, instances }) => textLines(spec, instances)).join("");
}

function textLines(spec: AppSpec, instances: readonly InstanceView[]): readonly string[] {
  const name = spec.id.slice(1).replaceAll("/", "_");
  const running = instances.filter((view) => taskState(view) === "TASK_RUNNING");
  if (spec.ports.length === 0) return [`${name}\t \t${running.map((view) => `${view.hostName} `).join("")}\n`];
  return spec.ports.map(({ containerPort, servicePort }) => {
    const targets = running.flatMap(({ status }) =>
      status?.phase === "running" ? [`${status.address}:${containerPort}\t`] : [],
    );
    return `${name}\t${servicePort}\t${targets.join("")}\n`;
  });
}
