import { expect, test } from "bun:test";
import fc from "fast-check";
import { ReplayWindow } from "./replay-window.ts";

test("accept() takes each number once, in any order within the window", () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 80 }), { maxLength: 200 }), (numbers) => {
      const window = new ReplayWindow();
      const taken = new Set<number>();
      let highest = -1;
      for (const number of numbers) {
        const accepted = window.accept(1, number, 0);
        if (accepted) expect(taken.has(number)).toBe(false);
        else expect(taken.has(number) || number <= highest - 32).toBe(true);
        if (accepted) taken.add(number);
        highest = Math.max(highest, number);
      }
    }),
  );
});

test("accept() takes a later session at once, and an earlier one only when the later has been silent", () => {
  const window = new ReplayWindow();
  expect(window.accept(5, 100, 0)).toBe(true);
  expect(window.accept(6, 1, 10)).toBe(true);
  expect(window.accept(5, 101, 20)).toBe(false);
  expect(window.accept(6, 2, 30)).toBe(true);
  expect(window.accept(5, 101, 20_000)).toBe(true);
});
