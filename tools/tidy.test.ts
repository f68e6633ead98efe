import { expect, test } from "bun:test";
import { checkTidy } from "./tidy.ts";

function check(path: string, text: string): readonly string[] {
  return checkTidy([{ path, text }], "2026-01-01").map(({ line, message }) => `${line} ${message}`);
}

const CORE = "src/agent/a.ts";
const banned: readonly (readonly [string, string])[] = [
  ["const t = Date.now();", "take the time as a value"],
  ["const t = new Date();", "take the time as a value"],
  ["const x = Math.random();", "take chance as a value"],
  ["const id = crypto.randomUUID();", "take chance as a value"],
  ["setTimeout(run, 10);", "wait through Clock.sleep"],
  ["await Bun.sleep(10);", "wait through Clock.sleep"],
  ["console.log(1);", "write to the Log port"],
  ["const f = Bun.file(path);", "use a port"],
  ["process.exit(1);", "take configuration as a value"],
  ["execSync(command);", "run programs by argv"],
  ["await $`ls`;", "run programs by argv"],
  ['import { exec } from "node:child_process";', "it goes through a shell"],
  ['run(["/bin/sh", "-c", text]);', "a shell reads more into a string"],
  ["// TODO tidy up", "name the issue"],
  ['const p = "/home/joe/x";', "no paths of one machine"],
  ['const p = "/home/ann/x";', "no paths of one machine"],
];
for (const [code, instead] of banned) {
  test(`checkTidy() refuses ${code}`, () => {
    const path = code.includes("/bin/sh") ? "src/server/a.ts" : CORE;
    const violations = check(path, `first();\n${code}\n`);
    expect(violations.length).toBeGreaterThan(0);
    expect(violations.join("\n")).toContain(instead);
    expect(violations[0]).toStartWith("2 ");
  });
}

test("checkTidy() lets code be that only looks like it", () => {
  const text = [
    "// Date.now() and console.log() in a comment",
    'const text = "Math.random()";',
    "await engine.exec(id);",
    "const date = new Date(epochMs);",
    "clock.setTimeout(1);",
    "// TODO(#12): later",
    "const url = `https://example.com/home/joe/x`;",
    "const price = `$${cost}`;",
    "interface Engine { exec(id: string): void }",
  ].join("\n");
  expect(check(CORE, text)).toEqual([]);
});

const places: readonly (readonly [string, string])[] = [
  ["src/platform/clock/a.ts", "Date.now(); setTimeout(f); Math.random(); Bun.file(p);"],
  ["src/agent/a.test.ts", "Date.now(); console.log(1);"],
  ["test/netns/a.ts", "await Bun.sleep(1);"],
  ["bench/a.bench.ts", "performance.now();"],
  ["tools/a.ts", "process.exit(1); console.log(1);"],
  ["src/console/a.tsx", "setInterval(f, 1);"],
  ["src/cli/a.ts", "console.log(1); process.env;"],
  ["src/server/main.ts", "process.env; Bun.serve(o);"],
];
for (const [path, text] of places)
  test(`checkTidy() lets ${path} touch the world`, () => expect(check(path, text)).toEqual([]));

test("checkTidy() keeps files short", () => {
  expect(check(CORE, "a();\n".repeat(500))).toEqual([]);
  expect(check(CORE, "a();\n".repeat(501))).toEqual(["501 has 501 lines, 500 at most: split it by what it does"]);
});

test("checkTidy() knows the rooms and asks for names that say something", () => {
  expect(check("src/billing/a.ts", "")).toEqual([
    "1 lies in the unknown room billing: use one of DESIGN's rooms, or name it in tools/tidy.ts",
  ]);
  expect(check("src/platform/redis/a.ts", "")).toHaveLength(1);
  expect(check("src/agent/networkPart.ts", "")).toEqual(["1 has a name that is not kebab-case: rename it"]);
  expect(check("src/agent/utils.ts", "")).toHaveLength(1);
  expect(check("src/agent/index.ts", "")).toHaveLength(1);
  expect(check("src/agent/plan-x.sim.test.ts", "")).toEqual([]);
});
