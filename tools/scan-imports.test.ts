import { expect, test } from "bun:test";
import fc from "fast-check";
import { scanImports } from "./scan-imports.ts";
import { readSourceFiles } from "./source-files.ts";

const list = (text: string): readonly string[] =>
  scanImports(text).imports.map(({ specifier, line }) => `${specifier}:${line}`);

test("scanImports() finds every form, with its line", () => {
  const text = `import { a } from "./a.ts";
import type { B } from './b.ts';
import {
  c,
  type C,
} from "./c.ts";
import * as d from "d";
import "./e.css";
export { f } from "./f.ts";
export * from "./g.ts";
const h = await import("./h.ts");
const i: typeof import("./i.ts") = h;
new Worker(new URL("./j.ts", import.meta.url));
`;
  expect(list(text)).toEqual([
    "./a.ts:1",
    "./b.ts:2",
    "./c.ts:6",
    "d:7",
    "./e.css:8",
    "./f.ts:9",
    "./g.ts:10",
    "./h.ts:11",
    "./i.ts:12",
    "./j.ts:13",
  ]);
});

test("scanImports() does not take comments, strings, templates and patterns for code", () => {
  const text = [
    '// import { a } from "./a.ts";',
    '/* import "./b.ts"; */',
    "const text = 'import \"./c.ts\"';",
    'const template = `import "./d.ts" ${f(`import("./e.ts")`, "}")} import "./f.ts"`;',
    'const pattern = /["\'`]/; const quote = "\\"";',
    'const ratio = 4 / 2; import("./real.ts"); const half = 1 / 2;',
    "const from = Array.from; export const x = from;",
  ].join("\n");
  expect(list(text)).toEqual(["./real.ts:6"]);
});

test("scanImports() sees code inside templates", () => {
  expect(list('const t = `a ${await import("./b.ts")} c`;')).toEqual(["./b.ts:1"]);
});

test("scanImports() keeps code line for line and blanks out what is none", () => {
  const text = 'a(); // Date.now()\nconst s = "Date.now()";\n/* Date.now() */ b();\n';
  expect(scanImports(text).code).toBe(`a(); ${" ".repeat(13)}\nconst s = ${" ".repeat(12)};\n${" ".repeat(16)} b();\n`);
});

test("scanImports() tells a barrel from a file with something of its own", () => {
  expect(scanImports('// all of it\nexport * from "./a.ts";\nexport { b, type C } from "./b.ts";\n').barrel).toBe(true);
  expect(scanImports('export * as a from "./a.ts"').barrel).toBe(true);
  expect(scanImports('export * from "./a.ts";\nexport const b = 1;').barrel).toBe(false);
  expect(scanImports('import { a } from "./a.ts";\na();').barrel).toBe(false);
  expect(scanImports("").barrel).toBe(false);
});

test("scanImports() agrees with Bun's own parser on all of our files, but for imports of types alone", () => {
  const root = new URL("..", import.meta.url).pathname;
  const files = readSourceFiles(root);
  expect(files.length).toBeGreaterThan(50);
  for (const { path, text } of files) {
    const transpiler = new Bun.Transpiler({ loader: path.endsWith("x") ? "tsx" : "ts" });
    const mine = new Set(scanImports(text).imports.map(({ specifier }) => specifier));
    // Its require calls are what it adds itself for JSX.
    const missing = transpiler
      .scanImports(text.replace(/^#!.*/, ""))
      .filter(({ kind, path: to }) => kind !== "require-call" && !mine.has(to));
    expect({ path, missing }).toEqual({ path, missing: [] });
  }
});

test("scanImports() keeps lines behind a string that goes on in the next line", () => {
  const { code, imports } = scanImports('const a = "x\\\ny";\nimport "./b.ts";\n');
  expect(code.split("\n").length).toBe(4);
  expect(imports).toEqual([expect.objectContaining({ specifier: "./b.ts", line: 3 })]);
});

test("scanImports() ends on any text", () => {
  const piece = fc.constantFrom("`", "${", "}", "{", "'", '"', "\\", "/", "*", "//", "\n", "import", "from", " ", "x");
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
      const text = pieces.join("");
      expect(scanImports(text).code.split("\n").length).toBe(text.split("\n").length);
    }),
  );
});
