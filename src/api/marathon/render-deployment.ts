import type { Deployment, DeploymentAction, Problem } from "../../model/deployment.ts";
import type { HttpRequest } from "../../platform/ports/http.ts";
import type { AppView } from "../../scheduling/app-service.ts";
import { renderVersion } from "./render-app.ts";
import type { Json } from "./render-definition.ts";

/**
 * marathonctl of every age only reads the shapes from before Marathon 1.0. It is known by what it sends: Go's plain
 * client with JSON and no compression; other Go clients ask for gzip and read either shape.
 */
export function wantsLegacyShape(request: HttpRequest): boolean {
  return (
    request.header("user-agent") === "Go-http-client/1.1" &&
    request.header("accept") === "application/json" &&
    request.header("accept-encoding") === null
  );
}

export function renderDeployment(deployment: Deployment, legacy: boolean): Json {
  const steps = deployment.steps.map((actions) => actions.map(renderAction));
  const current = Math.min(deployment.currentStep, Math.max(0, deployment.steps.length - 1));
  return {
    id: deployment.id,
    version: deployment.version,
    affectedApps: deployment.affectedApps,
    affectedPods: [],
    steps: legacy ? steps : steps.map((actions) => ({ actions })),
    currentActions: (steps[current] ?? []).map((action) => ({ ...action, readinessCheckResults: [] })),
    currentStep: current + 1,
    totalSteps: deployment.steps.length,
  };
}

function renderAction({ action, app }: DeploymentAction): Json {
  return { action, app };
}

/** An app that waits for instances to start. `overdue` says that it may start and finds no host. */
export function renderQueueItem(problem: Problem, view: AppView, options: { nowMs: number; legacy: boolean }): Json {
  const leftMs = Math.max(0, (problem.retryAtMs ?? 0) - options.nowMs);
  const delay = { overdue: leftMs === 0 };
  return {
    app: renderVersion(view.current),
    count: problem.count,
    role: "*",
    delay: options.legacy ? delay : { timeLeftSeconds: Math.ceil(leftMs / 1000), ...delay },
  };
}
