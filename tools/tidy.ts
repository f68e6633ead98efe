/**
 * House rules that neither compiler nor linter knows: calls that go through a port, size of files, what a comment may
 * not say, where code may be. `bun tools/tidy.ts` prints each violation; exit code 1 when there is one.
 */
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { CAPABILITIES, PROGRAMS, roomOf } from "./check-layers.ts";
import { scanImports } from "./scan-imports.ts";
import type { SourceFile, Violation } from "./source-files.ts";
import { formatViolation, readSourceFiles } from "./source-files.ts";

export const FILE_LINES_MAX = 500;
/** Files that may be longer until the day they are named with; then they are split or named again with a reason. */
const LONG_FILES: Readonly<Record<string, { readonly until: string; readonly why: string }>> = {
  "src/agent/containers-part.test.ts": { until: "2027-02-01", why: "one table of the life of an instance" },
  "src/api/marathon/handler.test.ts": { until: "2027-02-01", why: "grows with roadmap 4, split by resource then" },
  "src/api/marathon/parse-app.test.ts": { until: "2027-02-01", why: "grows with roadmap 4, split by field then" },
  "src/sim/fake-engine.ts": { until: "2027-02-01", why: "the fake of one port with many calls" },
};

const ROOMS: ReadonlySet<string> = new Set(["model", "api", ...CAPABILITIES, ...PROGRAMS]);
const TECHNOLOGIES: ReadonlySet<string> = new Set([
  "checks",
  "clock",
  "digest",
  "docker",
  "etcd",
  "files",
  "haproxy",
  "http",
  "linux",
  "log",
  "loop",
  "ports",
  "probe",
  "server-client",
  "sqlite",
  "tls",
  "udp",
]);

interface Rule {
  readonly pattern: RegExp;
  readonly instead: string;
  readonly allowed: (path: string) => boolean;
}

/** Tests, benches, tools and examples run in the real world and speak to people. */
const isOutside = (path: string): boolean => /\.test\.tsx?$|\.contract\.ts$|^(test|bench|tools|examples)\//.test(path);
/** Rooms with a runtime of their own: adapters, the browser, and the lab, which makes machines out of namespaces. */
const isWorldly = (path: string): boolean => /^src\/(platform|console|lab)\//.test(path) || isOutside(path);
const isMain = (path: string): boolean => /^src\/[a-z-]+\/(main|[a-z-]+-command)\.tsx?$/.test(path);
const isCli = (path: string): boolean => path.startsWith("src/cli/");

/** Single files that may do what their room may not, each with its reason. */
const EXEMPT: Readonly<Record<string, string>> = {
  "src/sim/virtual-clock.ts": "lets the real event loop settle between two virtual moments",
  "src/sim/scratch-engine.ts": "starts a real engine for the contract suite",
  "src/cli/terminal.ts": "writes all of its output before the process ends, when a pipe is full",
  "src/server/console-assets.ts": "files embedded in the binary are readable by Bun's functions only",
};
const isExempt = (path: string): boolean => Object.hasOwn(EXEMPT, path);

/** Looked for in code only; comments and strings do not count. */
const BANNED_CALLS: readonly Rule[] = [
  {
    pattern: /\bDate\.now\s*\(|\bnew Date\(\s*\)|\bperformance\.now\s*\(/,
    instead: "take the time as a value, or from the Clock port",
    allowed: isWorldly,
  },
  {
    pattern: /\bMath\.random\s*\(|\bcrypto\.(?:randomUUID|getRandomValues)\s*\(/,
    instead: "take chance as a value, or from the Random port",
    allowed: isWorldly,
  },
  {
    pattern: /(?<![.\w])(?:setTimeout|setInterval|setImmediate)\s*\(|\bBun\.sleep(?:Sync)?\s*\(/,
    instead: "wait through Clock.sleep, so that the simulator can turn the time",
    allowed: isWorldly,
  },
  {
    pattern: /\bconsole\.(?:log|error|warn|info|debug)\s*\(/,
    instead: "write to the Log port; only the CLI speaks to people",
    allowed: (path) => isOutside(path) || isCli(path) || isMain(path),
  },
  {
    pattern: /(?<![.\w])Bun\.\w+/,
    instead: "use a port; Bun's own functions stay in platform and in mains",
    allowed: (path) => isWorldly(path) || isMain(path) || isCli(path),
  },
  {
    pattern: /(?<![.\w])process\.(?:exit|env|argv|on)\b/,
    instead: "take configuration as a value; only mains know the process",
    allowed: (path) => isWorldly(path) || isMain(path) || isCli(path),
  },
  {
    pattern: /\bexec(?:File)?Sync\s*\(|\bspawnSync\s*\(|\bBun\.\$|(?<![.\w$])\$(?=\s)/,
    // A `$` before a template: the scanner has blanked the template out.
    instead: "run programs by argv through the Runner port, never through a shell and never while all else waits",
    allowed: isOutside,
  },
];

/** These rules and their tests name what they forbid. */
const isTidy = (path: string): boolean => path.startsWith("tools/tidy");

/** Looked for in the whole text: comments and strings too. */
const BANNED_TEXTS: readonly Rule[] = [
  {
    pattern: /\bTODO\b(?!\(#\d+\))/,
    instead: "name the issue: TODO(#12), or do it",
    allowed: isTidy,
  },
  {
    pattern: /import\s*\{[^}]*\bexec(?:Sync)?\b[^}]*\}\s*from\s*["'](?:node:)?child_process["']/,
    instead: "it goes through a shell: use the Runner port, or spawn with argv",
    allowed: isTidy,
  },
  {
    pattern: /["'](?:\/bin\/)?(?:ba|da)?sh["']\s*,\s*["']-l?c["']/,
    instead: "run programs by argv; a shell reads more into a string than was meant",
    // Docker gives images a shell form, and Marathon's `cmd` is one by definition.
    allowed: (path) => isOutside(path) || /^src\/(api\/marathon|agent|platform\/docker)\/|^src\/lab\/images/.test(path),
  },
  {
    pattern: /(?<![\w.:-])\/(?:home|Users)\/[a-z]+\/[a-z]/,
    instead: "no paths of one machine; derive it from import.meta or take it as a value",
    allowed: isTidy,
  },
];

/** All violations in these files, by path and line. `today` as yyyy-mm-dd decides which exemptions have run out. */
export function checkTidy(files: readonly SourceFile[], today: string): readonly Violation[] {
  return files.flatMap((file) => [
    ...checkPlace(file.path),
    ...checkLength(file, today),
    ...checkCalls(file),
    ...checkTexts(file),
  ]);
}

function checkPlace(path: string): readonly Violation[] {
  const room = roomOf(path);
  const name = path.split("/").at(-1) ?? "";
  const violations: string[] = [];
  if (room !== null) {
    const [, technology] = room.split("/");
    const known = technology === undefined ? ROOMS.has(room) : TECHNOLOGIES.has(technology);
    if (!known)
      violations.push(`lies in the unknown room ${room}: use one of DESIGN's rooms, or name it in tools/tidy.ts`);
  }
  if (!/^[a-z0-9]+([.-][a-z0-9]+)*\.(ts|tsx|mts|mjs|js)$/.test(name) && !name.endsWith(".d.mts")) {
    violations.push("has a name that is not kebab-case: rename it");
  }
  if (/^(utils?|helpers?|types|common|misc|manager|index)\./.test(name)) {
    violations.push("has a name that says nothing: name it for the one thing it exports");
  }
  return violations.map((message) => ({ path, line: 1, message }));
}

function checkLength({ path, text }: SourceFile, today: string): readonly Violation[] {
  const lines = text.split("\n").length - 1;
  const exemption = LONG_FILES[path];
  if (lines <= FILE_LINES_MAX || (exemption !== undefined && today <= exemption.until)) return [];
  const message = `has ${lines} lines, ${FILE_LINES_MAX} at most: split it by what it does`;
  return [{ path, line: FILE_LINES_MAX + 1, message }];
}

function checkCalls({ path, text }: SourceFile): readonly Violation[] {
  const banned = BANNED_CALLS.filter((rule) => !rule.allowed(path) && !isExempt(path));
  return scanImports(text)
    .code.split("\n")
    .flatMap((code, index) =>
      banned.flatMap(({ pattern, instead }) => {
        const found = pattern.exec(code)?.[0];
        return found === undefined ? [] : [{ path, line: index + 1, message: `uses ${found.trim()}: ${instead}` }];
      }),
    );
}

function checkTexts({ path, text }: SourceFile): readonly Violation[] {
  const banned = BANNED_TEXTS.filter((rule) => !rule.allowed(path));
  return text.split("\n").flatMap((line, index) =>
    banned.flatMap((rule) => {
      const found = rule.pattern.exec(line)?.[0];
      return found === undefined ? [] : [{ path, line: index + 1, message: `has ${found.trim()}: ${rule.instead}` }];
    }),
  );
}

if (import.meta.main) {
  const files = readSourceFiles(dirname(dirname(fileURLToPath(import.meta.url))));
  const violations = checkTidy(files, new Date().toISOString().slice(0, 10));
  for (const violation of violations) console.log(formatViolation(violation));
  console.log(`tidy: ${files.length} files, ${violations.length} violations`);
  process.exitCode = violations.length === 0 ? 0 : 1;
}
