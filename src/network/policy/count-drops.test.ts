import { expect, test } from "bun:test";
import { DropTotals } from "./count-drops.ts";

test("DropTotals counts on when the kernel's counters begin anew", () => {
  const totals = new DropTotals();
  for (const packets of [3, 5, 5, 2, 0, 4]) totals.observe(new Map([["a", packets]]));
  // 3, 2 more, none; new: 2; new: none, 4.
  expect([totals.of("a"), totals.of("b")]).toEqual([11, 0]);
  // A counter that is away for a while is a new one when it is back.
  totals.observe(new Map());
  totals.observe(new Map([["a", 6]]));
  expect(totals.of("a")).toBe(17);
});
