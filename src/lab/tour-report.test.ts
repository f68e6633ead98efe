import { expect, test } from "bun:test";
import { AppError } from "../model/error.ts";
import { parseLoad } from "./load-client.ts";
import { TourEnded, TourReport } from "./tour-report.ts";

test("TourReport prints a line for each check and counts", async () => {
  const lines: string[] = [];
  const report = new TourReport((line) => lines.push(line));
  expect(await report.check("good", () => Promise.resolve("3 ms"))).toBe(true);
  expect(await report.check("bad", () => Promise.reject(new AppError("unavailable", "it is\nbroken")))).toBe(false);
  expect(lines.map((line) => line.replaceAll(/ +/g, " "))).toEqual(["ok good 3 ms", "FAIL bad it is | broken"]);
  expect([report.passed, report.failed]).toEqual([1, 1]);
});

test("TourReport.require() ends the tour when its check fails", async () => {
  const report = new TourReport(() => undefined);
  const ended = await report.require("needed", () => Promise.reject(new Error("no"))).catch((error: unknown) => error);
  expect(ended).toBeInstanceOf(TourEnded);
  expect(report.failed).toBe(1);
});

test("parseLoad() counts everything but 200 as a failure", () => {
  const stderr = "200 0.010 \n503 0.020 \n000 5.000 Operation timed out\n200 0.0";
  const { requests, failures, slowestMs, bodies } = parseLoad('{"a":1}\nbusy\n', stderr);
  expect(requests).toBe(3);
  expect(failures).toEqual(["503 0.020 ", "000 5.000 Operation timed out"]);
  expect(slowestMs).toBe(5000);
  expect(bodies).toEqual(['{"a":1}', "busy"]);
});
