import { expect, test } from "bun:test";
import fc from "fast-check";
import { AppError } from "../../../model/error.ts";
import { compileFilter, type Shape } from "./evaluate-filter.ts";

const SHAPE: Shape = {
  Node: { Node: "text", Meta: "map" },
  Service: { Service: "text", Tags: "texts", Port: "number", EnableTagOverride: "boolean", Meta: "map" },
  Checks: { Status: "text", CheckID: "text" },
};
const ITEM = {
  Node: { Node: "n1", Meta: { env: "prod", "odd.key": "x" } },
  Service: { Service: "web", Tags: ["v1", "blue"], Port: 80, EnableTagOverride: false, Meta: {} },
  Checks: [
    { Status: "passing", CheckID: "a" },
    { Status: "warning", CheckID: "b" },
  ],
};

test.each<[string, boolean]>([
  ['Service.Service == "web"', true],
  ["Service.Service == web", true],
  ["Service.Service == `web`", true],
  ['Service.Service != "web"', false],
  ['"v1" in Service.Tags', true],
  ["v2 in Service.Tags", false],
  ['"v1" not in Service.Tags', false],
  ['Service.Tags contains "blue"', true],
  ['Service.Tags not contains "red"', true],
  ["Service.Port == 80", true],
  ["Service.Port != 80", false],
  ["Service.EnableTagOverride == false", true],
  ["Service.Meta is empty", true],
  ["Node.Meta is not empty", true],
  ["Node.Meta.env == prod", true],
  ['Node.Meta["odd.key"] == "x"', true],
  ["Node.Meta.none == x", false],
  ["Node.Meta.none != x", true],
  ["env in Node.Meta", true],
  ['Node.Node matches "^n[0-9]$"', true],
  ['Node.Node not matches "(?i)^N"', false],
  ["Checks.Status == warning", true],
  ["not Checks.Status == critical", true],
  ["Service.Port == 81 or Service.Port == 80 and Service.Service == web", true],
  ["(Service.Port == 81 or Service.Port == 80) and Service.Service == db", false],
  ["not not (Service.Port == 80)", true],
  ["", true],
])("filter %s", (text, expected) => {
  expect(compileFilter(text, SHAPE)(ITEM)).toBe(expected);
});

test.each([
  "Service.Nope == 1",
  "Nope is empty",
  "Service.Port == many",
  "Service.EnableTagOverride == 1",
  "Service.Service ==",
  "== web",
  "Service.Service == web and",
  "(Service.Service == web",
  "Service.Service = web",
  'Node.Node matches "("',
  "Service.Tags == v1",
  "80 in Service.Port",
  `${"(".repeat(100)}Service.Port == 80${")".repeat(100)}`,
])("filter %s is refused", (text) => {
  expect(() => compileFilter(text, SHAPE)).toThrow("Failed to create boolean expression evaluator");
});

test("property: any text is an expression or refused", () => {
  const words = fc.constantFrom(
    "Service.Port",
    "==",
    "80",
    "and",
    "or",
    "not",
    "(",
    ")",
    "in",
    "is",
    "empty",
    '"x"',
    "Node.Node",
    "[",
    ".",
  );
  const texts = fc.oneof(
    fc.string(),
    fc.array(words, { maxLength: 12 }).map((each) => each.join(" ")),
  );
  fc.assert(
    fc.property(texts, (text) => {
      try {
        expect(typeof compileFilter(text, SHAPE)(ITEM)).toBe("boolean");
      } catch (error) {
        expect(error).toBeInstanceOf(AppError);
      }
    }),
    { numRuns: 500 },
  );
});

interface Term {
  readonly text: string;
  readonly value: boolean;
}

const { term } = fc.letrec<{ term: Term; leaf: Term }>((tie) => ({
  leaf: fc.constantFrom<Term>(
    { text: "Service.Port == 80", value: true },
    { text: "Service.Port == 81", value: false },
  ),
  term: fc.oneof(
    { depthSize: "small" },
    tie("leaf"),
    tie("term").map(({ text, value }) => ({ text: `not (${text})`, value: !value })),
    fc
      .tuple(tie("term"), tie("term"))
      .map(([a, b]) => ({ text: `(${a.text}) and (${b.text})`, value: a.value && b.value })),
    fc
      .tuple(tie("term"), tie("term"))
      .map(([a, b]) => ({ text: `(${a.text}) or (${b.text})`, value: a.value || b.value })),
  ),
}));

test("property: and, or and not mean what they say", () => {
  fc.assert(fc.property(term, ({ text, value }) => expect(compileFilter(text, SHAPE)(ITEM)).toBe(value)));
});
