import { LABEL_INSTANCE } from "../model/container.ts";
import type { Container } from "../model/container.ts";
import { AppError } from "../model/error.ts";
import type { Assignment, InstanceStatus } from "../model/instance.ts";
import type { Ipv4 } from "../model/ip.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { ContainerSpec, Engine } from "../platform/ports/engine.ts";
import { describeExit, readLastOutput } from "./describe-exit.ts";
import { instanceContainer } from "./instance-container.ts";
import type { Placement } from "./instance-container.ts";
import type { Limiter } from "./limiter.ts";
import type { ContainerAction } from "./plan-containers.ts";

export type FailedStatus = InstanceStatus & { readonly phase: "failed" };

/** What a job leaves behind. */
export type JobResult =
  | { readonly kind: "present"; readonly container: Container }
  /** No container of the instance is left; the next plan makes a new one where one is wanted. */
  | { readonly kind: "absent" }
  | { readonly kind: "failed"; readonly status: FailedStatus; readonly container: Container | null }
  /** The world was not as planned: look again and plan anew. */
  | { readonly kind: "again" };

export interface JobContext {
  readonly engine: Engine;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Shared by all jobs that start containers. */
  readonly starts: Limiter;
  readonly stops: Limiter;
  pull(image: string): Promise<void>;
  progress(status: InstanceStatus): void;
  /** The container exists now; its end may be told before its start is. */
  created(containerId: string): void;
  /** Resolves when this host's own ingress sends no more requests to what is not registered any more, or it takes too long. */
  released(): Promise<void>;
  /** The assignment as it is now; a job that waited long asks again. */
  assignment(): Assignment | undefined;
  placement(network: string, address: Ipv4 | null): Placement;
}

const AGAIN: JobResult = { kind: "again" };

/**
 * Carries out one action. Each step may be the last one before a crash: the next agent finds the container by its name
 * and goes on from its state. @throws AppError `unavailable` when the engine does not answer.
 */
export async function runContainerJob(action: ContainerAction, context: JobContext): Promise<JobResult> {
  switch (action.kind) {
    case "create":
      return createInstance(action, context);
    case "start":
      return context.starts.run(() => startExisting(action, context));
    case "condemn":
      return context.stops.run(() => condemn(action, context));
    case "stop":
      return context.stops.run(() => stopAndRemove(action, context));
    case "secure":
      return secure(action, context);
    case "refuse":
      return { kind: "failed", container: null, status: failed(action.reason, context) };
  }
}

async function createInstance(action: ContainerAction & { kind: "create" }, context: JobContext): Promise<JobResult> {
  const assignment = context.assignment();
  if (!isWanted(assignment, context)) return AGAIN;
  const { image, forcePull } = assignment.spec;
  const spec = instanceContainer(assignment, context.placement(action.network, action.address));
  try {
    if (forcePull) await pull(image, context);
    // Looking for the image first would be one more call for every container; nearly always it is there.
    const first = await context.starts.run(() => createAndStart(spec, context));
    if (first !== "no-image") return first;
    await pull(image, context);
    const second = await context.starts.run(() => createAndStart(spec, context));
    return second === "no-image" ? AGAIN : second;
  } catch (error) {
    return failure(error, context);
  }
}

async function pull(image: string, context: JobContext): Promise<void> {
  context.progress({ phase: "staging", step: "pulling", sinceMs: context.clock.nowMs() });
  await context.pull(image);
}

async function createAndStart(spec: ContainerSpec, context: JobContext): Promise<JobResult | "no-image"> {
  if (!isWanted(context.assignment(), context)) return AGAIN;
  context.progress({ phase: "staging", step: "creating", sinceMs: context.clock.nowMs() });
  let containerId: string;
  try {
    containerId = await context.engine.createContainer(spec);
    context.created(containerId);
  } catch (error) {
    if (isFault(error, "not-found", "image")) return "no-image";
    if (isFault(error, "conflict", "name")) return adopt(spec, error, context);
    throw error;
  }
  const fault = await start(containerId, context);
  if (fault !== null) return fault;
  // The address is the one we asked for, so nothing need be inspected; where the engine chose, it must be asked.
  const known =
    spec.address !== null || spec.network === "host"
      ? startedContainer(containerId, spec, context.clock.nowMs())
      : null;
  return present(known ?? (await context.engine.inspectContainer(containerId)));
}

/** The name is ours by its form: an agent died after it had created the container. Another's is left alone. */
async function adopt(spec: ContainerSpec, taken: unknown, context: JobContext): Promise<JobResult> {
  const container = await context.engine.inspectContainer(spec.name);
  if (container === null) return AGAIN;
  if (container.labels[LABEL_INSTANCE] !== spec.labels[LABEL_INSTANCE]) throw taken;
  return present(container);
}

async function startExisting(action: ContainerAction & { kind: "start" }, context: JobContext): Promise<JobResult> {
  if (!isWanted(context.assignment(), context)) return AGAIN;
  context.progress({ phase: "staging", step: "creating", sinceMs: context.clock.nowMs() });
  try {
    return (
      (await start(action.containerId, context)) ?? present(await context.engine.inspectContainer(action.containerId))
    );
  } catch (error) {
    return failure(error, context);
  }
}

/** Null when it runs. What cannot be started is removed: it has no output, and would hold its name. */
async function start(containerId: string, context: JobContext): Promise<JobResult | null> {
  try {
    await context.engine.startContainer(containerId);
    return null;
  } catch (error) {
    if (!(error instanceof AppError) || isFault(error, "unavailable", "engine")) throw error;
    await context.engine.removeContainer(containerId);
    const elsewhere = isFault(error, "conflict", "address") || error.code === "not-found";
    return elsewhere ? { kind: "absent" } : failure(error, context);
  }
}

async function condemn(action: ContainerAction & { kind: "condemn" }, context: JobContext): Promise<JobResult> {
  const { engine } = context;
  // Before the engine starts it again: a stop takes the restart back for good.
  await engine.stopContainer(action.containerId, 0);
  const container = await engine.inspectContainer(action.containerId);
  if (container === null) return { kind: "absent" };
  const exitCode = action.exitCode ?? container.exitCode;
  const output = await readLastOutput(engine, action.containerId);
  const reason = describeExit({ exitCode, oomKilled: container.oomKilled, output });
  return { kind: "failed", container, status: { phase: "failed", reason, exitCode, atMs: context.clock.nowMs() } };
}

async function secure(action: ContainerAction & { kind: "secure" }, context: JobContext): Promise<JobResult> {
  try {
    await context.engine.setRestart(action.containerId, "unless-stopped");
  } catch (error) {
    // It may be on its way out; what comes of it, the next look tells.
    if (!(error instanceof AppError) || isFault(error, "unavailable", "engine")) throw error;
  }
  return present(await context.engine.inspectContainer(action.containerId));
}

async function stopAndRemove(action: ContainerAction & { kind: "stop" }, context: JobContext): Promise<JobResult> {
  context.progress({ phase: "stopping", sinceMs: context.clock.nowMs() });
  // A host that was cut off learns that an instance is to drain and to stop at once, or that it is not known any more.
  await context.released();
  await context.engine.stopContainer(action.containerId, action.graceMs);
  await context.engine.removeContainer(action.containerId);
  return { kind: "absent" };
}

function isWanted(assignment: Assignment | undefined, context: JobContext): assignment is Assignment {
  return assignment !== undefined && assignment.instance.goal !== "stopped" && !context.signal.aborted;
}

function present(container: Container | null): JobResult {
  return container === null ? AGAIN : { kind: "present", container };
}

/** A failure that belongs to the instance; one of the engine itself is thrown on, since it says nothing about the instance. */
function failure(error: unknown, context: JobContext): JobResult {
  if (!(error instanceof AppError) || isFault(error, "unavailable", "engine") || context.signal.aborted) throw error;
  if (isFault(error, "not-found", "network")) return AGAIN;
  const hint = error.hint === undefined ? "" : `. ${error.hint}`;
  return { kind: "failed", container: null, status: failed(`${error.message}${hint}`, context) };
}

function failed(reason: string, context: JobContext): FailedStatus {
  return { phase: "failed", reason: reason.slice(0, REASON_LENGTH_MAX), exitCode: null, atMs: context.clock.nowMs() };
}

/** The server refuses longer texts. */
const REASON_LENGTH_MAX = 2000;

function isFault(error: unknown, code: AppError["code"], object: string): boolean {
  return error instanceof AppError && error.code === code && error.details["object"] === object;
}

function startedContainer(id: string, spec: ContainerSpec, nowMs: number): Container {
  return {
    id,
    name: spec.name,
    image: spec.image,
    state: "running",
    exitCode: null,
    startedAtMs: nowMs,
    finishedAtMs: null,
    oomKilled: false,
    env: spec.env,
    labels: spec.labels,
    addresses: spec.address === null ? {} : { [spec.network]: spec.address },
    fixedAddress: spec.address,
    exposedPorts: spec.exposedPorts,
    pid: null,
    restart: spec.restart,
  };
}
