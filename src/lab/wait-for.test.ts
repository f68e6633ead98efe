import { expect, test } from "bun:test";
import { AppError, describeError } from "../model/error.ts";
import { waitFor } from "./wait-for.ts";

function failureOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(() => "no failure", describeError);
}

test("waitFor() returns the first value that is neither null nor false", async () => {
  const answers: (number | false | null)[] = [null, false, 0];
  const value = await waitFor<number>(() => Promise.resolve(answers.shift() ?? 0), {
    what: "a number",
    timeoutMs: 5000,
    intervalMs: 1,
  });
  expect(value).toBe(0);
});

test("waitFor() names what it waited for, and why it was not there", async () => {
  const probe = (): Promise<null> => Promise.reject(new AppError("unavailable", "the shop is closed"));
  const wait = waitFor(probe, { what: "bread", timeoutMs: 5, intervalMs: 1 });
  expect(await failureOf(wait)).toBe("Cannot wait longer for bread: not there after 5 ms: the shop is closed");
});

test("waitFor() ends at once when interrupted, and lets a programmer's error through", async () => {
  const options = { what: "nothing", timeoutMs: 60_000, intervalMs: 60_000 };
  const never = (): Promise<null> => Promise.resolve(null);
  expect(await failureOf(waitFor(never, { ...options, signal: AbortSignal.abort() }))).toContain("interrupted");
  expect(await failureOf(waitFor(() => Promise.reject(new TypeError("bug")), options))).toBe("bug");
});
