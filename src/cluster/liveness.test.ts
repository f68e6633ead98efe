import { expect, test } from "bun:test";
import type { HostId } from "../model/ids.ts";
import { DOWN_AFTER_TICKS, JOIN_GRACE_TICKS, LIVENESS_TICK_MS, Liveness } from "./liveness.ts";

const [h1, h2] = ["h1" as HostId, "h2" as HostId];

function watched(...ids: HostId[]): Liveness {
  const liveness = new Liveness();
  for (const id of ids) liveness.add(id, 0);
  return liveness;
}

test("Liveness has hosts joining until they are heard, and down only after the grace", () => {
  const liveness = watched(h2, h1);
  expect(liveness.presenceOf(h1)).toEqual({ phase: "joining" });
  expect(liveness.heard(h2, 5)).toEqual({ id: h2, presence: { phase: "up" } });
  expect(liveness.heard(h2, 6)).toBeNull();
  for (let tick = 1; tick < JOIN_GRACE_TICKS; tick += 1) {
    liveness.heard(h2, tick);
    expect(liveness.tick(tick)).toEqual([]);
  }
  liveness.heard(h2, 19);
  expect(liveness.tick(20)).toEqual([{ id: h1, presence: { phase: "down", sinceMs: 20 } }]);
  expect(liveness.presenceOf(h2)).toEqual({ phase: "up" });
});

test("Liveness has a host down that says it goes, until it is heard again", () => {
  const liveness = watched(h1);
  liveness.heard(h1, 5);
  expect(liveness.gone(h1, 7)).toEqual({ id: h1, presence: { phase: "down", sinceMs: 7 } });
  expect([liveness.gone(h1, 8), liveness.gone(h2, 8), liveness.tick(9)]).toEqual([null, null, []]);
  expect(liveness.heard(h1, 10)).toEqual({ id: h1, presence: { phase: "up" } });
});

test("Liveness takes a host down within 3 s of its last heartbeat, and not before two were missed", () => {
  for (const lastMs of [0, 1, 250, 499]) {
    const liveness = watched(h1);
    liveness.heard(h1, lastMs);
    let downMs = 0;
    for (let nowMs = LIVENESS_TICK_MS; downMs === 0; nowMs += LIVENESS_TICK_MS) {
      if (liveness.tick(nowMs).length > 0) downMs = nowMs;
    }
    expect(downMs - lastMs).toBeGreaterThan(2000);
    expect(downMs - lastMs).toBeLessThanOrEqual(3000);
  }
});

test("Liveness counts a late tick of the server once", () => {
  const liveness = watched(h1, h2);
  liveness.heard(h1, 0);
  expect(liveness.tick(500)).toEqual([]);
  expect(liveness.tick(60_000)).toEqual([]);
  liveness.heard(h1, 60_001);
  expect(liveness.presenceOf(h1)).toEqual({ phase: "up" });
});

test("Liveness does not add up single misses over a long time", () => {
  const liveness = watched(h1);
  for (let tick = 0; tick < 100; tick += 1) {
    if (tick % (DOWN_AFTER_TICKS - 1) === 0) liveness.heard(h1, tick);
    expect(liveness.tick(tick)).toEqual([]);
  }
});

test("Liveness tells a host's fall once and its return at once", () => {
  const liveness = watched(h1);
  liveness.heard(h1, 0);
  const falls = Array.from({ length: 4 * DOWN_AFTER_TICKS }, (_, at) => liveness.tick(at)).flat();
  expect(falls.length).toBe(1);
  expect(liveness.heard(h1, 99)).toEqual({ id: h1, presence: { phase: "up" } });
  expect(liveness.lastHeardMs(h1)).toBe(99);
});

test("Liveness gives sorted changes and ignores hosts that are no members", () => {
  const liveness = watched(h2, h1);
  liveness.heard(h1, 0);
  liveness.heard(h2, 0);
  let changes: readonly { readonly id: HostId }[] = [];
  for (let tick = 0; changes.length === 0; tick += 1) changes = liveness.tick(tick);
  expect(changes.map(({ id }) => id)).toEqual([h1, h2]);
  liveness.remove(h1);
  expect(liveness.heard(h1, 1)).toBeNull();
  expect(liveness.presenceOf(h1)).toEqual({ phase: "joining" });
});
