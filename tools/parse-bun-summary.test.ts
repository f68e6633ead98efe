import { expect, test } from "bun:test";
import { parseBunFailures, parseBunSummary } from "./parse-bun-summary.mjs";

test("parseBunSummary() adds failures and errors, and leaves skipped tests out", () => {
  const output =
    "\n(fail) b\n\n 12 pass\n 2 skip\n 1 fail\n 1 error\n 20 expect() calls\nRan 15 tests across 2 files. [5ms]\n";
  expect(parseBunSummary(output)).toEqual({ passed: 12, failed: 2, complete: true });
});

test("parseBunSummary() reads through colours", () => {
  const output =
    "\n\u001b[32m 3 pass\u001b[0m\n\u001b[2m 0 fail\u001b[0m\nRan 3 tests across 1 file. [\u001b[1m5ms\u001b[0m]";
  expect(parseBunSummary(output)).toEqual({ passed: 3, failed: 0, complete: true });
});

test("parseBunSummary() says when a run ended without a summary", () => {
  expect(parseBunSummary(" 3 pass\nSegmentation fault\n")).toEqual({ passed: 0, failed: 0, complete: false });
  expect(parseBunSummary("")).toEqual({ passed: 0, failed: 0, complete: false });
});

test("parseBunSummary() is not taken in by what a test prints", () => {
  const noise = `Ran 9 tests\n 99 pass\n${"x\n".repeat(20)}`;
  expect(
    parseBunSummary(`${noise}\n 1 pass\n 0 fail\n 1 expect() calls\nRan 1 test across 1 file. [1ms]\n`).passed,
  ).toBe(1);
});

test("parseBunFailures() names file, test and first error of each failure", () => {
  const output = [
    "src/a.test.ts:",
    "error: of a test that passed",
    "(pass) one [1.00ms]",
    "error: Waited 20 s for a refusal",
    "error: and then some",
    "\u001b[31m(fail)\u001b[0m two > of them [20325.18ms]",
    "",
    "src/b.test.ts:",
    "(fail) too long [60000.00ms]",
    "  ^ this test timed out after 60000ms.",
    "",
    "2 tests failed:",
    "(fail) two > of them [20325.18ms]",
  ].join("\n");
  expect(parseBunFailures(output)).toEqual([
    { file: "src/a.test.ts", test: "two > of them", error: "Waited 20 s for a refusal" },
    { file: "src/b.test.ts", test: "too long", error: "" },
  ]);
});
