import type { AppJson, DeploymentJson, DeploymentRefJson, InstanceJson, WhyJson } from "../api/native/shapes.ts";
import { AppError } from "../model/error.ts";
import type { Clock } from "../platform/ports/clock.ts";
import { appPath, type ApolloClient } from "./client.ts";
import { shownApp, shownInstance } from "./find-named.ts";
import { Interrupted } from "./format-error.ts";
import { formatDuration } from "./format-time.ts";
import type { ProgressLine } from "./progress-line.ts";

/** Fast enough that the last step does not seem to lag, slow enough not to matter to the server. */
const POLL_MS = 250;
/** A deployment that does not move for so long has a reason worth asking for. */
const STILL_MS = 3000;
/** A line names at most so many instances. */
const NAMED_MAX = 3;

export interface WaitOptions {
  readonly client: ApolloClient;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly progress: ProgressLine;
  readonly timeoutMs: number;
}

export interface WaitTarget {
  readonly app: string;
  readonly ref: DeploymentRefJson;
  /** What the deployment should end in. */
  readonly goal: "running" | "gone";
}

interface View {
  readonly app: AppJson | null;
  readonly instances: readonly InstanceJson[];
  readonly deployment: DeploymentJson | null;
}

/**
 * Waits until the deployment ended as it should; returns the milliseconds that took. A server that does not answer for
 * a while is waited for as well: the deployment goes on when it is back.
 *
 * @throws AppError `unavailable` at the deadline, `conflict` when the deployment ended otherwise; Interrupted.
 */
export async function waitForDeployment(target: WaitTarget, options: WaitOptions): Promise<number> {
  const { clock, signal, progress, timeoutMs } = options;
  const startMs = clock.monotonicMs();
  let changedMs = startMs;
  let last = "";
  let reason: string | null = null;
  let text = "";
  try {
    for (;;) {
      const nowMs = clock.monotonicMs();
      const view = await observe(target, options);
      if (signal.aborted) throw interrupted(target);
      if (view !== null && view.deployment === null) return finish(target, view, nowMs - startMs);
      text = view === null ? "the server does not answer; trying again" : formatProgress(target, view);
      if (text !== last) [last, changedMs, reason] = [text, nowMs, null];
      if (view !== null && nowMs - changedMs >= STILL_MS) reason = await askWhy(target, options);
      progress.update(`${shownApp(target.app)}: ${text}${reason === null ? "" : ` · ${reason}`}`);
      if (nowMs - startMs >= timeoutMs) throw late(target, text, timeoutMs);
      await clock.sleep(POLL_MS, signal);
    }
  } finally {
    progress.clear();
  }
}

async function observe({ app, ref }: WaitTarget, { client }: WaitOptions): Promise<View | null> {
  try {
    // The deployment first: when it is gone, what is read after it is the outcome.
    const deployments = await client.get<readonly DeploymentJson[]>("/api/deployments");
    const deployment = deployments.find((one) => one.id === ref.deploymentId) ?? null;
    const [found, instances] = await Promise.all([
      client.find<AppJson>(appPath(app)),
      // An app that is gone has none: the server then knows nothing of that name.
      client.find<readonly InstanceJson[]>(`/api/instances?app=${encodeURIComponent(app)}`).then((list) => list ?? []),
    ]);
    return { deployment, app: found, instances };
  } catch (error) {
    if (error instanceof AppError && error.code === "unavailable") return null;
    // Ctrl-C during a request: the loop says what goes on.
    if (error instanceof Interrupted) return null;
    throw error;
  }
}

async function askWhy({ app }: WaitTarget, { client }: WaitOptions): Promise<string | null> {
  try {
    const why = await client.find<WhyJson>(appPath(app, "/why"));
    return why?.summary ?? null;
  } catch (error) {
    if (error instanceof AppError || error instanceof Interrupted) return null;
    throw error;
  }
}

/** Instances of the wanted definition that can serve. */
export function readyCount(instances: readonly InstanceJson[]): number {
  return instances.filter(
    (one) =>
      one.current &&
      one.goal === "running" &&
      one.phase === "running" &&
      (one.health === "healthy" || one.health === "none"),
  ).length;
}

/** "1/2 healthy · 3f2a9c11 staging on host-2". */
export function formatProgress(target: WaitTarget, view: Pick<View, "app" | "instances">): string {
  const busy = view.instances.filter(
    (one) =>
      one.phase !== "running" || one.goal !== "running" || one.health === "unknown" || one.health === "unhealthy",
  );
  const named = busy.slice(0, NAMED_MAX).map((one) => `${shownInstance(one.id)} ${describe(one)} on ${one.host}`);
  const more = busy.length > NAMED_MAX ? [`${busy.length - NAMED_MAX} more`] : [];
  const { length } = view.instances;
  const count =
    target.goal === "gone"
      ? `${length} instance${length === 1 ? "" : "s"} left`
      : `${readyCount(view.instances)}/${view.app?.instances ?? 0} healthy`;
  return [count, ...named, ...more].join(" · ");
}

function describe(instance: InstanceJson): string {
  if (instance.goal === "draining") return "draining";
  if (instance.phase !== "running") return instance.phase;
  return instance.health === "unknown" ? "not checked yet" : instance.health;
}

function finish(target: WaitTarget, { app, instances }: View, tookMs: number): number {
  const name = shownApp(target.app);
  const { deploymentId } = target.ref;
  if (target.goal === "gone") {
    if (app === null) return tookMs;
    throw new AppError("conflict", `Cannot destroy app "${name}": the deployment ended, and the app is still there`, {
      hint: `Somebody may have cancelled it: run "apollo app show ${name}"`,
      details: { deployment: deploymentId },
    });
  }
  if (app === null) {
    throw new AppError("conflict", `Cannot see app "${name}" run: it was destroyed meanwhile`, {
      details: { deployment: deploymentId },
    });
  }
  const [other] = app.deployments;
  if (other !== undefined) {
    throw new AppError(
      "conflict",
      `Cannot see the deployment of app "${name}" end: deployment ${other} took its place`,
      {
        hint: 'Run "apollo deployment list"',
        details: { deployment: deploymentId, other },
      },
    );
  }
  const ready = readyCount(instances);
  if (ready >= app.instances) return tookMs;
  throw new AppError(
    "conflict",
    `Cannot see app "${name}" healthy: its deployment ended with ${ready} of ${app.instances} instances`,
    {
      hint: `Run "apollo why ${name}"`,
      details: { deployment: deploymentId },
    },
  );
}

function interrupted({ app, ref }: WaitTarget): Interrupted {
  return new Interrupted(
    [
      "Stopped waiting; the deployment goes on.",
      `  See how it is:  apollo app show ${shownApp(app)}`,
      `  Go back:        apollo deployment cancel ${ref.deploymentId}`,
    ].join("\n"),
  );
}

function late({ app, ref }: WaitTarget, text: string, timeoutMs: number): AppError {
  return new AppError(
    "unavailable",
    `Cannot see app "${shownApp(app)}" ready within ${formatDuration(timeoutMs)}: ${text}`,
    {
      hint: `The deployment goes on. Run "apollo why ${shownApp(app)}", or "apollo deployment cancel ${ref.deploymentId}"`,
      details: { deployment: ref.deploymentId },
    },
  );
}
