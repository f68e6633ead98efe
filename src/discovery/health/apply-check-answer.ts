/**
 * What a check says after one more answer, by Consul's rules: so many good answers in a row before it is passing, so many bad
 * ones before it is a warning or critical. The very first answer counts at once.
 */
import type { CheckStatus } from "../../model/host-check.ts";

export interface CheckThresholds {
  readonly successBeforePassing: number;
  /** Of bad answers; from as many on as `failuresBeforeCritical` it is critical. */
  readonly failuresBeforeWarning: number;
  readonly failuresBeforeCritical: number;
}

export interface CheckCount {
  readonly status: CheckStatus;
  /** Good answers in a row. */
  readonly successes: number;
  /** Bad answers in a row. */
  readonly failures: number;
  readonly tried: boolean;
}

export function untried(status: CheckStatus): CheckCount {
  return { status, successes: 0, failures: 0, tried: false };
}

export function applyCheckAnswer(before: CheckCount, answer: CheckStatus, thresholds: CheckThresholds): CheckCount {
  if (answer !== "critical") {
    const successes = before.successes + 1;
    const counts = !before.tried || successes >= thresholds.successBeforePassing;
    return { status: counts ? answer : before.status, successes, failures: 0, tried: true };
  }
  const failures = before.failures + 1;
  return { status: statusOfFailures(before, failures, thresholds), successes: 0, failures, tried: true };
}

function statusOfFailures(before: CheckCount, failures: number, thresholds: CheckThresholds): CheckStatus {
  if (!before.tried || failures >= thresholds.failuresBeforeCritical) return "critical";
  if (failures < thresholds.failuresBeforeWarning) return before.status;
  // Fewer failures than would make it critical do not make a critical one better.
  return before.status === "critical" ? "critical" : "warning";
}
