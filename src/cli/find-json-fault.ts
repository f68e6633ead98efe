/**
 * Where a text stops being JSON, since JSON.parse of this runtime tells no position. It walks the grammar of RFC 8259
 * with a stack of open brackets; what is expected next follows from the token before and the bracket around it.
 */
const TOKEN =
  /[ \t\r\n]+|[{}[\],:]|"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![0-9a-zA-Z.])|(?:true|false|null)(?![0-9a-zA-Z])/y;

type Expectation = "value" | "value-or-close" | "key" | "key-or-close" | "colon" | "comma-or-close" | "end";

export interface JsonFault {
  /** Both from 1. */
  readonly line: number;
  readonly column: number;
  readonly expected: string;
}

const EXPECTED: Readonly<Record<Expectation, string>> = {
  value: "a value",
  "value-or-close": "a value or ]",
  key: "a name in double quotes",
  "key-or-close": "a name in double quotes or }",
  colon: ":",
  "comma-or-close": "a comma or the end of the list or object",
  end: "the end of the file",
};

/** The first fault, or null for a text that is JSON. */
export function findJsonFault(text: string): JsonFault | null {
  const open: string[] = [];
  let expected: Expectation = "value";
  let index = 0;
  while (index < text.length) {
    TOKEN.lastIndex = index;
    const token = TOKEN.exec(text)?.[0];
    if (token === undefined) return faultAt(text, index, expected);
    if (token.trim() !== "") {
      const next = step(token, expected, open);
      if (next === null) return faultAt(text, index, expected);
      expected = next;
    }
    index += token.length;
  }
  return expected === "end" ? null : faultAt(text, index, expected);
}

/** What is expected after the token, or null when it cannot stand here. */
function step(token: string, expected: Expectation, open: string[]): Expectation | null {
  const after = (): Expectation => (open.length === 0 ? "end" : "comma-or-close");
  switch (token) {
    case "{":
    case "[":
      if (!expected.startsWith("value")) return null;
      open.push(token);
      return token === "{" ? "key-or-close" : "value-or-close";
    case "}":
    case "]":
      if (!expected.endsWith("-or-close") || open.at(-1) !== (token === "}" ? "{" : "[")) return null;
      open.pop();
      return after();
    case ",":
      if (expected !== "comma-or-close") return null;
      return open.at(-1) === "{" ? "key" : "value";
    case ":":
      return expected === "colon" ? "value" : null;
    default:
      if (expected.startsWith("key")) return token.startsWith('"') ? "colon" : null;
      return expected.startsWith("value") ? after() : null;
  }
}

function faultAt(text: string, index: number, expected: Expectation): JsonFault {
  const lines = text.slice(0, index).split("\n");
  return { line: lines.length, column: (lines.at(-1)?.length ?? 0) + 1, expected: EXPECTED[expected] };
}
