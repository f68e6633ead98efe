import { expect, test } from "bun:test";
import fc from "fast-check";
import { AppError } from "../../../model/error.ts";
import { compileLinearPattern } from "./linear-pattern.ts";

const CASES: readonly (readonly [string, string, boolean])[] = [
  ["^n[0-9]$", "n1", true],
  ["^n[0-9]$", "n12", false],
  ["(?i)^WEB", "web-1", true],
  ["a(?i:B)c", "abc", true],
  ["a(?i:B)c", "abC", false],
  ["^(a|bc|)d{2,3}$", "bcddd", true],
  ["^(a|bc|)d{2,3}$", "dddd", false],
  ["x{,3}", "x{,3}", true],
  ["[^a-c]", "abc", false],
  ["[]a]", "]", true],
  ["[[:alpha:]_-]+$", "a_-b", true],
  ["\\bfoo\\b", "a foo b", true],
  ["\\bfoo\\b", "afoo b", false],
  ["(?s)a.b", "a\nb", true],
  ["a.b", "a\nb", false],
  ["(?m)^b$", "a\nb\nc", true],
  ["\\x41\\x{1F600}", "A😀", true],
  ["^.$", "😀", true],
  ["(?P<name>ab)+", "abab", true],
  ["a*?b", "aaab", true],
  ["", "anything", true],
];
for (const [pattern, text, expected] of CASES) {
  test(`${JSON.stringify(pattern)} is ${expected ? "" : "not "}found in ${JSON.stringify(text)}`, () => {
    expect(compileLinearPattern(pattern)(text)).toBe(expected);
  });
}

test.each([
  "(",
  "a)",
  "[a",
  "*a",
  "a**",
  "\\",
  "\\1",
  "(?=a)",
  "(?<!a)",
  "a{2,1}",
  "a{1001}",
  "[b-a]",
  "\\p",
  "(((a{1000}){1000}){1000})",
])("%p is refused", (pattern) => {
  expect(() => compileLinearPattern(pattern)).toThrow(AppError);
});

test("what takes others hours takes no time", () => {
  const text = `${"a".repeat(4096)}!`;
  for (const pattern of ["^(a+)+$", "^(a|aa)+$", "^(a|a?)+$", "a*a*a*a*a*a*b", "(.*)(.*)(.*)(.*)[^a!]"])
    expect(compileLinearPattern(pattern)(text)).toBe(false);
});

const atom = fc.constantFrom("a", "b", "ab", ".", "[ab]", "[^a]", "^", "$", "\\b", "\\w", "(a|b)", "(?:ab|b)", "(a|)");
const piece = fc.tuple(atom, fc.constantFrom("", "*", "+", "?", "{2}", "{1,2}")).map(([one, times]) =>
  // JavaScript repeats no edge of a text.
  /^(\^|\$|\\b)$/.test(one) ? one : `${one}${times}`,
);
const pattern = fc.array(piece, { maxLength: 5 }).map((parts) => parts.join(""));

test("property: it finds what JavaScript's own find", () => {
  const text = fc.array(fc.constantFrom("a", "b", "c", " ", "\n"), { maxLength: 8 }).map((parts) => parts.join(""));
  fc.assert(
    fc.property(pattern, pattern, text, (one, other, where) => {
      const source = `${one}|${other}`;
      expect(compileLinearPattern(source)(where)).toBe(new RegExp(source, "u").test(where));
    }),
    { numRuns: 2000 },
  );
});

test("property: any text is a pattern or refused", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 40 }), fc.string({ maxLength: 20 }), (source, text) => {
      try {
        expect(typeof compileLinearPattern(source)(text)).toBe("boolean");
      } catch (error) {
        expect(error).toBeInstanceOf(AppError);
      }
    }),
  );
});
