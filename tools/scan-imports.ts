/** Finds the imports of a TypeScript file, with those that only name types, which no bundler reports. */

export interface ImportStatement {
  readonly specifier: string;
  readonly line: number;
}

export interface ScannedFile {
  readonly imports: readonly ImportStatement[];
  /** Code with comments, strings and template texts blanked out, line for line the same. */
  readonly code: string;
  /** True when it only passes on what other files export. */
  readonly barrel: boolean;
}

const FROM = /\b(?:import|export)\b[^;"'`=]*?\bfrom\s*@(\d+)@/g;
const BARE = /(?<![.\w])import\s*@(\d+)@/g;
const CALL = /(?<![.\w])(?:import|require)\s*\(\s*@(\d+)@\s*[,)]/g;
const WORKER = /\bnew\s+URL\s*\(\s*@(\d+)@\s*,\s*import\.meta\.url\s*\)/g;
const REEXPORT = /^\s*export\s+(?:type\s+)?(?:\*(?:\s+as\s+\w+)?|\{[^}]*\})\s*from\s*@\d+@\s*;?/;

export function scanImports(text: string): ScannedFile {
  const { code, marked, strings } = blank(text);
  const imports: ImportStatement[] = [];
  for (const pattern of [FROM, BARE, CALL, WORKER]) {
    for (const match of marked.matchAll(pattern)) {
      const specifier = strings[Number(match[1])];
      if (specifier === undefined) continue;
      // A worker or asset is reached like a module; anything else in a URL is not ours to check.
      if (pattern === WORKER && !/^\.{1,2}\/.*\.tsx?$/.test(specifier)) continue;
      imports.push({ specifier, line: lineOf(marked, match.index + match[0].length) });
    }
  }
  return { imports: imports.toSorted((a, b) => a.line - b.line), code, barrel: isBarrel(marked) };
}

function isBarrel(marked: string): boolean {
  let rest = marked.trim();
  if (rest === "") return false;
  for (let match = REEXPORT.exec(rest); match !== null; match = REEXPORT.exec(rest))
    rest = rest.slice(match[0].length).trim();
  return rest === "";
}

function lineOf(text: string, index: number): number {
  return text.slice(0, index).split("\n").length;
}

type Mode = "code" | "template";

/**
 * One walk over the text: comments become spaces, every string literal becomes `@n@` in `marked` and spaces in `code`.
 * Expressions inside templates are code again. A slash starts a regular expression where a value cannot stand before it.
 */
function blank(text: string): { code: string; marked: string; strings: readonly string[] } {
  let code = "";
  let marked = "";
  const strings: string[] = [];
  const modes: { readonly mode: Mode; depth: number }[] = [{ mode: "code", depth: 0 }];
  let at = 0;
  const hide = (end: number): void => {
    const spaces = text.slice(at, end).replaceAll(/[^\n]/g, " ");
    code += spaces;
    marked += spaces;
    at = end;
  };
  while (at < text.length) {
    const top = modes.at(-1) ?? { mode: "code" as const, depth: 0 };
    const char = text.charAt(at);
    const two = text.slice(at, at + 2);
    if (top.mode === "template") {
      if (char === "`") {
        modes.pop();
        hide(at + 1);
      } else if (two === "${") {
        modes.push({ mode: "code", depth: 0 });
        hide(at + 2);
      } else hide(at + (char === "\\" ? 2 : 1));
      continue;
    }
    if (two === "//") hide(endOr(text.indexOf("\n", at), text.length));
    else if (two === "/*") hide(endOr(text.indexOf("*/", at) + 2, text.length, 1));
    else if (char === '"' || char === "'") {
      const end = stringEnd(text, at);
      const spaces = text.slice(at, end).replaceAll(/[^\n]/g, " ");
      // A string may go on behind an escaped line end.
      marked += `@${strings.length}@${spaces.replaceAll(" ", "")}`;
      strings.push(text.slice(at + 1, end - 1));
      code += spaces;
      at = end;
    } else if (char === "`") {
      modes.push({ mode: "template", depth: 0 });
      hide(at + 1);
    } else if (char === "/" && startsPattern(marked)) hide(patternEnd(text, at));
    else {
      if (char === "{") top.depth++;
      if (char === "}" && top.depth-- === 0 && modes.length > 1) {
        modes.pop();
        hide(at + 1);
        continue;
      }
      code += char;
      marked += char;
      at++;
    }
  }
  return { code, marked, strings };
}

function endOr(found: number, fallback: number, atLeast = 0): number {
  return found < 0 || found <= atLeast ? fallback : found;
}

/** Behind the closing quote; a quote that a line end cuts off (text in JSX) counts as one character. */
function stringEnd(text: string, start: number): number {
  const quote = text.charAt(start);
  for (let at = start + 1; at < text.length; at++) {
    const char = text.charAt(at);
    if (char === "\\") at++;
    else if (char === quote) return at + 1;
    else if (char === "\n") return start + 1;
  }
  return start + 1;
}

function startsPattern(before: string): boolean {
  const tail = before.trimEnd();
  return /(?:^|[=(,:;!&|?{[+\-*%>~^]|\b(?:return|typeof|case|in|of|do|else))$/.test(tail);
}

function patternEnd(text: string, start: number): number {
  let inClass = false;
  for (let at = start + 1; at < text.length; at++) {
    const char = text.charAt(at);
    if (char === "\n") return start + 1;
    if (char === "\\") at++;
    else if (char === "[") inClass = true;
    else if (char === "]") inClass = false;
    else if (char === "/" && !inClass) return at + 1;
  }
  return start + 1;
}
