import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  BOX_GAP,
  findOnMap,
  planMapLayout,
  planMapSlots,
  slotCapacity,
  stepOnMap,
  type MapPlacement,
} from "./plan-map.ts";

const AREA = { width: 1080, height: 660 };

function placements(hosts: number, perHost: number): MapPlacement[] {
  return Array.from({ length: hosts * perHost }, (_, index) => ({
    id: `i${index}`,
    host: `h${(index % hosts) + 1}`,
    app: `/app${index % 3}`,
  }));
}

function hostNames(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `h${index + 1}`);
}

test("planMapSlots() keeps every instance where it is and fills freed slots", () => {
  const all = placements(2, 4);
  const first = planMapSlots(new Map(), hostNames(2), all);
  const second = planMapSlots(
    first,
    hostNames(2),
    all.filter((item) => item.id !== "i2"),
  );
  for (const [host, ids] of second) {
    for (const [slot, id] of ids.entries()) if (id !== null) expect(first.get(host)?.[slot]).toBe(id);
  }
  const freed = first.get("h1")?.indexOf("i2") ?? -1;
  const third = planMapSlots(second, hostNames(2), [
    ...all.filter((item) => item.id !== "i2"),
    { id: "new", host: "h1", app: "/app9" },
  ]);
  expect(third.get("h1")?.[freed]).toBe("new");
});

test("planMapSlots() places the same instances alike whatever their order", () => {
  const all = placements(3, 5);
  const forward = planMapSlots(new Map(), hostNames(3), all);
  expect(planMapSlots(new Map(), hostNames(3), all.toReversed())).toEqual(forward);
});

test("planMapSlots() shows instances of a host that is not in the cluster", () => {
  const slots = planMapSlots(new Map(), ["h1"], [{ id: "x", host: "gone", app: "/a" }]);
  expect([...slots.keys()]).toEqual(["h1", "gone"]);
});

test("planMapLayout() overlaps nothing and stays inside its area", () => {
  const size = fc.record({
    hosts: fc.integer({ min: 1, max: 120 }),
    perHost: fc.integer({ min: 0, max: 60 }),
    width: fc.integer({ min: 280, max: 2400 }),
    height: fc.integer({ min: 100, max: 1400 }),
  });
  fc.assert(
    fc.property(size, ({ hosts, perHost, width, height }) => {
      const slots = planMapSlots(new Map(), hostNames(hosts), placements(hosts, perHost));
      const layout = planMapLayout(slots, { width, height });
      const [first, second] = layout.boxes;
      expect(layout.boxes.length).toBe(hosts);
      if (first !== undefined && second !== undefined && second.y === first.y) {
        expect(second.x - first.x).toBe(layout.boxWidth + BOX_GAP);
      }
      for (const box of layout.boxes) {
        expect(box.x + layout.boxWidth).toBeLessThanOrEqual(width);
        const places = new Set(box.cells.map((cell) => `${cell.x},${cell.y}`));
        expect(places.size).toBe(box.cells.length);
        for (const cell of box.cells) {
          expect(cell.x).toBeGreaterThanOrEqual(box.x);
          expect(cell.x + layout.size.width).toBeLessThanOrEqual(box.x + layout.boxWidth);
          expect(cell.y).toBeGreaterThanOrEqual(box.y + layout.headHeight);
          expect(cell.y + layout.size.height).toBeLessThanOrEqual(box.y + layout.boxHeight);
        }
      }
    }),
    { numRuns: 60 },
  );
});

test("planMapLayout() moves nothing when one instance of many comes or goes", () => {
  const all = placements(100, 40);
  const before = planMapSlots(new Map(), hostNames(100), all);
  const after = planMapSlots(before, hostNames(100), all.slice(1));
  const layout = planMapLayout(before, AREA);
  const moved = planMapLayout(after, AREA);
  const places = new Map(layout.boxes.flatMap((box) => box.cells.map((cell) => [cell.id, cell] as const)));
  expect(moved.boxes.flatMap((box) => box.cells).length).toBe(3999);
  for (const cell of moved.boxes.flatMap((box) => box.cells))
    expect(cell).toEqual(places.get(cell.id) ?? { ...cell, x: -1 });
});

test("planMapLayout() uses the largest cells that fit", () => {
  const kind = (hosts: number, perHost: number): string =>
    planMapLayout(planMapSlots(new Map(), hostNames(hosts), placements(hosts, perHost)), AREA).size.kind;
  expect([kind(3, 2), kind(3, 16), kind(12, 20), kind(100, 40)]).toEqual(["plate", "card", "tile", "dot"]);
});

test("findOnMap() finds each cell by its middle, the box around it, and nothing outside", () => {
  const layout = planMapLayout(planMapSlots(new Map(), hostNames(5), placements(5, 9)), AREA);
  for (const box of layout.boxes) {
    expect(findOnMap(layout, box.x + 2, box.y + 2)).toEqual({ kind: "host", key: box.host });
    for (const cell of box.cells) {
      const hit = findOnMap(layout, cell.x + layout.size.width / 2, cell.y + layout.size.height / 2);
      expect(hit).toEqual({ kind: "instance", key: cell.id });
    }
  }
  expect(findOnMap(layout, -1, 5)).toBeNull();
  expect(findOnMap(layout, 5, layout.height + 1)).toBeNull();
});

test("stepOnMap() reaches everything by the right arrow, and stays at the ends", () => {
  const layout = planMapLayout(planMapSlots(new Map(), hostNames(3), placements(3, 4)), AREA);
  const seen = new Set<string>();
  let at = stepOnMap(layout, null, "right");
  while (at !== null && !seen.has(at.key)) {
    seen.add(at.key);
    at = stepOnMap(layout, at, "right");
  }
  expect(seen.size).toBe(3 + 12);
  expect(stepOnMap(layout, { kind: "host", key: "h1" }, "up")).toEqual({ kind: "host", key: "h1" });
  expect(stepOnMap(layout, { kind: "host", key: "h2" }, "down")?.kind).toBe("instance");
});

test("slotCapacity() grows in steps and never below the need", () => {
  expect([0, 4, 5, 7, 9, 17, 40].map(slotCapacity)).toEqual([4, 4, 6, 8, 12, 24, 44]);
  fc.assert(fc.property(fc.nat(5000), (used) => slotCapacity(used) >= used));
});
