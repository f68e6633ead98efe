import {
  applyCheckResult,
  isTransition,
  nextCheckDelayMs,
  summarizeHealth,
  UNTRIED,
} from "../discovery/health/apply-check-result.ts";
import type { CheckOutcome } from "../discovery/health/apply-check-result.ts";
import { judgeHttpStatus } from "../discovery/health/judge-http-status.ts";
import type { LocalHealth } from "../discovery/health/local-health.ts";
import type { AppSpec, HealthCheck } from "../model/app.ts";
import { AppError } from "../model/error.ts";
import type { InstanceId } from "../model/ids.ts";
import type { CheckResult } from "../model/instance.ts";
import type { HostAddress } from "../model/ip6.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Engine } from "../platform/ports/engine.ts";
import type { Prober, ProbeResult } from "../platform/ports/prober.ts";
import type { AgentPart, AgentState } from "./agent-state.ts";
import { Limiter } from "./limiter.ts";

export interface HealthPartOptions {
  readonly state: AgentState;
  readonly engine: Engine;
  readonly prober: Prober;
  readonly clock: Clock;
  /** How well this host itself is: a starved one must not condemn its instances. */
  readonly local: LocalHealth;
}

/** Probes mostly wait; this bounds sockets when hundreds of instances hang. Commands cost the engine more. */
const PROBES_AT_ONCE = 64;
const COMMANDS_AT_ONCE = 4;
/** So many failures of starved moments in a row say nothing; the next one counts, whatever the host's state. */
const HOLDS_MAX = 3;

/** One running container, as far as its checks need it. */
interface Target {
  readonly instanceId: InstanceId;
  readonly containerId: string;
  readonly address: HostAddress;
  readonly startedAtMs: number;
  readonly spec: AppSpec;
}

interface Watch {
  readonly containerId: string;
  readonly abort: AbortController;
}

/** Checks every running instance that declares health checks, and publishes what changes. */
export function createHealthPart(options: HealthPartOptions): AgentPart {
  return { name: "health", run: (signal) => new HealthPart(options).run(signal) };
}

class HealthPart {
  readonly #options: HealthPartOptions;
  readonly #watches = new Map<InstanceId, Watch>();
  readonly #probes = new Limiter(PROBES_AT_ONCE);
  readonly #commands = new Limiter(COMMANDS_AT_ONCE);
  readonly #running = new Set<Promise<void>>();

  constructor(options: HealthPartOptions) {
    this.#options = options;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { state } = this.#options;
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    const sync = (): void => this.#sync();
    const stops = [state.on("reports", sync), state.on("assignments", sync)];
    signal.addEventListener("abort", () => end());
    if (signal.aborted) end();
    else sync();
    await ended;
    for (const stop of stops) stop();
    for (const { abort } of this.#watches.values()) abort.abort();
    await Promise.all(this.#running);
  }

  /** Begins what began to run, ends what ended. */
  #sync(): void {
    const { state } = this.#options;
    const targets = new Map(listTargets(state).map((target) => [target.instanceId, target]));
    for (const [id, watch] of this.#watches) {
      if (targets.get(id)?.containerId === watch.containerId) continue;
      watch.abort.abort();
      this.#watches.delete(id);
    }
    for (const [id, target] of targets) {
      if (this.#watches.has(id)) continue;
      const watch = { containerId: target.containerId, abort: new AbortController() };
      this.#watches.set(id, watch);
      this.#begin(target, watch.abort.signal);
    }
    // Before the containers part has looked, a missing report does not mean that the instance is gone.
    if (!state.reportsKnown) return;
    for (const id of state.health.keys()) if (!state.assignments.has(id)) state.setHealth(id, null);
  }

  #begin(target: Target, signal: AbortSignal): void {
    const { instanceId, containerId, spec } = target;
    const known = this.#options.state.health.get(instanceId);
    const kept = known?.containerId === containerId && known.checks.length === spec.healthChecks.length;
    const results: CheckResult[] = spec.healthChecks.map(
      (_, index) => (kept ? known.checks[index] : undefined) ?? UNTRIED,
    );
    if (!kept) this.#publish(target, results);
    for (const [index, check] of spec.healthChecks.entries()) {
      const running = this.#repeat({ target, check, index, results, signal }).finally(() =>
        this.#running.delete(running),
      );
      this.#running.add(running);
    }
  }

  async #repeat(task: {
    readonly target: Target;
    readonly check: HealthCheck;
    readonly index: number;
    readonly results: CheckResult[];
    readonly signal: AbortSignal;
  }): Promise<void> {
    const { target, check, index, results, signal } = task;
    const { clock, local } = this.#options;
    const instance = { startedAtMs: target.startedAtMs, timing: check };
    const spread = spreadOf(`${target.instanceId} ${index}`);
    let holds = 0;
    for (let attempts = 0; ; attempts += 1) {
      const before = results[index] ?? UNTRIED;
      await clock.sleep(nextCheckDelayMs(before, instance, { attempts, spread, nowMs: clock.nowMs() }), signal);
      if (signal.aborted) return;
      const limiter = check.kind === "command" ? this.#commands : this.#probes;
      const startedMs = clock.monotonicMs();
      const tried = await limiter.run(() => (signal.aborted ? Promise.resolve(IGNORED) : this.#probe(target, check)));
      // The container may have ended meanwhile: its last failure is no news.
      if (signal.aborted) return;
      const held = tried.kind === "failed" && holds < HOLDS_MAX && local.stalledSince(startedMs);
      holds = held ? holds + 1 : 0;
      const outcome = held ? IGNORED : tried;
      const after = applyCheckResult(before, outcome, instance);
      results[index] = after;
      if (isTransition(before, after)) this.#publish(target, results);
    }
  }

  #publish({ instanceId, containerId, spec }: Target, results: readonly CheckResult[]): void {
    const checks = [...results];
    const summary = summarizeHealth(
      spec.healthChecks.map((timing, index) => ({ timing, result: checks[index] ?? UNTRIED })),
    );
    this.#options.state.setHealth(instanceId, { instanceId, containerId, checks, ...summary });
  }

  async #probe(target: Target, check: HealthCheck): Promise<CheckOutcome> {
    const { prober, clock, local } = this.#options;
    const timeoutMs = local.stretch(check.timeoutMs);
    if (check.kind === "command") return this.#command(target, check);
    const port = check.port ?? target.spec.ports[check.portIndex ?? 0]?.containerPort;
    if (port === undefined)
      return { kind: "failed", atMs: clock.nowMs(), cause: "the app declares no port of that index" };
    if (check.kind === "tcp") {
      return this.#judge(await prober.tcp(target.address, port, timeoutMs), (_, atMs) => ({
        kind: "passed",
        atMs,
      }));
    }
    const tls = check.kind === "https";
    const result = await prober.http({
      address: target.address,
      port,
      path: check.path,
      tls,
      timeoutMs,
    });
    return this.#judge(result, (status, atMs) => judgeHttpStatus(status, check.ignoreHttp1xx, atMs));
  }

  #judge<Answer>(result: ProbeResult<Answer>, judge: (answer: Answer, atMs: number) => CheckOutcome): CheckOutcome {
    const atMs = this.#options.clock.nowMs();
    return result.ok ? judge(result.answer, atMs) : { kind: "failed", atMs, cause: result.cause };
  }

  async #command(target: Target, check: HealthCheck & { kind: "command" }): Promise<CheckOutcome> {
    const { engine, clock, local } = this.#options;
    const deadline = new AbortController();
    try {
      const session = await engine.exec(
        target.containerId,
        { argv: check.argv, tty: false, stdin: false },
        () => undefined,
      );
      const expired = clock.sleep(local.stretch(check.timeoutMs), deadline.signal).then(() => "expired" as const);
      const code = await Promise.race([session.done, expired]);
      if (code === "expired") {
        session.close();
        return {
          kind: "failed",
          atMs: clock.nowMs(),
          cause: `the command did not end within ${check.timeoutMs / 1000} s`,
        };
      }
      if (code === 0) return { kind: "passed", atMs: clock.nowMs() };
      return { kind: "failed", atMs: clock.nowMs(), cause: `the command ended with exit code ${code}` };
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      // That the engine is away says nothing about the instance.
      if (error.code === "unavailable") return IGNORED;
      return { kind: "failed", atMs: clock.nowMs(), cause: error.message };
    } finally {
      deadline.abort();
    }
  }
}

const IGNORED: CheckOutcome = { kind: "ignored" };

function listTargets(state: AgentState): readonly Target[] {
  const targets: Target[] = [];
  for (const [instanceId, report] of state.reports) {
    const spec = state.assignments.get(instanceId)?.spec;
    if (report.phase !== "running" || spec === undefined || spec.healthChecks.length === 0) continue;
    const { containerId, address, startedAtMs } = report;
    targets.push({ instanceId, containerId, address, startedAtMs, spec });
  }
  return targets;
}

/** A number from 0 to 1 that is the same for the same text and spread evenly over different ones (FNV-1a). */
function spreadOf(text: string): number {
  let hash = 0x811c9dc5;
  for (const character of text) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193) >>> 0;
  return hash / 2 ** 32;
}
