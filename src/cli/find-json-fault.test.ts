import { expect, test } from "bun:test";
import fc from "fast-check";
import { findJsonFault } from "./find-json-fault.ts";

const CASES: readonly (readonly [string, string])[] = [
  ["", "1:1 a value"],
  ["{", "1:2 a name in double quotes or }"],
  ['{"a":1,}', "1:8 a name in double quotes"],
  ["[1,2", "1:5 a comma or the end of the list or object"],
  ["[1,]", "1:4 a value"],
  ['{"a" 1}', "1:6 :"],
  ['{"a":tru}', "1:6 a value"],
  ["{'a':1}", "1:2 a name in double quotes or }"],
  ['{"a":"b', "1:6 a value"],
  ['{"a":1}}', "1:8 the end of the file"],
  ['{\n "id": "x"\n "cpus": 0.3\n}', "3:2 a comma or the end of the list or object"],
  ["[01]", "1:2 a value or ]"],
  ["[1}", "1:3 a comma or the end of the list or object"],
];

for (const [text, fault] of CASES) {
  test(`findJsonFault() finds the fault in ${JSON.stringify(text)}`, () => {
    const found = findJsonFault(text);
    expect(`${found?.line}:${found?.column} ${found?.expected}`).toBe(fault);
  });
}

test("findJsonFault() agrees with JSON.parse on what is JSON", () => {
  const isJson = (text: string): boolean => {
    try {
      JSON.parse(text);
      return true;
    } catch {
      return false;
    }
  };
  const broken = fc
    .tuple(fc.json(), fc.nat(), fc.constantFrom("", ",", "]", "}", '"', "1", "x", ":", " "))
    .map(([json, at, put]) => {
      const index = at % (json.length + 1);
      return json.slice(0, index) + put + json.slice(index + 1);
    });
  fc.assert(
    fc.property(fc.oneof(fc.json(), broken, fc.string()), (text) => (findJsonFault(text) === null) === isJson(text)),
  );
});
