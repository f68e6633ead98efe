import { expect, test } from "bun:test";
import { DRAIN_HOLD_MS, DrainHold } from "./drain-hold.ts";

test("DrainHold.served() is the planned revision when nothing is busy", () => {
  const hold = new DrainHold();
  hold.note([], 7, 0);
  expect(hold.served(7, 0)).toBe(7);
  expect(hold.holds(0)).toBe(false);
});

test("DrainHold.served() stays below the revision that took out a busy server, until it is idle", () => {
  const hold = new DrainHold();
  hold.note(["b/s"], 7, 0);
  hold.note(["b/s"], 9, 100);
  expect(hold.served(9, 100)).toBe(6);
  expect(hold.holds(100)).toBe(true);
  hold.note([], 9, 200);
  expect(hold.served(9, 200)).toBe(9);
});

test("DrainHold.served() gives up on a server after its time, counted for each by itself", () => {
  const hold = new DrainHold();
  hold.note(["b/s"], 7, 0);
  hold.note(["b/s", "b/t"], 8, DRAIN_HOLD_MS - 1);
  expect(hold.served(8, DRAIN_HOLD_MS)).toBe(7);
  expect(hold.served(8, 2 * DRAIN_HOLD_MS)).toBe(8);
});
