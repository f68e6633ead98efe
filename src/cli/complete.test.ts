import { expect, test } from "bun:test";
import { complete, formatCompletion, type NameKind } from "./complete.ts";
import { COMPLETION_SCRIPTS } from "./completion-scripts.ts";
import { buildProgram } from "./command-tree.ts";
import { createTestContext, runTestCli } from "./test-cli.fixture.ts";
import { appJson, startTestServer } from "./test-server.fixture.ts";

const NAMES: Readonly<Record<NameKind, readonly string[]>> = {
  app: ["nodejs-rest-api", "shop/web"],
  instance: ["3f2a9c11"],
  host: ["host-1", "host-2"],
  service: ["web"],
  deployment: ["d1"],
  network: [],
  policy: ["db"],
  publication: ["web-80"],
  import: ["postgres"],
  virtual: ["web"],
  key: ["app/", "color"],
  name: ["web.service.consul"],
};
const program = buildProgram(createTestContext());

async function values(line: string): Promise<readonly string[] | "files"> {
  const result = await complete(program, line.split(" "), async (kind) => NAMES[kind]);
  return result === "files" ? result : result.map((candidate) => candidate.value);
}

const CASES: readonly (readonly [string, readonly string[] | "files"])[] = [
  ["ap", ["app"]],
  ["app sc", ["scale"]],
  ["app scale ", ["nodejs-rest-api", "shop/web"]],
  ["app scale s", ["shop/web"]],
  ["app scale shop/web ", []],
  ["app scale --det", ["--detach"]],
  ["app scale --timeout 5m n", ["nodejs-rest-api"]],
  ["app scale --timeout ", []],
  ["app create ", "files"],
  ["--ca ", "files"],
  ["--json app show n", ["nodejs-rest-api"]],
  ["host cordon h", ["host-1", "host-2"]],
  ["logs ", ["nodejs-rest-api", "shop/web", "3f2a9c11"]],
  ["exec -it 3", ["3f2a9c11"]],
  ["service show ", ["web"]],
  ["service unpublish ", ["web-80"]],
  ["service release ", ["web"]],
  ["deployment cancel ", ["d1"]],
  ["kv ", ["get", "put", "delete", "list", "watch", "export", "import"]],
  ["kv get c", ["color"]],
  ["kv import ", "files"],
  ["service maintenance web ", ["on", "off"]],
  ["service deregister ", ["web"]],
  ["dns explain ", ["web.service.consul"]],
  ["dns ", ["lookup", "explain"]],
  ["completion ", ["bash", "zsh", "fish"]],
  ["nonsense ", []],
];
for (const [line, expected] of CASES) {
  test(`complete() of "apollo ${line}"`, async () => {
    expect(await values(line)).toEqual(expected);
  });
}

test("complete() offers every command but the hidden one", async () => {
  const names = await values("");
  for (const name of "demo up server agent host app ps logs exec dns status why service deployment lab version completion".split(
    " ",
  )) {
    expect(names).toContain(name);
  }
  expect(names).not.toContain("__complete");
});

test("formatCompletion() is a line for each value", () => {
  expect(formatCompletion("files")).toBe(":files\n");
  expect(formatCompletion([{ value: "a", description: "b\tc\nd" }])).toBe("a\tb c d\n");
});

test("apollo __complete asks the server for names, and is silent without one", async () => {
  const server = startTestServer({ "GET /api/apps": () => [appJson(), appJson({ id: "/shop/db" })] });
  const env = { APOLLO_SERVER: server.url };
  expect((await runTestCli(["__complete", "--", "app", "show", ""], { env })).out).toBe("web\tapp\nshop/db\tapp\n");
  await server.stop();
  expect(await runTestCli(["__complete", "--", "app", "show", ""], { env })).toEqual({ code: 0, out: "", err: "" });
  expect((await runTestCli(["__complete", "--", "app", "scale", "--det"], { env })).out).toStartWith("--detach\t");
});

test("the bash script completes in bash itself", async () => {
  const main = new URL("main.ts", import.meta.url).pathname;
  const script = `
apollo() { "$BUN" "$MAIN" "$@"; }
${COMPLETION_SCRIPTS.bash}
COMP_WORDS=(apollo app sc); COMP_CWORD=2; _apollo; echo "$\{COMPREPLY[*]}"
COMP_WORDS=(apollo ho); COMP_CWORD=1; _apollo; echo "$\{COMPREPLY[*]}"
COMP_WORDS=(apollo app create ""); COMP_CWORD=3; _apollo; echo "[$\{COMPREPLY[*]}]"
`;
  const child = Bun.spawn(["bash", "--norc", "-s"], {
    stdin: Buffer.from(script),
    env: { PATH: process.env["PATH"], BUN: process.execPath, MAIN: main, HOME: "/nonexistent" },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  expect(err).toBe("");
  expect(out).toBe("scale\nhost\n[]\n");
});
