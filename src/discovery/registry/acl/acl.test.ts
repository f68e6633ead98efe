import { expect, test } from "bun:test";
import fc from "fast-check";
import { AppError } from "../../../model/error.ts";
import { Grants, type Access, type Resource } from "./grants.ts";
import { NAMED_RESOURCES, parseRules } from "./parse-rules.ts";
import { POLICY_TEMPLATES, renderTemplate, rulesOfTemplated } from "./templated-policies.ts";

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

test("each templated policy grants what its holder needs, and nothing to a name that it was not made for", () => {
  const grants = (templateName: string, name: string): Grants =>
    new Grants(rulesOfTemplated({ templateName, name, datacenters: [] }), "deny", "t");
  const table: readonly (readonly [template: string, name: string, may: readonly string[], not: readonly string[]])[] =
    [
      ["builtin/api-gateway", "gw", ["service gw write", "mesh  read"], ["service web write", "mesh  write"]],
      ["builtin/dns", "", ["node n read", "service s read", "query q read"], ["node n write", "key k read"]],
      ["builtin/node", "n1", ["node n1 write", "service s read"], ["node n2 write", "service s write"]],
      ["builtin/nomad-client", "", ["service s write", "key k read", "agent a read"], ["key k write", "acl  read"]],
      ["builtin/nomad-server", "", ["service s write", "acl  write", "mesh  write"], ["key k read", "node n write"]],
      ["builtin/service", "web", ["service web write", "service web-sidecar-proxy write"], ["service web2 write"]],
    ];
  expect(table.map(([template]) => template)).toEqual(POLICY_TEMPLATES.map(({ name }) => name));
  for (const [template, name, may, not] of table) {
    const granted = grants(template, name);
    const holds = (text: string): boolean => {
      const [resource = "", what = "", access = ""] = text.split(" ");
      return granted.may(resource as Resource, what, access as Access);
    };
    expect([template, ...may.filter((each) => !holds(each))]).toEqual([template]);
    expect([template, ...not.filter(holds)]).toEqual([template]);
  }
});

test("a templated policy needs a name that cannot leave its rules", () => {
  for (const name of ["", 'a" { policy = "write" }', "a b", "a\n"])
    expect(() => renderTemplate({ templateName: "builtin/service", name })).toThrow(AppError);
  expect(() => renderTemplate({ templateName: "builtin/none", name: "a" })).toThrow("no such ACL templated policy");
});
