import { expect, test } from "bun:test";
import { fakeRequest } from "../../sim/fake-request.ts";
import { VirtualClock } from "../../sim/virtual-clock.ts";
import { limitRate } from "./limit-rate.ts";

test("beyond the rate reads are 429 and writes 503, and time gives room again", async () => {
  const clock = new VirtualClock();
  const limits = { readsPerSecond: 10, writesPerSecond: 0.5 };
  const handle = limitRate(() => Promise.resolve({ status: 200, headers: {}, body: "" }), limits, clock);
  const ask = async (method: string, count: number): Promise<readonly number[]> => {
    const statuses = [];
    for (let n = 0; n < count; n += 1) {
      const answer = await handle(fakeRequest(method, "/v1/kv/a"));
      statuses.push("status" in answer ? answer.status : 0);
    }
    return statuses;
  };
  expect(await ask("GET", 12)).toEqual([...Array<number>(10).fill(200), 429, 429]);
  expect(await ask("PUT", 2)).toEqual([200, 503]);
  await clock.advance(500);
  expect(await ask("GET", 6)).toEqual([...Array<number>(5).fill(200), 429]);
  expect(await ask("DELETE", 1)).toEqual([503]);
  await clock.advance(1500);
  expect(await ask("DELETE", 2)).toEqual([200, 503]);
  await clock.advance(3_600_000);
  expect((await ask("GET", 12)).filter((status) => status === 200)).toHaveLength(10);
  expect(await handle(fakeRequest("GET", "/v1/kv/a"))).toMatchObject({
    status: 429,
    body: "rate limit exceeded, try again later or against a different server",
  });
});

test("no rate is no limit", async () => {
  const limits = { readsPerSecond: Infinity, writesPerSecond: Infinity };
  const answered = Promise.resolve({ status: 200, headers: {}, body: "" });
  const handle = limitRate(() => answered, limits, new VirtualClock());
  for (let n = 0; n < 2000; n += 1) expect(handle(fakeRequest("PUT", "/v1/kv/a"))).toBe(answered);
});
