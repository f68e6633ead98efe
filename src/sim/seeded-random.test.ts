import { expect, test } from "bun:test";
import { SeededRandom } from "./seeded-random.ts";

test("SeededRandom repeats from its seed, and neighbouring seeds differ", () => {
  const draw = (seed: number): number[] => {
    const random = new SeededRandom(seed);
    return Array.from({ length: 5 }, () => random.next());
  };
  expect(draw(1)).toEqual(draw(1));
  expect(new Set([1, 2, 3, 2 ** 32 + 1].flatMap(draw)).size).toBe(20);
});

test("SeededRandom.next() is spread evenly over [0, 1)", () => {
  const random = new SeededRandom(42);
  const tenths = Array.from({ length: 10 }, () => 0);
  for (let at = 0; at < 10_000; at += 1) {
    const tenth = Math.floor(random.next() * 10);
    tenths[tenth] = (tenths[tenth] ?? 0) + 1;
  }
  for (const count of tenths) expect(Math.abs(count - 1000)).toBeLessThan(150);
});

test("SeededRandom draws within bounds", () => {
  const random = new SeededRandom(7);
  const seen = new Set(Array.from({ length: 200 }, () => random.integer(-1, 2)));
  expect([...seen].toSorted((a, b) => a - b)).toEqual([-1, 0, 1, 2]);
  expect(random.shuffle([1, 2, 3, 4]).toSorted()).toEqual([1, 2, 3, 4]);
  expect([random.chance(0), random.chance(1)]).toEqual([false, true]);
  expect(() => random.pick([])).toThrow("empty");
});

test("SeededRandom makes uuids of version 4 and secrets of the asked length", () => {
  const random = new SeededRandom(9);
  const uuids = Array.from({ length: 100 }, () => random.uuid());
  for (const uuid of uuids) expect(uuid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(new Set(uuids).size).toBe(100);
  expect(random.secret(32)).toMatch(/^[A-Za-z0-9_-]{43}$/);
});

test("SeededRandom.fork() is not moved by later draws of its parent", () => {
  const [a, b] = [new SeededRandom(3), new SeededRandom(3)];
  const [forkA, forkB] = [a.fork(), b.fork()];
  for (let at = 0; at < 10; at += 1) a.next();
  expect(forkA.next()).toBe(forkB.next());
});
