import type { InstanceStatus } from "../model/instance.ts";
import { describeExit } from "./describe-exit.ts";

/** For an end that another agent saw: the rest of the story follows in a moment. */
export function endedStatus(exitCode: number | null, atMs: number): InstanceStatus {
  return { phase: "failed", reason: describeExit({ exitCode, oomKilled: false, output: "" }), exitCode, atMs };
}

/** Equal but for the time since when it is so: waiting goes on, it does not begin anew with each pass. */
export function sameStatus(a: InstanceStatus, b: InstanceStatus): boolean {
  if (a.phase !== b.phase) return false;
  if (a.phase === "running" && b.phase === "running") {
    const sameChecks = a.checks === b.checks || (a.checks.length === 0 && b.checks.length === 0);
    return sameChecks && JSON.stringify({ ...a, checks: null }) === JSON.stringify({ ...b, checks: null });
  }
  if (a.phase === "staging" && b.phase === "staging") return a.step === b.step;
  if (a.phase === "failed" && b.phase === "failed") return a.reason === b.reason && a.atMs === b.atMs;
  return true;
}
