/**
 * Who may import whom (docs/architecture.md), and that nothing is dead, circular or a mere collection of re-exports.
 * `bun tools/check-layers.ts` prints each violation with what to do instead; exit code 1 when there is one.
 */
import { dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { scanImports } from "./scan-imports.ts";
import type { SourceFile, Violation } from "./source-files.ts";
import { formatViolation, readSourceFiles } from "./source-files.ts";

export const CAPABILITIES = ["network", "discovery", "scheduling", "ingress", "topology", "cluster"] as const;
export const PROGRAMS = ["agent", "server", "up", "discovery-agent", "cli", "console", "lab", "sim"] as const;
const CAPABILITY_EDGES: Readonly<Record<string, readonly string[]>> = {
  discovery: ["network"],
  ingress: ["discovery"],
  topology: ["discovery"],
};

/** Imports of one program by another; everything else between programs goes through the API. */
const PROGRAM_EXCEPTIONS: readonly { readonly from: string; readonly to: RegExp; readonly why: string }[] = [
  { from: "sim", to: /^src\/(agent|server)\//, why: "it runs them under a virtual clock" },
  {
    from: "cli",
    to: /^src\/(agent|server|up|lab|discovery-agent)\/(main|run-[a-z-]+|[a-z-]+-command|[a-z-]+-config)\.tsx?$/,
    why: "its commands up, server, agent, lab and demo start them by their entry",
  },
  {
    from: "up",
    to: /^src\/(agent|server)\/(main|[a-z-]+-command|[a-z-]+-config)\.tsx?$/,
    why: "it is a server and an agent in one process",
  },
  {
    from: "discovery-agent",
    to: /^src\/(agent|server)\//,
    why: "it is a server and an agent without the parts for containers",
  },
  { from: "cli", to: /^src\/lab\//, why: "the demo tells what the lab does while it does it" },
  { from: "lab", to: /^src\/agent\/agent-config\.tsx?$/, why: "it writes the agents' configuration" },
];

/** Where programs start: what nothing below reaches is dead. */
/** Also what tests and benches start by its path: everything outside `src` is one. */
const ENTRY = /(^|\/)main\.tsx?$|\.test\.tsx?$|\.contract\.ts$|^(tools|bench|test|examples)\//;
/** A fixture is what test files share. */
const TEST = /\.(test|fixture)\.tsx?$|\.contract\.ts$|^test\/|^bench\/|^tools\//;

/** What the binary carries along: its version, the built console, the example of the demo. */
const EMBEDDED = /^package\.json$|^dist\/|^examples\//;

interface Edge {
  readonly from: string;
  readonly to: string;
  readonly line: number;
}

/** All violations in these files, by path and line. Paths are relative to the project's root. */
export function checkLayers(files: readonly SourceFile[]): readonly Violation[] {
  const known = new Set(files.map((file) => file.path));
  const scanned = new Map(files.map((file) => [file.path, scanImports(file.text)]));
  const edges = [...scanned].flatMap(([from, { imports }]) =>
    imports
      .filter(({ specifier }) => specifier.startsWith("."))
      .map(({ specifier, line }): Edge => ({ from, to: normalize(join(dirname(from), specifier)), line })),
  );
  const inside = edges.filter((edge) => known.has(edge.to));
  const barrels = [...scanned]
    .filter(([, { barrel }]) => barrel)
    .map(([path]) => ({
      path,
      line: 1,
      message: "only re-exports: barrels are not used, import from the file itself",
    }));
  return [
    ...edges.flatMap(checkEdge),
    ...[...scanned].flatMap(([path, { imports }]) => imports.flatMap((each) => checkPackage(path, each))),
    ...barrels,
    ...findCycles(inside),
    ...findDead([...known], inside),
  ].toSorted((a, b) => (a.path === b.path ? a.line - b.line : compare(a.path, b.path)));
}

/** "model", "network", "platform/docker", "agent"; null outside src. */
export function roomOf(path: string): string | null {
  const [top, room = "", below = ""] = path.split("/");
  if (top !== "src") return null;
  return room === "platform" ? `platform/${below}` : room;
}

function checkEdge({ from, to, line }: Edge): readonly Violation[] {
  const source = roomOf(from);
  const target = roomOf(to);
  // Tests, benches and tools take what they need: fakes, adapters, several programs at once.
  if (source === null || TEST.test(from)) return [];
  const refuse = (message: string): readonly Violation[] => [
    { path: from, line, message: `imports ${to}: ${message}` },
  ];
  if (source === target && !TEST.test(to)) return [];
  if (target === null) {
    if (EMBEDDED.test(to)) return [];
    return refuse("src imports nothing from outside it, instead move what both need into src");
  }
  if (TEST.test(to)) return refuse("that is for tests, instead move what both need into a file of its own");
  if (target === "sim") return refuse("only tests use the simulator's fakes, instead depend on the port");
  const reason = refuseRoom(source, target, to);
  return reason === null ? [] : refuse(reason);
}

function refuseRoom(source: string, target: string, to: string): string | null {
  const isPort = target === "platform/ports";
  if (source === "model") return "model imports nothing of ours, instead move the noun into model";
  if (isCapability(source)) {
    const edges = CAPABILITY_EDGES[source] ?? [];
    if (target === "model" || isPort || edges.includes(target)) return null;
    const also = edges.length === 0 ? "" : ` and ${edges.join(", ")}`;
    return `${source} may import model, platform/ports${also}, instead take it as a value or through a port`;
  }
  if (source === "api") {
    if (target === "model" || isPort || isCapability(target)) return null;
    return "api may import model, platform/ports and the capabilities, instead let the program pass it in";
  }
  if (source === "console") {
    if (target === "model" || target === "api") return null;
    return "console may import model and the shapes of api, instead ask the server for it";
  }
  if (source === "platform/ports") {
    return target === "model"
      ? null
      : "ports may import model, instead describe what is needed in the port's own words";
  }
  if (source.startsWith("platform/")) {
    if (target === "model" || isPort) return null;
    return `${source} may import model and platform/ports, instead let a main wire adapters together`;
  }
  return refuseProgram(source, target, to);
}

function refuseProgram(source: string, target: string, to: string): string | null {
  if (!isProgram(target)) return null;
  if (PROGRAM_EXCEPTIONS.some((exception) => exception.from === source && exception.to.test(to))) return null;
  return `${source} may not import the program ${target}, instead go through the API or move the shared part into a room below`;
}

/** Pure rooms know no runtime: what they need of the world comes through a port. */
function checkPackage(
  path: string,
  { specifier, line }: { readonly specifier: string; readonly line: number },
): readonly Violation[] {
  const room = roomOf(path);
  if (room === null || TEST.test(path) || specifier.startsWith(".")) return [];
  const pure = room === "model" || room === "platform/ports" || isCapability(room);
  if (!pure || PURE_PACKAGES.has(specifier)) return [];
  const message = `imports ${specifier}: ${room} knows no runtime and only ${[...PURE_PACKAGES].join(", ")}, instead use a port`;
  return [{ path, line, message }];
}

const PURE_PACKAGES: ReadonlySet<string> = new Set(["zod", "dns-packet"]);

/** One violation for each group of files that import each other in a ring, at its first file. */
function findCycles(edges: readonly Edge[]): readonly Violation[] {
  const next = new Map<string, Edge[]>();
  for (const edge of edges) next.set(edge.from, [...(next.get(edge.from) ?? []), edge]);
  const done = new Set<string>();
  const violations: Violation[] = [];
  const walk = (path: string, trail: readonly string[]): void => {
    const at = trail.indexOf(path);
    if (at >= 0) {
      const ring = trail.slice(at);
      const last = ring.at(-1) ?? path;
      const line = next.get(last)?.find((edge) => edge.to === path)?.line ?? 1;
      const message = `imports ${path}: a ring of ${[...ring, path].join(" → ")}, instead move what both need into a third file`;
      violations.push({ path: last, line, message });
      return;
    }
    if (done.has(path)) return;
    for (const edge of next.get(path) ?? []) walk(edge.to, [...trail, path]);
    done.add(path);
  };
  for (const path of [...next.keys()].toSorted()) walk(path, []);
  return violations;
}

/** Types declared for files that are no TypeScript are named by nobody and used by the compiler. */
function findDead(paths: readonly string[], edges: readonly Edge[]): readonly Violation[] {
  const reached = new Set<string>();
  const visit = (path: string): void => {
    if (reached.has(path)) return;
    reached.add(path);
    for (const edge of edges) if (edge.from === path) visit(edge.to);
  };
  for (const path of paths) if (ENTRY.test(path)) visit(path);
  return paths
    .filter((path) => !reached.has(path) && !/\.d\.m?ts$/.test(path))
    .map((path) => ({
      path,
      line: 1,
      message: "is not reached from any main, test, tool or bench: remove it or use it",
    }));
}

function isCapability(room: string): boolean {
  return CAPABILITIES.some((name) => name === room);
}

function isProgram(room: string): boolean {
  return PROGRAMS.some((name) => name === room);
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

if (import.meta.main) {
  const files = readSourceFiles(dirname(dirname(fileURLToPath(import.meta.url))));
  const violations = checkLayers(files);
  for (const violation of violations) console.log(formatViolation(violation));
  console.log(`check-layers: ${files.length} files, ${violations.length} violations`);
  process.exitCode = violations.length === 0 ? 0 : 1;
}
