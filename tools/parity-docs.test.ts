import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { Glob } from "bun";

const ROOT = join(import.meta.dir, "..");
const TESTS = ["src", "test", "tools", "bench"].flatMap((folder) =>
  [...new Glob("**/*.test.{ts,tsx}").scanSync({ cwd: join(ROOT, folder) })].map((path) => `${folder}/${path}`),
);
const UNITS = new Set(TESTS.map((path) => basename(path).replace(/\.test\.tsx?$/, "")));

/** Rows of tables without their headings, as cells. A "|" in code is written as it is there, so it is taken out first. */
function rowsOf(markdown: string): readonly (readonly string[])[] {
  const lines = markdown.split("\n");
  return lines
    .filter(
      (line, at) => line.startsWith("|") && !line.startsWith("|---") && lines[at + 1]?.startsWith("|---") !== true,
    )
    .map((line) =>
      line
        .replaceAll(/`[^`]*`/g, (code) => code.replaceAll("|", "/"))
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}

/** How docs/network-parity.md names tests; null for a name that stands for none. */
function pathOf(name: string): string | null {
  const [suite, rest = ""] = name.split(/\/(.*)/);
  const candidates =
    suite === "netns"
      ? [`test/netns/${rest}.netns.test.ts`]
      : suite === "e2e"
        ? [`test/e2e/${rest}.e2e.test.ts`, `test/e2e/${rest}.long.test.ts`]
        : [];
  return candidates.find((path) => TESTS.includes(path)) ?? null;
}

test("every row of the network's parity has a test that is there, or its reason", () => {
  const rows = rowsOf(readFileSync(join(ROOT, "docs/network-parity.md"), "utf8"));
  expect(rows.length).toBeGreaterThan(100);
  const bare = rows.filter((cells) => cells.at(-1) === "" && !cells.some((cell) => cell.startsWith("*not here")));
  expect(bare).toEqual([]);
  const names = rows.flatMap((cells) => [...(cells.at(-1) ?? "").matchAll(/`([^`]+)`/g)].map(([, name = ""]) => name));
  const missing = names.filter((name) => {
    if (/^(netns|e2e)\//.test(name)) return pathOf(name) === null;
    if (name.startsWith("unit ")) return !UNITS.has(name.slice("unit ".length));
    if (name.startsWith("test/") || name.startsWith("src/")) return !TESTS.some((path) => path.startsWith(name));
    return name !== "tour" && !name.startsWith("npm run ");
  });
  expect(missing).toEqual([]);
});

test("the tests that Consul's parity names by their path are there", () => {
  for (const file of ["docs/consul-parity.md", "docs/consul-dns.md", "docs/marathon-parity.md"]) {
    const text = readFileSync(join(ROOT, file), "utf8");
    const named = [...text.matchAll(/`((?:src|test)\/[^`]+\.test\.tsx?)`/g)].map(([, path = ""]) => path);
    expect(named.filter((path) => !TESTS.includes(path))).toEqual([]);
  }
});
