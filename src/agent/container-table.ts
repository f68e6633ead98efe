import type { Container } from "../model/container.ts";
import type { InstanceId } from "../model/ids.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Engine, EngineEvent } from "../platform/ports/engine.ts";
import { instanceOf } from "./instance-container.ts";
import type { Death } from "./plan-containers.ts";

/** Drift that no event tells of is found at the latest after this. */
const LIST_EVERY_MS = 30_000;
/**
 * A container that is starting is looked at only now: the engine answers no inspection of it before, and those that
 * we start ourselves need none, since the start's answer tells all.
 */
const START_SETTLE_MS = 250;

const SIGKILL = 9;
/** Longer than any stop takes from signal to death in the usual case. */
const TOLD_MS = 60_000;

/** Events that change what we keep of a container. */
const CHANGES: ReadonlySet<string> = new Set(["start", "die", "stop", "pause", "unpause", "rename", "update"]);

/**
 * The containers of this host, kept fresh by events, so that a pass costs the engine nothing unless something changed.
 * Instances that a job works on are left to the job: a list that began before it ended would bring back the past.
 */
export class ContainerTable {
  readonly #engine: Engine;
  readonly #clock: Clock;
  readonly #containers = new Map<string, Container>();
  readonly #deaths = new Map<string, Death>();
  /** By container id: when the engine was asked to end it. */
  readonly #told = new Map<string, number>();
  /** By container id: when to inspect it. */
  readonly #stale = new Map<string, number>();
  #listAtMs = Number.NEGATIVE_INFINITY;
  /** Instances that a job touched since the list under way was asked for. */
  #touched: Set<InstanceId> | null = null;

  constructor(engine: Engine, clock: Clock) {
    this.#engine = engine;
    this.#clock = clock;
  }

  containers(): readonly Container[] {
    return [...this.#containers.values()];
  }

  deaths(): ReadonlyMap<string, Death> {
    return this.#deaths;
  }

  /** Takes an event. Returns when to look, ms from now; null when it changes nothing. */
  see(event: EngineEvent, connected: boolean): number | null {
    if (event.kind === "network") return null;
    if (event.kind === "lost") {
      this.#listAtMs = Number.NEGATIVE_INFINITY;
      // The engine itself may have ended them, and has restarted those that should run.
      this.#deaths.clear();
      this.#told.clear();
      return 0;
    }
    if (event.action === "destroy") {
      this.forget(event.id);
      return 0;
    }
    const nowMs = this.#clock.monotonicMs();
    if (event.action === "kill" && event.signal !== SIGKILL) this.#told.set(event.id, nowMs);
    if (!CHANGES.has(event.action)) return null;
    if (event.action === "start") {
      this.#stale.set(event.id, nowMs + START_SETTLE_MS);
      return START_SETTLE_MS;
    }
    if (event.action === "die" && connected) {
      const told = this.isTold(event.id);
      this.#deaths.set(event.id, { exitCode: event.exitCode ?? null, atMs: this.#clock.nowMs(), told });
    }
    this.#stale.set(event.id, nowMs);
    return 0;
  }

  /** Whether the engine was asked a moment ago to end it: by a stop, or by its own end. */
  isTold(containerId: string): boolean {
    return this.#clock.monotonicMs() - (this.#told.get(containerId) ?? Number.NEGATIVE_INFINITY) < TOLD_MS;
  }

  /** Brings the table up to date. @throws AppError `unavailable` when the engine does not answer. */
  async refresh(busy: ReadonlyMap<InstanceId, unknown>): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#listAtMs >= LIST_EVERY_MS) return this.#list(busy, nowMs);
    for (const [id, dueMs] of this.#stale) {
      const instanceId = this.#instanceOf(id);
      if (dueMs > nowMs || (instanceId !== null && busy.has(instanceId))) continue;
      this.#stale.delete(id);
      const touched = this.#beginRead(busy);
      const container = await this.#engine.inspectContainer(id).catch((error: unknown) => {
        this.#stale.set(id, dueMs);
        throw error;
      });
      this.#touched = null;
      const now = container === null ? null : instanceOf(container);
      if (now !== null && touched.has(now)) continue;
      if (container === null) this.forget(id);
      else this.#containers.set(id, container);
    }
  }

  async #list(busy: ReadonlyMap<InstanceId, unknown>, nowMs: number): Promise<void> {
    const touched = this.#beginRead(busy);
    const staleBefore = new Map(this.#stale);
    const containers = await this.#engine.listContainers();
    this.#touched = null;
    const kept = this.containers().filter((container) => touched.has(instanceOf(container) ?? ("" as InstanceId)));
    const listed = containers.filter((container) => !touched.has(instanceOf(container) ?? ("" as InstanceId)));
    this.#containers.clear();
    for (const container of [...listed, ...kept]) this.#containers.set(container.id, container);
    for (const id of this.#deaths.keys()) if (!this.#containers.has(id)) this.#deaths.delete(id);
    // What was stale before the list is not any more; what became so while it ran still is.
    for (const [id, dueMs] of staleBefore) if (this.#stale.get(id) === dueMs) this.#stale.delete(id);
    this.#listAtMs = nowMs;
  }

  #beginRead(busy: ReadonlyMap<InstanceId, unknown>): ReadonlySet<InstanceId> {
    const touched = new Set(busy.keys());
    this.#touched = touched;
    return touched;
  }

  /** A job for that instance begins or has ended. */
  touch(id: InstanceId): void {
    this.#touched?.add(id);
  }

  /** A job's own knowledge of a container. */
  put(container: Container): void {
    this.#containers.set(container.id, container);
    if (container.state === "running" && !this.#deaths.has(container.id)) this.#stale.delete(container.id);
  }

  /** The next pass lists all: the engine may have been away. */
  expire(): void {
    this.#listAtMs = Number.NEGATIVE_INFINITY;
  }

  /** The next pass inspects it. */
  suspect(containerId: string): void {
    this.#stale.set(containerId, this.#clock.monotonicMs());
  }

  /** It is gone. */
  forget(containerId: string): void {
    this.#containers.delete(containerId);
    this.settle(containerId);
  }

  /** Its death was dealt with. */
  settle(containerId: string): void {
    this.#told.delete(containerId);
    this.#deaths.delete(containerId);
    this.#stale.delete(containerId);
  }

  #instanceOf(containerId: string): InstanceId | null {
    const container = this.#containers.get(containerId);
    return container === undefined ? null : instanceOf(container);
  }
}
