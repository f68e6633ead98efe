import { expect, test } from "bun:test";
import { AppError } from "../model/error.ts";
import type { HostId } from "../model/ids.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import { reapMembers } from "./reap-members.ts";

const HOUR_MS = 3_600_000;
const nothing = (): void => undefined;

test("who is down for 72 hours is removed, who came back in between is not, and a failure is tried again", async () => {
  const clock = new VirtualClock();
  const hosts = new Map(["dead", "back", "stuck"].map((name) => [name as HostId, { id: name as HostId, name }]));
  const down = new Set<HostId>(hosts.keys());
  const tried: string[] = [];
  const stop = new AbortController();
  const running = reapMembers(
    {
      afterMs: 72 * HOUR_MS,
      hosts: () => hosts.values(),
      isDown: (id) => down.has(id),
      remove: async (name) => {
        tried.push(name);
        if (name === "stuck" && tried.length < 3) throw new AppError("unavailable", "the store is away");
        hosts.delete(name as HostId);
        await Promise.resolve();
      },
      clock,
      log: { debug: nothing, info: nothing, warn: nothing, error: nothing },
    },
    stop.signal,
  );
  await clock.advance(71 * HOUR_MS);
  expect(tried).toEqual([]);
  down.delete("back" as HostId);
  await clock.advance(HOUR_MS / 2);
  down.add("back" as HostId);
  await clock.advance(HOUR_MS);
  expect([...hosts.keys()]).toEqual(["back" as HostId]);
  expect(tried).toEqual(["dead", "stuck", "stuck"]);
  await clock.advance(70 * HOUR_MS);
  expect(hosts.size).toBe(1);
  await clock.advance(2 * HOUR_MS);
  expect(hosts.size).toBe(0);
  stop.abort();
  await running;
});

test("a wall clock that is set forward by a week removes nobody", async () => {
  const clock = new VirtualClock();
  const stop = new AbortController();
  const removed: string[] = [];
  const running = reapMembers(
    {
      afterMs: 72 * HOUR_MS,
      hosts: () => [{ id: "h" as HostId, name: "h" }],
      isDown: () => true,
      remove: (name) => Promise.resolve(void removed.push(name)),
      clock,
      log: { debug: nothing, info: nothing, warn: nothing, error: nothing },
    },
    stop.signal,
  );
  await clock.advance(HOUR_MS);
  clock.shiftWall(7 * 24 * HOUR_MS);
  await clock.advance(HOUR_MS);
  expect(removed).toEqual([]);
  stop.abort();
  await running;
});
