/**
 * Rules of health checks. An instance is first probed often, so that a healthy one is known within a moment of being
 * ready; from its first success on it is probed at its interval. Failures before the first success do not count within
 * the grace period. One failure that counts makes it unhealthy, `maxConsecutiveFailures` of them condemn it.
 */
import type { HealthCheckTiming } from "../../model/app.ts";
import type { CheckResult, InstanceHealth } from "../../model/instance.ts";

/** `ignored`: an answer that says nothing, see `judgeHttpStatus`. */
export type CheckOutcome =
  | { readonly kind: "passed"; readonly atMs: number }
  | { readonly kind: "failed"; readonly atMs: number; readonly cause: string }
  | { readonly kind: "ignored" };

export const UNTRIED: CheckResult = {
  alive: false,
  consecutiveFailures: 0,
  firstSuccessMs: null,
  lastSuccessMs: null,
  lastFailureMs: null,
  lastFailureCause: null,
};

/** First wait between two probes of an instance that was not healthy yet. */
const EAGER_FIRST_MS = 100;
const EAGER_GROWTH = 1.5;
/** A slow starter is probed this often: known within a second of being ready, and no load worth speaking of. */
const EAGER_MAX_MS = 1000;
/** Checks of one app are spread over this share of their interval, so that a host's load has no beat. */
const JITTER = 0.1;

/** What a check knows after one more outcome. */
export function applyCheckResult(
  before: CheckResult,
  outcome: CheckOutcome,
  instance: { readonly startedAtMs: number; readonly timing: HealthCheckTiming },
): CheckResult {
  switch (outcome.kind) {
    case "ignored":
      return before;
    case "passed":
      return {
        ...before,
        alive: true,
        consecutiveFailures: 0,
        firstSuccessMs: before.firstSuccessMs ?? outcome.atMs,
        lastSuccessMs: outcome.atMs,
      };
    case "failed": {
      const failure = { lastFailureMs: outcome.atMs, lastFailureCause: outcome.cause };
      if (isInGrace(before, instance, outcome.atMs)) return { ...before, ...failure };
      return { ...before, ...failure, alive: false, consecutiveFailures: before.consecutiveFailures + 1 };
    }
  }
}

/** What the checks say of the instance: the worst of them counts. */
export function summarizeHealth(
  checks: readonly { readonly result: CheckResult; readonly timing: HealthCheckTiming }[],
): { readonly health: InstanceHealth; readonly condemned: boolean } {
  if (checks.length === 0) return { health: "none", condemned: false };
  const condemned = checks.some(
    ({ result, timing }) =>
      timing.maxConsecutiveFailures > 0 && result.consecutiveFailures >= timing.maxConsecutiveFailures,
  );
  if (checks.some(({ result }) => result.consecutiveFailures > 0)) return { health: "unhealthy", condemned };
  return { health: checks.every(({ result }) => result.alive) ? "healthy" : "unknown", condemned };
}

/**
 * Time until the next probe.
 *
 * @param probe.attempts probes so far in this life of the agent
 * @param probe.spread 0 to 1, the same for the same check each time
 */
export function nextCheckDelayMs(
  result: CheckResult,
  instance: { readonly startedAtMs: number; readonly timing: HealthCheckTiming },
  probe: { readonly attempts: number; readonly spread: number; readonly nowMs: number },
): number {
  const { intervalMs } = instance.timing;
  if (result.firstSuccessMs === null && isInGrace(result, instance, probe.nowMs)) {
    if (probe.attempts === 0) return 0;
    return Math.min(intervalMs, EAGER_MAX_MS, EAGER_FIRST_MS * EAGER_GROWTH ** (probe.attempts - 1));
  }
  // Without a grace period the very first failure counts: the process gets a moment to open its port.
  if (probe.attempts === 0 && result === UNTRIED) return Math.min(intervalMs, EAGER_MAX_MS);
  // After an agent's restart: soon, but not all at once.
  if (probe.attempts === 0) return Math.min(intervalMs, EAGER_MAX_MS) * probe.spread;
  return intervalMs * (1 - JITTER * probe.spread);
}

function isInGrace(
  result: CheckResult,
  instance: { readonly startedAtMs: number; readonly timing: HealthCheckTiming },
  nowMs: number,
): boolean {
  return result.firstSuccessMs === null && nowMs - instance.startedAtMs < instance.timing.gracePeriodMs;
}

/** Whether a result is worth telling: that a check passed once more is not. */
export function isTransition(before: CheckResult, after: CheckResult): boolean {
  return (
    before.alive !== after.alive ||
    before.consecutiveFailures !== after.consecutiveFailures ||
    before.lastFailureCause !== after.lastFailureCause
  );
}
