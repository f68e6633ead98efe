import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { CONSOLE_CSP, ConsoleAssets } from "../../src/server/console-assets.ts";
import { buildConsole } from "../../tools/build-console.ts";

setDefaultTimeout(60_000);
const ROOT = new URL("../../", import.meta.url).pathname;
let assets: ConsoleAssets;

beforeAll(async () => {
  await buildConsole(join(ROOT, "dist/console"));
  assets = await ConsoleAssets.open();
});

function ask(path: string, init: RequestInit = {}): Response {
  const response = assets.respond(new Request(`http://server${path}`, init));
  if (response === null) throw new Error(`No answer for ${path}`);
  return response;
}

/** The names that the page asks for. */
async function namesInPage(): Promise<readonly string[]> {
  const text = await ask("/ui/").text();
  return [...text.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match[1] ?? "");
}

test("respond() serves the page fresh and what it names for ever", async () => {
  const page = ask("/ui/");
  expect([page.status, page.headers.get("content-type"), page.headers.get("cache-control")]).toEqual([
    200,
    "text/html; charset=utf-8",
    "no-cache",
  ]);
  expect(page.headers.get("content-security-policy")).toBe(CONSOLE_CSP);
  expect(page.headers.get("x-content-type-options")).toBe("nosniff");
  const types: Record<string, string | null> = {};
  for (const name of await namesInPage()) {
    const response = ask(`/ui/${name}`);
    expect(response.headers.get("cache-control")).toContain("immutable");
    types[name.split(".").at(-1) ?? ""] = response.headers.get("content-type");
  }
  expect(types).toEqual({
    svg: "image/svg+xml",
    css: "text/css; charset=utf-8",
    js: "text/javascript; charset=utf-8",
  });
});

test("respond() compresses for who can read it, and answers a known etag with 304", async () => {
  const script = (await namesInPage()).find((name) => name.endsWith(".js")) ?? "";
  const plain = ask(`/ui/${script}`);
  const packed = ask(`/ui/${script}`, { headers: { "accept-encoding": "gzip, br" } });
  expect(packed.headers.get("content-encoding")).toBe("gzip");
  const body = new Uint8Array(await packed.arrayBuffer());
  expect(Bun.gunzipSync(body)).toEqual(new Uint8Array(await plain.arrayBuffer()));
  const etag = plain.headers.get("etag") ?? "";
  expect(ask(`/ui/${script}`, { headers: { "if-none-match": etag } }).status).toBe(304);
});

test("respond() leaves other paths alone, redirects the bare one, and lets nobody out of the folder", () => {
  expect(assets.respond(new Request("http://server/api/status"))).toBeNull();
  expect(assets.respond(new Request("http://server/uix"))).toBeNull();
  expect([ask("/ui").status, ask("/ui").headers.get("location")]).toEqual([308, "ui/"]);
  expect(ask("/ui/", { method: "POST" }).status).toBe(405);
  for (const path of [
    "nope.js",
    "..%2f..%2fpackage.json",
    "%2e%2e/package.json",
    "//etc/passwd",
    "bundle.js",
    "constructor",
  ]) {
    const response = assets.respond(new Request(`http://server/ui/${path}`));
    expect([path, response === null || response.status === 404]).toEqual([path, true]);
  }
  expect(assets.find("../console/index.html")).toBeNull();
  expect(assets.find("__proto__")).toBeNull();
});

test("a compiled binary carries the console and serves it from anywhere", async () => {
  const work = await mkdtemp("/tmp/apollo-console-");
  try {
    const program = join(work, "program.ts");
    await Bun.write(
      program,
      `import { ConsoleAssets } from ${JSON.stringify(join(ROOT, "src/server/console-assets.ts"))};
       const assets = await ConsoleAssets.open();
       const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: (request) => assets.respond(request) ?? new Response(null, { status: 404 }) });
       const page = await (await fetch(new URL("/ui", server.url))).text();
       const sizes = await Promise.all([...page.matchAll(/(?:src|href)="([^"]+)"/g)].map(async ([, name]) => {
         const response = await fetch(new URL("/ui/" + name, server.url));
         return response.status + " " + (await response.bytes()).length;
       }));
       console.log(JSON.stringify(sizes));
       await server.stop(true);`,
    );
    const binary = join(work, "program");
    const compile = Bun.spawn([process.execPath, "build", "--compile", program, "--outfile", binary], {
      stdout: "ignore",
      stderr: "pipe",
    });
    expect([await compile.exited, await new Response(compile.stderr).text()]).toEqual([0, ""]);
    // Nothing of the build may be needed: it runs in another place, and the files' sizes are those of this process.
    const run = Bun.spawn([binary], { cwd: "/", stdout: "pipe", env: {} });
    const sizes = await Promise.all(
      (await namesInPage()).map(async (name) => `200 ${(await ask(`/ui/${name}`).bytes()).length}`),
    );
    expect(JSON.parse(await new Response(run.stdout).text())).toEqual(sizes);
    const text = await Bun.file(binary).bytes();
    expect(Buffer.from(text).includes("/$bunfs/")).toBe(true);
  } finally {
    await rm(work, { recursive: true });
  }
});
