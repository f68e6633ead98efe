import { beforeAll, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { z } from "zod";
import { labPaths } from "../../src/lab/lab-paths.ts";
import { REGISTRY } from "../../src/lab/lab-plan.ts";
import { ownBinary } from "../../src/lab/own-binary.ts";
import { runCommand } from "../../src/lab/run-command.ts";
import type { CommandResult } from "../../src/lab/run-command.ts";
import type { RunningInstance, TourWorld } from "../../src/lab/tour-world.ts";
import { clusterUp, deploy, eventually, webApp } from "./cluster.fixture.ts";
import { testLab } from "./test-lab.fixture.ts";

const name = testLab("cli");
const EXIT = { invalid: 2, notFound: 3, conflict: 4, interrupted: 130 };
const whyShape = z.object({
  summary: z.string(),
  code: z.string().nullable(),
  hosts: z.array(z.object({ host: z.string(), reason: z.string() })),
  lastFailure: z.object({ message: z.string(), host: z.string() }).nullable(),
});
let world: TourWorld;
let talkers: readonly RunningInstance[];

/** An app that says something at its start and then who asks it. */
const TALKER = webApp("talker", {
  instances: 2,
  cmd: "echo talker is ready; exec httpd -f -vv -p 80 -h /www",
  constraints: [["hostname", "UNIQUE"]],
});

beforeAll(async () => {
  world = await clusterUp(name, 2);
  talkers = await deploy(world, TALKER);
});

function environment(): Readonly<Record<string, string>> {
  return { PATH: process.env["PATH"] ?? "", HOME: "/root", APOLLO_CONFIG: world.lab.adminConfigPath, NO_COLOR: "1" };
}

function apollo(argv: readonly string[], stdin: string | Uint8Array = ""): Promise<CommandResult> {
  return runCommand([ownBinary(), ...argv], { env: environment(), timeoutMs: 30_000, stdin });
}

function fileOf(app: unknown): string {
  const path = `${labPaths(name).dir}/app.json`;
  writeFileSync(path, JSON.stringify(app));
  return path;
}

function marathon(method: string, path: string, body?: unknown): ReturnType<TourWorld["client"]["request"]> {
  return world.client.request(method, path, { login: "basic", ...(body === undefined ? {} : { body }) });
}

function whyOf(app: string): Promise<z.infer<typeof whyShape>> {
  return world.client.cliJson(whyShape, ["why", app]);
}

async function destroy(app: string): Promise<void> {
  expect((await marathon("DELETE", `/v2/apps/${app}?force=true`)).status).toBe(200);
  await eventually(`${app} to be gone`, async () => (await marathon("GET", `/v2/apps/${app}`)).status === 404);
}

test("an app that fits no host is pending, and why names each host with its numbers", async () => {
  expect((await marathon("POST", "/v2/apps", webApp("huge", { cpus: 1000 }))).status).toBe(201);
  await eventually("a reason", async () => (await whyOf("huge")).code === "no-capacity");
  const why = await whyOf("huge");
  expect(why.hosts.map((row) => row.host)).toEqual(["h1", "h2"]);
  for (const { reason } of why.hosts) expect(reason).toMatch(/1000.*cpu|cpu.*1000/i);
  const text = await apollo(["why", "huge"]);
  expect(text.code).toBe(0);
  expect(text.stdout).toContain("1000");
  const { body } = await marathon("GET", "/v2/queue");
  if (body !== null) expect(JSON.stringify(body)).toContain("/huge");
  await destroy("huge");
});

test("an image that is not there is the reason that why gives", async () => {
  const image = `${REGISTRY}/apollo/missing:1`;
  const container = { type: "DOCKER", docker: { image, network: "BRIDGE" } };
  expect((await marathon("POST", "/v2/apps", webApp("missing", { container, healthChecks: [] }))).status).toBe(201);
  await eventually("a failure", async () => (await whyOf("missing")).lastFailure !== null);
  const { lastFailure } = await whyOf("missing");
  expect(lastFailure?.message).toContain(image);
  expect(lastFailure?.message).toMatch(/not found|no such|unknown|not exist/i);
  expect((await apollo(["why", "missing"])).stdout).toContain(image);
  const { body } = await marathon("GET", "/v2/apps/missing");
  const failure = z.object({ app: z.object({ lastTaskFailure: z.object({ message: z.string() }) }) }).parse(body);
  expect(failure.app.lastTaskFailure.message).toContain(image);
  await destroy("missing");
});

test("bad input is refused in the form of the API it came by, with nothing half-done", async () => {
  const taken = await marathon("POST", "/v2/apps", TALKER);
  expect([taken.status, taken.body]).toEqual([409, { message: expect.stringContaining("/talker") }]);
  const create = await apollo(["app", "create", fileOf(TALKER)]);
  expect([create.code, create.stderr]).toEqual([EXIT.conflict, expect.stringContaining("talker")]);

  const slip = await marathon("POST", "/v2/apps", { ...webApp("slip"), instnaces: 2 });
  expect(slip.status).toBe(422);
  expect(JSON.stringify(slip.body)).toContain("instnaces");
  expect(JSON.stringify(slip.body)).toContain("instances");
  expect(slip.body).toEqual({
    message: expect.any(String),
    details: [{ path: expect.any(String), errors: expect.any(Array) }],
  });
  const native = await world.client.request("POST", "/api/apps", { body: { ...webApp("slip"), instnaces: 2 } });
  expect([native.status, native.body]).toEqual([
    422,
    { error: expect.objectContaining({ code: "invalid", fields: [expect.objectContaining({ path: "/instnaces" })] }) },
  ]);
  const slipped = await apollo(["app", "create", fileOf({ ...webApp("slip"), instnaces: 2 })]);
  expect([slipped.code, slipped.stderr]).toEqual([EXIT.invalid, expect.stringContaining('"instances"')]);

  const wrong = await marathon("POST", "/v2/apps", { ...webApp("slip"), cpus: "many" });
  expect([wrong.status, JSON.stringify(wrong.body)]).toEqual([422, expect.stringContaining("/cpus")]);
  const port = { containerPort: 70_000, hostPort: 0 };
  const docker = { image: "x", network: "BRIDGE", portMappings: [port] };
  const range = await marathon("POST", "/v2/apps", { ...webApp("slip"), container: { type: "DOCKER", docker } });
  expect([range.status, JSON.stringify(range.body)]).toEqual([422, expect.stringContaining("containerPort")]);

  const none = await marathon("GET", "/v2/apps/none");
  expect([none.status, none.body]).toEqual([404, { message: expect.stringContaining("/none") }]);
  expect((await marathon("GET", "/v2/apps/slip")).status).toBe(404);
  const anonymous = await world.client.request("GET", "/v2/apps", { login: "none" });
  expect([anonymous.status, anonymous.body]).toEqual([401, expect.objectContaining({ message: expect.any(String) })]);
  expect((await apollo(["app", "show", "none"])).code).toBe(EXIT.notFound);
});

test("a second change of an app while the first is under way is locked out, and force overrides it", async () => {
  const { status } = await marathon("POST", "/v2/apps", webApp("locked", { cpus: 1000 }));
  expect(status).toBe(201);
  const locked = await marathon("PUT", "/v2/apps/locked", { instances: 2 });
  expect([locked.status, locked.body]).toEqual([
    409,
    {
      message: expect.stringContaining("locked by one or more deployments"),
      deployments: [{ id: expect.any(String) }],
    },
  ]);
  expect((await apollo(["app", "scale", "locked", "2"])).code).toBe(EXIT.conflict);
  expect((await marathon("PUT", "/v2/apps/locked?force=true", { cpus: 0.1 })).status).toBe(200);
  await world.settled("locked", 1);
  await destroy("locked");
});

test("logs shows what instances said, and follows them until it is interrupted", async () => {
  const all = await apollo(["logs", "talker"]);
  expect(all.code).toBe(0);
  expect(all.stdout.split("\n").filter((line) => line.endsWith("talker is ready")).length).toBe(2);
  const [one] = talkers;
  if (one === undefined) throw new Error("There are two talkers");
  const alone = await apollo(["logs", "--tail", "1", one.id]);
  expect(alone.code).toBe(0);
  expect((alone.stdout + alone.stderr).trim().split("\n").length).toBeLessThanOrEqual(2);

  const child = spawn(ownBinary(), ["logs", "-f", one.id], { env: environment(), stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (output += text));
  const ended = new Promise<number | null>((resolve) => void child.on("close", resolve));
  try {
    await eventually("what was said before", () => Promise.resolve(output.includes("talker is ready")));
    await world.lab.mustExec("h1", ["curl", "-s", "-m", "5", `http://${one.address}/followed`]);
    await eventually("what is said now", () => Promise.resolve(output.includes("/followed")));
  } finally {
    child.kill("SIGINT");
  }
  expect([0, EXIT.interrupted]).toContain((await ended) ?? -1);
});

test("exec passes the exit code, standard input and both outputs on", async () => {
  const exec = (argv: readonly string[], stdin?: string | Uint8Array): Promise<CommandResult> =>
    apollo(["exec", ...argv], stdin);
  expect((await exec(["talker", "--", "true"])).code).toBe(0);
  const failed = await exec(["talker", "--", "sh", "-c", "echo out; echo err >&2; exit 17"]);
  expect([failed.code, failed.stdout, failed.stderr]).toEqual([17, "out\n", expect.stringContaining("err\n")]);
  expect((await exec(["talker", "--", "no-such-program"])).code).toBeGreaterThan(1);
  const bytes = new Uint8Array(300_000).map((_, index) => (index * 31 + (index >> 8)) & 255);
  const sum = new Bun.CryptoHasher("md5").update(bytes).digest("hex");
  const piped = await exec(["-i", "talker", "--", "busybox", "md5sum"], bytes);
  expect([piped.code, piped.stdout]).toEqual([0, `${sum}  -\n`]);
  expect((await exec(["-i", "talker", "--", "cat"], "through and back")).stdout).toBe("through and back");
  const at = await Promise.all(talkers.map((each) => exec([each.id, "--", "hostname", "-i"])));
  expect(at.map(({ stdout }) => stdout.trim())).toEqual(talkers.map((each) => each.address));
});

test("all that lists is JSON under --json, and completion knows commands and names", async () => {
  const commands = [
    ["host", "list"],
    ["app", "list"],
    ["app", "show", "talker"],
    ["app", "versions", "talker"],
    ["ps"],
    ["service", "list"],
    ["deployment", "list"],
    ["dns", "talker.service.consul"],
    ["why", "talker"],
    ["status"],
    ["version"],
  ];
  for (const argv of commands) {
    const { code, stdout, stderr } = await apollo([...argv, "--json"]);
    expect([argv.join(" "), code, stderr]).toEqual([argv.join(" "), 0, ""]);
    expect(JSON.parse(stdout)).toBeObject();
    const text = await apollo(argv);
    expect([argv.join(" "), text.code]).toEqual([argv.join(" "), 0]);
    expect(text.stdout).not.toContain("\x1b");
  }
  const complete = async (words: readonly string[]): Promise<readonly string[]> => {
    const { stdout } = await apollo(["__complete", "--", ...words]);
    return stdout.split("\n").map((line) => line.split("\t")[0] ?? "");
  };
  expect(await complete(["ag"])).toContain("agent");
  expect(await complete(["agent", "l"])).toContain("leave");
  expect(await complete(["app", "show", "ta"])).toContain("talker");
  expect(await complete(["host", "cordon", ""])).toEqual(expect.arrayContaining(["h1", "h2"]));
  for (const shell of ["bash", "zsh", "fish"]) {
    const { code, stdout } = await apollo(["completion", shell]);
    expect([code, stdout]).toEqual([0, expect.stringContaining("__complete")]);
  }
  const script = (await apollo(["completion", "bash"])).stdout;
  const typed = `${script}\nCOMP_WORDS=(apollo app show ta); COMP_CWORD=3; _apollo; printf '%s\\n' "\${COMPREPLY[@]}"\n`;
  const dir = labPaths(name).dir;
  const env = { ...environment(), PATH: `${dir}:${environment()["PATH"] ?? ""}` };
  expect((await runCommand(["bash", "-s"], { env, stdin: typed })).stdout.trim()).toBe("talker");
});
