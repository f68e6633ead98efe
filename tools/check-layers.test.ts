import { expect, test } from "bun:test";
import { checkLayers, roomOf } from "./check-layers.ts";

/** Files by path, each with its imports; those that nothing reaches are imported by a test that stands for all entries. */
function check(files: Readonly<Record<string, readonly string[]>>, reach = true): readonly string[] {
  const list = Object.entries(files).map(([path, imports]) => ({
    path,
    text: `${imports.map((specifier) => `import { x } from "${specifier}";`).join("\n")}\nuse(x);\n`,
  }));
  const all = Object.keys(files).map((path) => `import "../${path}";`);
  const entry = { path: "test/all.test.ts", text: `${all.join("\n")}\n` };
  return checkLayers(reach ? [...list, entry] : list).map(({ path, line, message }) => `${path}:${line} ${message}`);
}

const allowed: readonly (readonly [string, string])[] = [
  ["src/network/a.ts", "../model/ip.ts"],
  ["src/network/a.ts", "../platform/ports/clock.ts"],
  ["src/discovery/a.ts", "../network/b.ts"],
  ["src/ingress/a.ts", "../discovery/b.ts"],
  ["src/topology/a.ts", "../discovery/b.ts"],
  ["src/api/marathon/a.ts", "../../scheduling/b.ts"],
  ["src/api/marathon/a.ts", "../read-json.ts"],
  ["src/platform/linux/a.ts", "../ports/runner.ts"],
  ["src/platform/linux/a.ts", "./b.ts"],
  ["src/platform/loop/a.ts", "../ports/clock.ts"],
  ["src/agent/a.ts", "../platform/loop/b.ts"],
  ["src/agent/a.ts", "../network/b.ts"],
  ["src/server/main.ts", "../platform/sqlite/b.ts"],
  ["src/sim/a.ts", "../agent/b.ts"],
  ["src/cli/up-command.ts", "../agent/main.ts"],
  ["src/console/a.tsx", "../api/native/shapes.ts"],
  ["src/cli/version.ts", "../../package.json"],
  ["src/network/a.test.ts", "../sim/fake.ts"],
  ["src/network/a.fixture.ts", "../sim/fake.ts"],
];
for (const [from, specifier] of allowed) {
  test(`checkLayers() lets ${from} import ${specifier}`, () => {
    const target = new URL(specifier, `file:///${from}`).pathname.slice(1);
    expect(check({ [from]: [specifier], [target]: [] })).toEqual([]);
  });
}

const refused: readonly (readonly [string, string, string])[] = [
  ["src/model/a.ts", "../network/b.ts", "model imports nothing of ours, instead move the noun into model"],
  ["src/model/a.ts", "../platform/ports/clock.ts", "model imports nothing of ours"],
  ["src/network/a.ts", "../discovery/b.ts", "network may import model, platform/ports, instead take it as a value"],
  ["src/discovery/a.ts", "../ingress/b.ts", "discovery may import model, platform/ports and network"],
  ["src/network/a.ts", "../platform/linux/b.ts", "network may import model, platform/ports"],
  ["src/scheduling/a.ts", "../platform/loop/b.ts", "scheduling may import model, platform/ports"],
  ["src/api/native/a.ts", "../../server/b.ts", "api may import model, platform/ports and the capabilities"],
  ["src/platform/linux/a.ts", "../docker/b.ts", "platform/linux may import model and platform/ports"],
  ["src/platform/linux/a.ts", "../loop/b.ts", "platform/linux may import model and platform/ports"],
  ["src/platform/docker/a.ts", "../../network/b.ts", "platform/docker may import model and platform/ports"],
  ["src/platform/ports/a.ts", "../../network/b.ts", "ports may import model"],
  ["src/agent/a.ts", "../server/b.ts", "agent may not import the program server"],
  ["src/server/a.ts", "../cli/b.ts", "server may not import the program cli"],
  ["src/cli/a.ts", "../agent/network-part.ts", "cli may not import the program agent"],
  ["src/agent/a.ts", "../sim/fake.ts", "only tests use the simulator's fakes, instead depend on the port"],
  [
    "src/agent/a.ts",
    "../network/b.fixture.ts",
    "that is for tests, instead move what both need into a file of its own",
  ],
  ["src/console/a.tsx", "../server/b.ts", "console may import model and the shapes of api"],
  ["src/console/a.tsx", "../scheduling/b.ts", "console may import model and the shapes of api"],
  ["src/agent/a.ts", "../../tools/b.ts", "src imports nothing from outside it"],
];
for (const [from, specifier, message] of refused) {
  test(`checkLayers() refuses ${specifier} in ${from}`, () => {
    const target = new URL(specifier, `file:///${from}`).pathname.slice(1);
    const violations = check({ [from]: [specifier], [target]: [] });
    expect(violations).toHaveLength(1);
    expect(violations[0]).toStartWith(`${from}:1 imports ${target}: ${message}`);
  });
}

test("checkLayers() keeps runtimes out of pure rooms", () => {
  expect(
    check({ "src/model/a.ts": ["zod"], "src/agent/b.ts": ["node:fs"], "src/network/c.test.ts": ["bun:test"] }),
  ).toEqual([]);
  expect(check({ "src/network/a.ts": ["node:crypto"] })).toEqual([
    "src/network/a.ts:1 imports node:crypto: network knows no runtime and only zod, dns-packet, instead use a port",
  ]);
});

test("checkLayers() names a ring once, with its way round", () => {
  const ring = { "src/network/a.ts": ["./b.ts"], "src/network/b.ts": ["./c.ts"], "src/network/c.ts": ["./a.ts"] };
  expect(check(ring)).toEqual([
    "src/network/c.ts:1 imports src/network/a.ts: a ring of src/network/a.ts → src/network/b.ts → src/network/c.ts → " +
      "src/network/a.ts, instead move what both need into a third file",
  ]);
});

test("checkLayers() finds what no entry reaches", () => {
  const files = {
    "src/cli/main.ts": ["./used.ts"],
    "src/cli/used.ts": [],
    "src/cli/dead.ts": ["./only-from-dead.ts"],
    "src/cli/only-from-dead.ts": [],
    "src/cli/assets.d.ts": [],
    "bench/main.ts": ["./load.ts"],
    "bench/load.ts": [],
    "test/netns/started-by-its-path.ts": [],
  };
  expect(check(files, false)).toEqual(
    ["src/cli/dead.ts", "src/cli/only-from-dead.ts"].map(
      (path) => `${path}:1 is not reached from any main, test, tool or bench: remove it or use it`,
    ),
  );
});

test("checkLayers() refuses a barrel", () => {
  const files = [
    { path: "src/cli/main.ts", text: 'import "./all.ts"; run();' },
    { path: "src/cli/all.ts", text: 'export * from "./a.ts";\n' },
    { path: "src/cli/a.ts", text: "export const a = 1;\n" },
  ];
  expect(checkLayers(files)).toMatchObject([{ path: "src/cli/all.ts", line: 1 }]);
});

test("roomOf() is a folder of src, or two of platform", () => {
  expect(["src/model/ip.ts", "src/platform/linux/a.ts", "src/api/v1/a.ts", "test/a.ts"].map(roomOf)).toEqual([
    "model",
    "platform/linux",
    "api",
    null,
  ]);
});
