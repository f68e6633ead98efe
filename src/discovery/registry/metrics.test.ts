import { expect, test } from "bun:test";
import { VirtualClock } from "../../sim/virtual-clock.ts";
import { Metrics } from "./metrics.ts";

test("an interval is shown once it is whole; totals go on", async () => {
  const clock = new VirtualClock();
  const metrics = new Metrics(clock);
  for (const value of [1, 2, 6]) metrics.sample("time", value, { path: "a" });
  metrics.count("asked");
  const first = { name: "time", labels: { path: "a" }, count: 3, sum: 9, min: 1, max: 6, rate: 0.9 };
  expect(metrics.interval("sample").series).toMatchObject([first]);
  expect(metrics.interval("sample").series[0]?.stddev).toBeCloseTo(2.6458, 4);
  await clock.advance(10_000);
  metrics.sample("time", 5, { path: "a" });
  expect(metrics.interval("sample").series).toMatchObject([first]);
  expect(metrics.interval("counter").series).toMatchObject([{ name: "asked", count: 1, stddev: 0 }]);
  expect(metrics.totals("sample")).toMatchObject([{ count: 4, sum: 14, latest: [1, 2, 5, 6] }]);
  await clock.advance(10_000);
  expect(metrics.interval("sample").series).toMatchObject([{ count: 1, sum: 5 }]);
  await clock.advance(30_000);
  expect(metrics.interval("sample").series).toEqual([]);
  expect(metrics.totals("counter")).toMatchObject([{ name: "asked", count: 1 }]);
});

test("series that clients make up do not fill the memory, nor do values", () => {
  const metrics = new Metrics(new VirtualClock());
  for (let n = 0; n < 5000; n += 1) metrics.count("query", { service: `s${n}` });
  expect(metrics.totals("counter")).toHaveLength(2000);
  const own = new Metrics(new VirtualClock());
  for (let n = 0; n < 5000; n += 1) own.sample("time", n);
  const [total] = own.totals("sample");
  expect([total?.count, total?.latest.length, total?.latest[0]]).toEqual([5000, 256, 4744]);
});
