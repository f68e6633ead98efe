import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseExactJson, renderExactJson } from "./exact-json.ts";

test("parseExactJson() keeps the flags of Consul's locks", () => {
  expect(parseExactJson('{"Flags":3304740253564472344}')).toEqual({ Flags: 3304740253564472344n });
  expect(parseExactJson('{"Flags":12,"x":1.5,"s":"3304740253564472344"}')).toEqual({
    Flags: 12,
    x: 1.5,
    s: "3304740253564472344",
  });
});

test("property: any 64-bit number comes back as it was", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (number) => {
      const text = `{"a":[${number}]}`;
      expect(renderExactJson(parseExactJson(text))).toBe(text);
      expect(renderExactJson({ a: [number] })).toBe(text);
    }),
  );
});

test("property: other JSON is parsed and printed like JSON", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const text = JSON.stringify(value);
      expect(renderExactJson(parseExactJson(text))).toBe(text);
      expect(renderExactJson(value, 4)).toBe(JSON.stringify(value, null, 4));
    }),
  );
});
