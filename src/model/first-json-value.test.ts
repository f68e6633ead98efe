import { expect, test } from "bun:test";
import fc from "fast-check";
import { firstJsonValue } from "./first-json-value.ts";

const first = (text: string): string => new TextDecoder().decode(firstJsonValue(new TextEncoder().encode(text)));

test.each([
  ['{"a":1} and more', '{"a":1}'],
  ["\n [1,[2,{}]]]", "\n [1,[2,{}]]"],
  ['{"}": "\\"}"}{"b":2}', '{"}": "\\"}"}'],
  ['"text"x', '"text"'],
  ["{", "{"],
  ['{"a', '{"a'],
  ["true false", "true false"],
  ["]", "]"],
  ["", ""],
])("the first value of %j is %j", (text, value) => {
  expect(first(text)).toBe(value);
});

test("the first value of an object or list with anything behind it is just that", () => {
  const value = fc.oneof(fc.array(fc.jsonValue()), fc.dictionary(fc.string(), fc.jsonValue()));
  fc.assert(
    fc.property(value, fc.string(), (made, rest) => {
      const text = JSON.stringify(made);
      expect(first(text + rest)).toBe(text);
    }),
  );
});
