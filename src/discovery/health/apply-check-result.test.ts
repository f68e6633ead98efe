import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { HealthCheckTiming } from "../../model/app.ts";
import type { CheckResult } from "../../model/instance.ts";
import { applyCheckResult, isTransition, nextCheckDelayMs, summarizeHealth, UNTRIED } from "./apply-check-result.ts";
import type { CheckOutcome } from "./apply-check-result.ts";
import { judgeHttpStatus } from "./judge-http-status.ts";

const timing: HealthCheckTiming = {
  gracePeriodMs: 10_000,
  intervalMs: 5000,
  timeoutMs: 1000,
  maxConsecutiveFailures: 3,
};
const instance = { startedAtMs: 0, timing };
const pass = (atMs: number): CheckOutcome => ({ kind: "passed", atMs });
const fail = (atMs: number): CheckOutcome => ({ kind: "failed", atMs, cause: "refused" });

function apply(outcomes: readonly CheckOutcome[], change: Partial<HealthCheckTiming> = {}): CheckResult {
  const changed = { startedAtMs: 0, timing: { ...timing, ...change } };
  return outcomes.reduce((result, outcome) => applyCheckResult(result, outcome, changed), UNTRIED);
}

function health(outcomes: readonly CheckOutcome[], change: Partial<HealthCheckTiming> = {}): string {
  const summary = summarizeHealth([{ result: apply(outcomes, change), timing: { ...timing, ...change } }]);
  return `${summary.health}${summary.condemned ? " condemned" : ""}`;
}

describe("health rules", () => {
  const table: readonly [string, readonly CheckOutcome[], string, Partial<HealthCheckTiming>?][] = [
    ["nothing tried", [], "unknown"],
    ["failures in the grace period do not count", [fail(1), fail(2), fail(3), fail(9999)], "unknown"],
    ["the first success ends the grace period", [fail(1), pass(2), fail(3)], "unhealthy"],
    ["after the grace period failures count", [fail(10_000)], "unhealthy"],
    ["as many failures as declared condemn", [pass(1), fail(2), fail(3), fail(4)], "unhealthy condemned"],
    ["a success starts the count anew", [pass(1), fail(2), fail(3), pass(4), fail(5)], "unhealthy"],
    ["and heals", [pass(1), fail(2), pass(3)], "healthy"],
    ["zero never condemns", [pass(1), fail(2), fail(3), fail(4), fail(5)], "unhealthy", { maxConsecutiveFailures: 0 }],
    ["no grace", [fail(1)], "unhealthy condemned", { gracePeriodMs: 0, maxConsecutiveFailures: 1 }],
    ["an ignored answer changes nothing", [pass(1), { kind: "ignored" }], "healthy"],
  ];
  for (const [name, outcomes, expected, change] of table) {
    test(name, () => expect(health(outcomes, change)).toBe(expected));
  }

  test("the worst check counts, and no check is no health", () => {
    const good = { result: apply([pass(1)]), timing };
    const bad = { result: apply([pass(1), fail(2)]), timing };
    const open = { result: UNTRIED, timing };
    expect(summarizeHealth([]).health).toBe("none");
    expect(summarizeHealth([good, open]).health).toBe("unknown");
    expect(summarizeHealth([good, open, bad]).health).toBe("unhealthy");
    expect(summarizeHealth([good, good]).health).toBe("healthy");
  });

  test("the cause of a failure in the grace period is kept for people", () => {
    expect(apply([fail(7)])).toMatchObject({ lastFailureMs: 7, lastFailureCause: "refused", consecutiveFailures: 0 });
  });

  test("isTransition() is true for what changes, not for one more success", () => {
    const once = apply([pass(1)]);
    expect(isTransition(UNTRIED, once)).toBe(true);
    expect(isTransition(once, apply([pass(1), pass(2)]))).toBe(false);
    expect(isTransition(once, apply([pass(1), fail(2)]))).toBe(true);
  });

  test("property: never condemned before that many failures in a row, never healthy while the last outcome failed", () => {
    const outcome = fc.record({ pass: fc.boolean(), gapMs: fc.integer({ min: 1, max: 4000 }) });
    fc.assert(
      fc.property(fc.array(outcome, { maxLength: 30 }), (steps) => {
        let atMs = 0;
        const outcomes = steps.map((step) => {
          atMs += step.gapMs;
          return step.pass ? pass(atMs) : fail(atMs);
        });
        const text = health(outcomes);
        const trailing = outcomes.length - 1 - outcomes.findLastIndex(({ kind }) => kind === "passed");
        if (text.endsWith("condemned")) expect(trailing).toBeGreaterThanOrEqual(3);
        if (outcomes.at(-1)?.kind === "failed") expect(text).not.toBe("healthy");
        if (outcomes.at(-1)?.kind === "passed") expect(text).toBe("healthy");
      }),
    );
  });
});

describe("nextCheckDelayMs()", () => {
  const at = (attempts: number, nowMs = 0): number =>
    nextCheckDelayMs(UNTRIED, instance, { attempts, spread: 0.5, nowMs });

  test("probes a new instance at once, then at growing distances of a second at most", () => {
    expect([0, 1, 2, 3].map((attempts) => at(attempts))).toEqual([0, 100, 150, 225]);
    expect(at(50)).toBe(1000);
    expect(
      nextCheckDelayMs(
        UNTRIED,
        { ...instance, timing: { ...timing, intervalMs: 300 } },
        { attempts: 50, spread: 0, nowMs: 0 },
      ),
    ).toBe(300);
  });

  test("goes to the interval with the first success, and when the grace period is over", () => {
    const result = apply([pass(1)]);
    expect(nextCheckDelayMs(result, instance, { attempts: 5, spread: 1, nowMs: 1 })).toBe(4500);
    expect(nextCheckDelayMs(result, instance, { attempts: 5, spread: 0, nowMs: 1 })).toBe(5000);
    expect(at(3, 10_000)).toBe(4750);
  });

  test("without a grace period leaves the process a second to open its port", () => {
    expect(
      nextCheckDelayMs(
        UNTRIED,
        { startedAtMs: 0, timing: { ...timing, gracePeriodMs: 0 } },
        { attempts: 0, spread: 0, nowMs: 0 },
      ),
    ).toBe(1000);
  });

  test("spreads the checks of a restarted agent over a second", () => {
    expect(nextCheckDelayMs(apply([pass(1)]), instance, { attempts: 0, spread: 0.25, nowMs: 1 })).toBe(250);
  });
});

test("judgeHttpStatus() follows Marathon", () => {
  const kinds = [199, 200, 302, 399, 400, 503].map((status) => judgeHttpStatus(status, false, 0).kind);
  expect(kinds).toEqual(["failed", "passed", "passed", "passed", "failed", "failed"]);
  expect(judgeHttpStatus(102, true, 0).kind).toBe("ignored");
  expect(judgeHttpStatus(500, true, 0).kind).toBe("failed");
});
