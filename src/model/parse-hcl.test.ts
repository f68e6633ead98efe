import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseHcl } from "./parse-hcl.ts";

class Fault extends Error {}
const fault = (what: string): Error => new Fault(what);

test("parseHcl() reads what JSON would say", () => {
  const text = `
# comment
node_name = "n1" // another
bootstrap = true
ports { http = 8500, dns = -1 }
retry_join = ["192.0.2.1", "192.0.2.2",]
ratio = 0.5
service {
  name = "web"
  checks = [{ args = ["true", "-v"], interval = "1s" }, {}]
}
service { name = "db" }
key "app/" { policy = "read" }
/* a text over lines */
motd = <<EOF
one
 two
EOF
meta = { "with space": "x\\ty" }
`;
  expect(parseHcl(text, fault)).toEqual({
    node_name: "n1",
    bootstrap: true,
    ports: { http: 8500, dns: -1 },
    retry_join: ["192.0.2.1", "192.0.2.2"],
    ratio: 0.5,
    service: [{ name: "web", checks: [{ args: ["true", "-v"], interval: "1s" }, {}] }, { name: "db" }],
    key: { "app/": { policy: "read" } },
    motd: "one\n two\n",
    meta: { "with space": "x\ty" },
  });
  expect(Object.keys(parseHcl("__proto__ = 1", fault))).toEqual(["__proto__"]);
  expect(parseHcl("", fault)).toEqual({});
});

test.each([
  ["a = ", "its blocks end too early"],
  ["a", "its blocks end too early"],
  ["a {", "its blocks end too early"],
  ["}", '"}" is not expected'],
  ["a = [1 2]", 'the list "a" does not end'],
  ["a = ]", '"a" has no value'],
  ["a = 1\n$", "line 2 cannot be read"],
  ["a { ".repeat(40), "blocks lie too deep in each other"],
  [`a = ${"[".repeat(40)}`, "lists lie too deep in each other"],
  [`${"a ".repeat(40)}{}`, "blocks lie too deep in each other"],
])("parseHcl(%j) is refused: %s", (text, what) => {
  expect(() => parseHcl(text, fault)).toThrow(what);
});

test("property: any text is an object or refused, and JSON's objects mean the same in HCL", () => {
  const words = fc.constantFrom(
    "key",
    '"a"',
    "{",
    "}",
    "=",
    ":",
    "[",
    "]",
    "1",
    "true",
    "#\n",
    ",",
    "<<E\nx\nE\n",
    "-",
  );
  const texts = fc.oneof(
    fc.string(),
    fc.array(words, { maxLength: 20 }).map((each) => each.join(" ")),
  );
  fc.assert(
    fc.property(texts, (text) => {
      try {
        expect(typeof parseHcl(text, fault)).toBe("object");
      } catch (error) {
        expect(error).toBeInstanceOf(Fault);
      }
    }),
    { numRuns: 500 },
  );
  const name = fc.string({ unit: fc.constantFrom("a", "b", " ", "/"), minLength: 1, maxLength: 6 });
  const leaf = fc.oneof(name, fc.boolean(), fc.integer({ min: -1000, max: 1000 }));
  const { object } = fc.letrec<{ object: Record<string, unknown>; value: unknown }>((tie) => ({
    object: fc.dictionary(name, tie("value"), { maxKeys: 4 }),
    value: fc.oneof({ maxDepth: 3 }, leaf, fc.array(leaf, { maxLength: 3 }), tie("object")),
  }));
  fc.assert(
    fc.property(object, (value) => {
      const inner = JSON.stringify(value).slice(1, -1);
      expect(JSON.stringify(parseHcl(inner, fault))).toBe(JSON.stringify(value));
    }),
  );
});
