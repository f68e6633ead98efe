import { expect, test } from "bun:test";
import fc from "fast-check";
import { AppError } from "../../../model/error.ts";
import { Grants, type Access } from "./grants.ts";
import { NAMED_RESOURCES, parseRules } from "./parse-rules.ts";

const HCL = `
# comment
operator = "read"   // another
key_prefix "app/" { policy = "write" }
key "app/secret" { policy = "deny" }
service_prefix "" {
  policy = "read"
  intentions = "read"
}
/* and the form with an equals sign */
node "n1" = { policy = "write" }
`;
const JSON_RULES = JSON.stringify({
  operator: "read",
  key_prefix: { "app/": { policy: "write" } },
  key: { "app/secret": { policy: "deny" } },
  service_prefix: { "": { policy: "read", intentions: "read" } },
  node: { n1: { policy: "write" } },
});

test("parseRules() reads HCL and JSON alike", () => {
  const sorted = (text: string): readonly string[] =>
    parseRules(text)
      .map((rule) => JSON.stringify(rule))
      .toSorted();
  expect(sorted(HCL)).toEqual(sorted(JSON_RULES));
  expect(parseRules(HCL).length).toBe(5);
  expect(parseRules("")).toEqual([]);
});

test.each([
  ['key "a" { policy = "maybe" }', "unknown policy"],
  ['kye "a" { policy = "read" }', 'no resource "kye"'],
  ['key "a" { }', "has no policy"],
  ['key "a" { policy = "read"', "end too early"],
  ['operator "x" { policy = "read" }', "takes a policy and no name"],
  ["key", "end too early"],
  ["}", "not expected"],
  ['key "a" $', "line 1 cannot be read"],
  ["{", "JSON"],
])("parseRules(%s) is refused", (text, message) => {
  expect(() => parseRules(text)).toThrow(message);
});

test("property: any text is rules or refused", () => {
  const words = fc.constantFrom("key", '"a"', "{", "}", "=", "policy", '"read"', "key_prefix", "#\n", ",", "[");
  const texts = fc.oneof(
    fc.string(),
    fc.array(words, { maxLength: 15 }).map((each) => each.join(" ")),
  );
  fc.assert(
    fc.property(texts, (text) => {
      try {
        expect(Array.isArray(parseRules(text))).toBe(true);
      } catch (error) {
        expect(error).toBeInstanceOf(AppError);
      }
    }),
    { numRuns: 500 },
  );
});

test.each<[string, Access, boolean]>([
  ["app/x", "write", true],
  ["app/secret", "read", false],
  ["app/secret2", "write", true],
  ["other", "read", false],
])("grants on key %s: %s", (name, access, expected) => {
  expect(new Grants(parseRules(HCL), "deny", "t").may("key", name, access)).toBe(expected);
});

test("a deny of one policy holds against a write of another; without a rule the default decides", () => {
  const rules = [...parseRules('key "a" { policy = "write" }'), ...parseRules('key "a" { policy = "deny" }')];
  expect(new Grants(rules, "allow", "t").may("key", "a", "read")).toBe(false);
  expect(new Grants(rules, "allow", "t").may("key", "b", "write")).toBe(true);
  expect(new Grants(rules, "deny", "t").may("key", "b", "read")).toBe(false);
});

test("requirePrefix() looks at every rule below", () => {
  const grants = new Grants(parseRules(HCL), "deny", "t");
  expect(() => grants.requirePrefix("key", "app/", "write")).toThrow("lacks permission 'key:write' on \"app/\"");
  grants.requirePrefix("key", "app/public/", "write");
});

test("property: the longest prefix decides", () => {
  const name = fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 4 });
  const level = fc.constantFrom("read" as const, "write" as const, "deny" as const);
  const rule = fc.record({ name, level, prefix: fc.constant(true), resource: fc.constantFrom(...NAMED_RESOURCES) });
  const rules = fc.uniqueArray(rule, { selector: (each) => `${each.resource} ${each.name}` });
  fc.assert(
    fc.property(rules, name, (list, asked) => {
      const best = list
        .filter((each) => each.resource === "key" && asked.startsWith(each.name))
        .toSorted((a, b) => b.name.length - a.name.length)[0];
      const grants = new Grants(list, "deny", "t");
      expect(grants.may("key", asked, "write")).toBe(best?.level === "write");
      expect(grants.may("key", asked, "read")).toBe(best !== undefined && best.level !== "deny");
    }),
  );
});
