import { afterAll, beforeAll, expect, test } from "bun:test";
import type { InstanceId } from "../model/ids.ts";
import { parseIpv4 } from "../model/ip.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import { HostCheckRunner } from "../platform/checks/host-check-runner.ts";
import { DockerEngine } from "../platform/docker/docker-engine.ts";
import type { CheckAnswer } from "../platform/ports/check-runner.ts";
import { assign, assignmentOf, joinedState, recordingLog } from "../sim/agent-fixtures.ts";
import { startScratchEngine } from "../sim/scratch-engine.ts";
import type { ScratchEngine } from "../sim/scratch-engine.ts";
import type { AgentState } from "./agent-state.ts";
import { MemoryFile } from "../sim/memory-file.ts";
import { AddressBook } from "./address-book.ts";
import { createContainersPart } from "./containers-part.ts";

const GATEWAY = parseIpv4("10.2.1.1");
const DEADLINE_MS = 30_000;
let scratch: ScratchEngine;
let engine: DockerEngine;

beforeAll(async () => {
  scratch = await startScratchEngine();
  engine = new DockerEngine({ socketPath: scratch.socketPath, clock: systemClock });
  await engine.createNetwork({
    name: "apollo",
    subnet: "10.2.0.0/16",
    ipRange: "10.2.1.0/24",
    gateway: GATEWAY,
    reserved: {
      network: parseIpv4("10.2.1.0"),
      last: parseIpv4("10.2.1.255"),
    },
    options: { "com.docker.network.bridge.name": "apollo0" },
  });
}, 120_000);
afterAll(async () => {
  await scratch.stop();
}, 60_000);

function runPart(state: AgentState): () => Promise<void> {
  const abort = new AbortController();
  const log = recordingLog();
  const file = new MemoryFile("/data/addresses.json", systemClock);
  const part = createContainersPart({
    state,
    engine,
    clock: systemClock,
    log,
    book: new AddressBook({ state, file, clock: systemClock, log }),
    hostAddress: GATEWAY,
    network: {
      gateway: () => GATEWAY,
      engineNetwork: () => ({
        name: "apollo",
        fixedAddresses: true,
      }),
    },
  });
  const running = part.run(abort.signal);
  return async () => {
    abort.abort();
    await running;
  };
}

function idOf(uuid: string): InstanceId {
  return assignmentOf(uuid).instance.id;
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = performance.now() + DEADLINE_MS;
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`Waited ${DEADLINE_MS / 1000} s for ${what}`);
    await Bun.sleep(10);
  }
}

const phase = (state: AgentState, uuid: string): string => state.reports.get(idOf(uuid))?.phase ?? "none";

test("with Docker: start, adopt, fail, survive an engine restart, stop", async () => {
  const state = joinedState();
  state.setConnected(true);
  const spec = { image: scratch.image, stopGraceMs: 0, env: { GREETING: "hello" } };
  const stopFirst = runPart(state);
  assign(state, [
    assignmentOf("a", { spec }),
    assignmentOf("b", { spec }),
    assignmentOf("c", { spec: { ...spec, argv: ["sh", "-c", "echo no config; exit 3"] } }),
  ]);
  await until("a and b", () => phase(state, "a") === "running" && phase(state, "b") === "running");
  await until("c", () => phase(state, "c") === "failed");
  expect(state.reports.get(idOf("c"))).toMatchObject({
    exitCode: 3,
    reason: "The instance exited with code 3. Its last output: no config",
  });
  const container = await engine.inspectContainer(idOf("a"));
  expect(container?.env).toMatchObject({ GREETING: "hello", HOST: "alpha", MARATHON_APP_ID: "/web" });
  expect(state.reports.get(idOf("a"))).toMatchObject({ address: container?.addresses["apollo"] ?? "none" });
  const resolver = await readFile(container?.id ?? "");
  // Docker puts its own resolver between on networks of this kind; it forwards to ours.
  const dns = [
    "docker",
    "--host",
    `unix://${scratch.socketPath}`,
    "inspect",
    "--format",
    "{{.HostConfig.Dns}}",
    idOf("a"),
  ];
  expect((await scratch.run(dns)).trim()).toBe("[10.2.1.1]");
  expect(resolver).toContain("search service.consul");

  // A check of Consul's type "docker" runs in it, by its argv.
  const checks = new HostCheckRunner({ engine, allowsScript: () => true });
  const limits = { timeoutMs: 20_000, outputMax: 4096, signal: new AbortController().signal };
  const inside = (...argv: readonly string[]): Promise<CheckAnswer | null> =>
    checks.run({ kind: "docker", container: container?.id ?? "", argv, declared: false }, limits);
  expect(await inside("sh", "-c", "echo $GREETING")).toEqual({ status: "passing", output: "hello\n" });
  expect((await inside("sh", "-c", "exit 1"))?.status).toBe("warning");
  expect((await inside("sh", "-c", "exit 2"))?.status).toBe("critical");

  await until("the engine to keep them", async () => {
    const kept = await Promise.all(["a", "b"].map((uuid) => engine.inspectContainer(idOf(uuid))));
    return kept.every((each) => each?.restart === "unless-stopped");
  });

  // A process that is killed from outside ends for good, although the engine's policy would restart it.
  await scratch.run(["kill", "-KILL", String((await engine.inspectContainer(idOf("b")))?.pid)]);
  await until("the failure of b", () => phase(state, "b") === "failed");
  expect(state.reports.get(idOf("b"))).toMatchObject({ exitCode: 137 });
  expect((await engine.inspectContainer(idOf("b")))?.state).toBe("exited");
  await stopFirst();

  // Another agent over the same engine finds all as it is.
  state.reports.clear();
  state.reportsKnown = false;
  const stopSecond = runPart(state);
  await until("all reports", () => state.reports.size === 3);
  expect(["a", "b", "c"].map((uuid) => phase(state, uuid))).toEqual(["running", "failed", "failed"]);
  expect((await engine.inspectContainer(idOf("a")))?.startedAtMs).toBe(container?.startedAtMs ?? 0);

  await scratch.restartDaemon();
  await until("a again", async () => {
    const now = await engine.inspectContainer(idOf("a"));
    return now?.state === "running" && (now.startedAtMs ?? 0) > (container?.startedAtMs ?? 0);
  });
  await until("a clean bill", () => state.conditions().length === 0);
  expect(["a", "b", "c"].map((uuid) => phase(state, uuid))).toEqual(["running", "failed", "failed"]);
  expect((await engine.inspectContainer(idOf("a")))?.id).toBe(container?.id ?? "");

  assign(state, [assignmentOf("a", { spec, goal: "stopped" })], [idOf("b"), idOf("c")]);
  await until("an empty engine", async () => (await engine.listContainers()).length === 0);
  await until("gone", () => phase(state, "a") === "gone");
  await stopSecond();
}, 120_000);

async function readFile(containerId: string): Promise<string> {
  let text = "";
  const session = await engine.exec(
    containerId,
    { argv: ["cat", "/etc/resolv.conf"], tty: false, stdin: false },
    (_stream, bytes) => {
      text += new TextDecoder().decode(bytes);
    },
  );
  await session.done;
  return text;
}
