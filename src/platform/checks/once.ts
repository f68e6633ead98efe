import { describeError } from "../../model/error.ts";
import type { CheckAnswer, CheckRunLimits } from "../ports/check-runner.ts";

/** What an attempt may do: answer once, and have something done whichever way it ends. */
export interface Attempt {
  answer(answer: CheckAnswer): void;
  fail(what: string, error: unknown): void;
  onEnd(release: () => void): void;
}

/**
 * Runs one attempt to its first answer, its time-out or its abort, whichever is first; then everything it opened is released.
 * `what` begins the output, as in "TCP connect 10.0.0.1:80".
 */
export function once(
  what: string,
  { timeoutMs, signal }: CheckRunLimits,
  begin: (attempt: Attempt) => void,
): Promise<CheckAnswer> {
  const { promise, resolve } = Promise.withResolvers<CheckAnswer>();
  const releases: (() => void)[] = [];
  let ended = false;
  const end = (answer: CheckAnswer): void => {
    if (ended) return;
    ended = true;
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
    resolve(answer);
    for (const release of releases) release();
  };
  const bad = (why: string): void => end({ status: "critical", output: `${what}: ${why}` });
  const timer = setTimeout(() => bad(`no answer within ${Math.round(timeoutMs) / 1000} s`), timeoutMs);
  const onAbort = (): void => bad("given up");
  signal.addEventListener("abort", onAbort);
  const attempt: Attempt = {
    answer: end,
    fail: (step, error) => bad(step === "" ? explain(error) : `${step}: ${explain(error)}`),
    onEnd: (release) => {
      if (ended) release();
      else releases.push(release);
    },
  };
  if (signal.aborted) onAbort();
  else begin(attempt);
  return promise;
}

const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset",
  EHOSTUNREACH: "no route to host",
  ENETUNREACH: "network is unreachable",
  ENOTFOUND: "no such host",
  ETIMEDOUT: "connection timed out",
};

function explain(error: unknown): string {
  const code = typeof error === "object" && error !== null && "code" in error ? String(error.code) : "";
  return WORDS[code] ?? describeError(error);
}
