import { expect, test } from "bun:test";
import { ARRIVE_MS, LEAVE_MS, MapMotion } from "./map-motion.ts";
import { planMapLayout, planMapSlots, type MapLayout } from "./plan-map.ts";

function layout(...ids: string[]): MapLayout {
  const placements = ids.map((id) => ({ id, host: "h1", app: "/a" }));
  return planMapLayout(planMapSlots(new Map(), ["h1"], placements), { width: 600, height: 400 });
}

function presence(motion: MapMotion, nowMs: number): Record<string, number> {
  return Object.fromEntries(motion.cellsAt(nowMs).map((cell) => [cell.id, Math.round(cell.presence * 100) / 100]));
}

test("the first layout appears at once, later arrivals grow", () => {
  const motion = new MapMotion();
  motion.update(layout("a"), 0, false);
  expect(presence(motion, 0)).toEqual({ a: 1 });
  motion.update(layout("a", "b"), 1000, false);
  expect(presence(motion, 1000)).toEqual({ a: 1, b: 0 });
  const half = presence(motion, 1000 + ARRIVE_MS / 2)["b"] ?? 0;
  expect(half).toBeGreaterThan(0.5);
  expect(half).toBeLessThan(1);
  expect(motion.isMoving(1000 + ARRIVE_MS - 1)).toBe(true);
  expect(motion.isMoving(1000 + ARRIVE_MS)).toBe(false);
  expect(presence(motion, 1000 + ARRIVE_MS)).toEqual({ a: 1, b: 1 });
});

test("what leaves fades where it was, then is forgotten", () => {
  const motion = new MapMotion();
  motion.update(layout("a", "b"), 0, false);
  const before = motion.cellsAt(0).find((cell) => cell.id === "b");
  motion.update(layout("a"), 500, false);
  const fading = motion.cellsAt(600).find((cell) => cell.id === "b");
  expect([fading?.x, fading?.y]).toEqual([before?.x, before?.y]);
  expect(fading?.presence).toBeLessThan(1);
  expect(presence(motion, 500 + LEAVE_MS)).toEqual({ a: 1 });
});

test("without motion everything comes and goes at once", () => {
  const motion = new MapMotion();
  motion.update(layout("a"), 0, true);
  motion.update(layout("b"), 10, true);
  expect(presence(motion, 10)).toEqual({ b: 1 });
  expect(motion.isMoving(10)).toBe(false);
});
