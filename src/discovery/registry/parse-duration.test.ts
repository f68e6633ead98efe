import { expect, test } from "bun:test";
import fc from "fast-check";
import { formatDuration, parseDuration } from "./parse-duration.ts";

test.each<[string, number | null]>([
  ["10s", 10_000],
  ["1m30s", 90_000],
  ["250ms", 250],
  ["1.5h", 5_400_000],
  ["-1s", -1000],
  ["0", 0],
  ["15000000ns", 15],
  ["", null],
  ["10", null],
  ["s", null],
  ["1s x", null],
  ["1d", null],
])("parseDuration(%s)", (text, ms) => {
  expect(parseDuration(text)).toBe(ms);
});

test("formatDuration() prints as Go does", () => {
  expect([0, 250, 1000, 90_000, 3_600_000, 0.5].map(formatDuration)).toEqual([
    "0s",
    "250ms",
    "1s",
    "1m30s",
    "1h0m0s",
    "500µs",
  ]);
});

test("property: what is printed is read again, and any text is a duration or none", () => {
  fc.assert(fc.property(fc.nat(10 ** 9), (ms) => expect(parseDuration(formatDuration(ms))).toBe(ms)));
  fc.assert(fc.property(fc.string(), (text) => expect(["number", "object"]).toContain(typeof parseDuration(text))));
});
