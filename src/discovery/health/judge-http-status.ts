import type { CheckOutcome } from "./apply-check-result.ts";

/** Marathon's rule: 200 to 399 is healthy; 1xx says nothing where the check asks for that, else it is a failure. */
export function judgeHttpStatus(status: number, ignoreHttp1xx: boolean, atMs: number): CheckOutcome {
  if (status >= 200 && status < 400) return { kind: "passed", atMs };
  if (ignoreHttp1xx && status >= 100 && status < 200) return { kind: "ignored" };
  return { kind: "failed", atMs, cause: `HTTP status ${status}, wanted 200 to 399` };
}
