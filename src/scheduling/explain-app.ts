import type { LastFailure } from "../model/deployment.ts";
import { isReady } from "../model/instance.ts";
import type { InstanceStatus } from "../model/instance.ts";
import type { AppView, InstanceView } from "./app-service.ts";

/** Why an app is as it is: the answer of `apollo why APP`, in the API's shape. */
export interface AppExplanation {
  readonly app: string;
  readonly wanted: number;
  readonly running: number;
  /** One sentence: "Running as declared" or what it waits for. */
  readonly summary: string;
  readonly code: string | null;
  readonly hosts: readonly { readonly host: string; readonly reason: string }[];
  readonly retryAtMs: number | null;
  readonly lastFailure: {
    readonly instance: string;
    readonly host: string;
    readonly message: string;
    readonly atMs: number;
  } | null;
}

interface Finding {
  readonly code: string | null;
  readonly summary: string;
  /** The last failure belongs to the reason, not to the past. */
  readonly failed?: boolean;
}

/** A failure older than this is told only while it is the reason for something. */
const FAILURE_NEWS_MS = 10 * 60_000;

export function explainApp(view: AppView, nowMs: number): AppExplanation {
  const { spec } = view.current;
  const staying = view.instances.filter(({ instance }) => instance.goal === "running");
  const running = staying.filter(({ status, hostUp }) => hostUp && status?.phase === "running").length;
  const finding = findReason(view, staying, nowMs);
  const failure = view.lastFailure;
  const news = failure !== null && (finding.failed === true || nowMs - failure.atMs < FAILURE_NEWS_MS);
  return {
    app: spec.id,
    wanted: spec.instances,
    running,
    summary: finding.summary,
    code: finding.code,
    hosts: view.problem?.hosts ?? [],
    retryAtMs: view.problem?.retryAtMs ?? null,
    lastFailure: news ? formatFailure(failure) : null,
  };
}

/** The one thing that holds the app up most: no place, a wait, a down host, a start under way, a failing check. */
function findReason(view: AppView, staying: readonly InstanceView[], nowMs: number): Finding {
  const { problem, current, lastFailure } = view;
  const wanted = current.spec.instances;
  if (problem?.code === "backoff") {
    const left = Math.max(0, (problem.retryAtMs ?? nowMs) - nowMs);
    const why = lastFailure === null ? "" : `: ${lastFailure.message} (on ${lastFailure.host})`;
    return { code: "backoff", failed: true, summary: `Waiting ${formatDuration(left)} before the next start${why}` };
  }
  if (problem !== null) return { code: problem.code, summary: problem.message };

  const away = staying.filter(({ hostUp }) => !hostUp);
  if (away.length > 0 && countReady(staying) < wanted) {
    const hosts = [...new Set(away.map(({ hostName }) => hostName))].toSorted().join(", ");
    return { code: "host-down", summary: `${count(away.length, "instance")} on a host that is not heard of: ${hosts}` };
  }
  const starting = staying.filter(({ status }) => status === null || status.phase === "staging");
  if (starting.length > 0) return { code: "starting", summary: `Starting ${describeStarting(starting, nowMs)}` };
  const unready = staying.filter(({ status }) => !isReady(status ?? undefined));
  if (unready.length > 0) return { code: "unhealthy", summary: describeUnready(unready) };

  const outdated = staying.filter((each) => !each.current).length;
  if (outdated > 0) {
    return { code: "outdated", summary: `${count(outdated, "instance")} of ${staying.length} run an older definition` };
  }
  const leaving = view.instances.length - staying.length;
  if (leaving > 0) return { code: "stopping", summary: `Ending ${count(leaving, "instance")}` };
  if (wanted === 0) return { code: null, summary: "Suspended: no instances are wanted" };
  if (staying.length < wanted) {
    return { code: "waiting", summary: `${staying.length} of ${wanted} instances are there; the rest is about to start` };
  }
  return { code: null, summary: "Running as declared" };
}

function countReady(views: readonly InstanceView[]): number {
  return views.filter(({ status, hostUp }) => hostUp && isReady(status ?? undefined)).length;
}

function describeStarting(views: readonly InstanceView[], nowMs: number): string {
  const steps = new Map<string, number>();
  let sinceMs = nowMs;
  for (const { status, instance } of views) {
    const step = status?.phase === "staging" ? STEPS[status.step] : "sent to its host";
    steps.set(step, (steps.get(step) ?? 0) + 1);
    sinceMs = Math.min(sinceMs, status?.phase === "staging" ? status.sinceMs : instance.createdAtMs);
  }
  const parts = [...steps].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([step, number]) => `${number} ${step}`);
  return `${count(views.length, "instance")} for ${formatDuration(nowMs - sinceMs)}: ${parts.join(", ")}`;
}

const STEPS: Readonly<Record<(InstanceStatus & { phase: "staging" })["step"], string>> = {
  waiting: "waiting on the host",
  pulling: "pulling the image",
  creating: "being created",
};

function describeUnready(views: readonly InstanceView[]): string {
  const failing = views.flatMap(({ status, hostName }) =>
    status?.phase !== "running" || status.health !== "unhealthy"
      ? []
      : status.checks.filter(({ alive }) => !alive).map((check) => ({ hostName, cause: check.lastFailureCause })),
  );
  const first = failing[0];
  if (first === undefined) return `${count(views.length, "instance")} waiting for the first success of the health checks`;
  return `${count(views.length, "instance")} not healthy; on ${first.hostName}: ${first.cause ?? "the check fails"}`;
}

function formatFailure(failure: LastFailure): AppExplanation["lastFailure"] {
  const { instanceId, host, message, atMs } = failure;
  return { instance: instanceId, host, message, atMs };
}

function count(number: number, noun: string): string {
  return number === 1 ? `1 ${noun}` : `${number} ${noun}s`;
}

function formatDuration(ms: number): string {
  const seconds = Math.ceil(ms / 1000);
  return seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
}
