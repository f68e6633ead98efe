import { expect, test } from "bun:test";
import fc from "fast-check";
import { SortedKeys } from "./sorted-keys.ts";

const key = fc.string({ unit: fc.constantFrom("a", "b", "/"), maxLength: 5 });

test("property: SortedKeys is a sorted set with prefix scans", () => {
  const steps = fc.array(fc.record({ add: fc.boolean(), key }), { maxLength: 200 });
  fc.assert(
    fc.property(steps, key, (list, prefix) => {
      const [keys, model] = [new SortedKeys(), new Set<string>()];
      for (const each of list) {
        if (each.add) keys.add(each.key);
        else keys.delete(each.key);
        if (each.add) model.add(each.key);
        else model.delete(each.key);
      }
      expect(keys.size).toBe(model.size);
      expect([...keys.withPrefix(prefix)]).toEqual([...model].filter((one) => one.startsWith(prefix)).toSorted());
    }),
  );
});

test("SortedKeys splits and empties its chunks", () => {
  const keys = new SortedKeys();
  const all = Array.from({ length: 5000 }, (_, n) => String((n * 7919) % 5000).padStart(4, "0"));
  for (const each of all) keys.add(each);
  expect([...keys.withPrefix("")]).toEqual(all.toSorted());
  expect([...keys.withPrefix("123")].length).toBe(10);
  for (const each of all) keys.delete(each);
  expect([keys.size, [...keys.withPrefix("")].length]).toEqual([0, 0]);
});
