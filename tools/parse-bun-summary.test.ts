import { expect, test } from "bun:test";
import { parseBunSummary } from "./parse-bun-summary.mjs";

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
