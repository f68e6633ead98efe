import { expect, test } from "bun:test";
import { trackedAbort } from "./tracked-abort.ts";
import { VirtualClock } from "./virtual-clock.ts";

test("VirtualClock fires timers in the order of their time, then of their making", async () => {
  const clock = new VirtualClock();
  const seen: string[] = [];
  clock.after(20, () => seen.push("c"));
  clock.after(10, () => seen.push("a"));
  clock.after(20, () => seen.push("d"));
  clock.after(10, () => {
    seen.push("b");
    clock.after(0, () => seen.push("b2"));
  });
  const cancel = clock.after(15, () => seen.push("never"));
  cancel();
  cancel();
  expect(clock.pending).toBe(4);
  await clock.advance(20);
  expect(seen).toEqual(["a", "b", "b2", "c", "d"]);
  expect(clock.monotonicMs()).toBe(20);
  expect(clock.pending).toBe(0);
});

test("VirtualClock runs everything that a timer freed before the next one", async () => {
  const clock = new VirtualClock();
  const seen: string[] = [];
  const walk = async (name: string): Promise<void> => {
    await clock.sleep(10);
    for (let at = 0; at < 20; at += 1) await Promise.resolve();
    seen.push(`${name} at ${clock.monotonicMs()}`);
    await clock.sleep(5);
    seen.push(`${name} at ${clock.monotonicMs()}`);
  };
  const both = Promise.all([walk("a"), walk("b")]);
  await clock.settle(both);
  expect(seen).toEqual(["a at 10", "b at 10", "a at 15", "b at 15"]);
});

test("VirtualClock.advance() stops at its end, between timers too", async () => {
  const clock = new VirtualClock();
  let fired = false;
  clock.after(100, () => {
    fired = true;
  });
  await clock.advance(99);
  expect([fired, clock.monotonicMs()]).toEqual([false, 99]);
  await clock.advance(1);
  expect(fired).toBe(true);
});

test("VirtualClock.sleep() ends by its signal and leaves nothing behind", async () => {
  const clock = new VirtualClock();
  const abort = trackedAbort();
  await clock.settle(clock.sleep(10, abort.signal));
  expect([abort.listeners(), clock.listeners, clock.pending]).toEqual([0, 0, 0]);
  const sleep = clock.sleep(1_000_000, abort.signal);
  expect([abort.listeners(), clock.listeners, clock.pending]).toEqual([1, 1, 1]);
  abort.abort();
  await clock.settle(sleep);
  expect([abort.listeners(), clock.listeners, clock.pending, clock.monotonicMs()]).toEqual([0, 0, 0, 10]);
  await clock.settle(clock.sleep(1000, abort.signal));
  expect(clock.monotonicMs()).toBe(10);
});

test("VirtualClock.settle() gives the result or the error, and says when nothing can bring it about", async () => {
  const clock = new VirtualClock();
  expect(await clock.settle(clock.sleep(5).then(() => "done"))).toBe("done");
  const failing = clock.sleep(5).then(() => Promise.reject(new Error("no")));
  expect(await clock.settle(failing).catch(String)).toBe("Error: no");
  const never = clock.settle(new Promise(() => {}));
  expect(await never.catch(String)).toContain("no timer");
});

test("VirtualClock.shiftWall() moves the wall clock and no duration", () => {
  const clock = new VirtualClock();
  const before = clock.nowMs();
  clock.shiftWall(-3_600_000);
  expect([clock.nowMs() - before, clock.monotonicMs()]).toEqual([-3_600_000, 0]);
});
