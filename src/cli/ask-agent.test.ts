import { expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AppError } from "../model/error.ts";
import { AgentState } from "../agent/agent-state.ts";
import { createLocalSocketPart } from "../agent/local-socket-part.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import { BunUnixListener } from "../platform/http/bun-unix-listener.ts";
import { recordingLog } from "../sim/agent-fixtures.ts";
import { runTestCli } from "./test-cli.fixture.ts";

/** An agent's socket that answers what the test says. */
async function withAgent(
  answers: Readonly<Record<string, (fields: object) => unknown>>,
  body: (path: string, state: AgentState) => Promise<void>,
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "apollo-agent-"));
  const path = join(directory, "agent.sock");
  const [clock, log, state] = [systemClock, recordingLog(), new AgentState()];
  for (const [kind, answer] of Object.entries(answers)) {
    state.queries.register(kind, (fields) => Promise.resolve(fields).then(answer));
  }
  // What a killed agent left behind.
  writeFileSync(path, "");
  const abort = new AbortController();
  const listener = new BunUnixListener({ clock, log });
  const running = createLocalSocketPart({ state, listener, clock, log, path }).run(abort.signal);
  try {
    await listening(path);
    await body(path, state);
  } finally {
    abort.abort();
    await running;
    // Who asks an agent that has ended is to know at once.
    expect(existsSync(path)).toBe(false);
    rmSync(directory, { recursive: true });
  }
}

async function listening(path: string): Promise<void> {
  const endMs = performance.now() + 10_000;
  while (statSync(path, { throwIfNoEntry: false })?.isSocket() !== true) {
    if (performance.now() > endMs) throw new Error("Nobody listens after 10 s");
    await Bun.sleep(5);
  }
}

test("apollo net attach asks this machine's agent and prints what it says", async () => {
  const asked: object[] = [];
  const attach = (fields: object): object => {
    asked.push(fields);
    return { what: "db", address: "10.2.1.130", name: "db", network: "apollo", device: "vethat1" };
  };
  await withAgent({ attach }, async (path) => {
    const env = { APOLLO_AGENT_SOCKET: path };
    expect(await runTestCli(["net", "attach", "db"], { env })).toEqual({ code: 0, out: "10.2.1.130\n", err: "" });
    const json = await runTestCli(["net", "attach", "db", "--address", "10.2.1.9", "--no-multicast-route", "--json"], {
      env,
    });
    expect(JSON.parse(json.out)).toMatchObject({ address: "10.2.1.130" });
    expect(asked).toEqual([
      { target: "db", multicast: true },
      { target: "db", address: "10.2.1.9", multicast: false },
    ]);
  });
});

test("what the agent refuses, and that there is none, are errors with the next step", async () => {
  const detach = (): never => {
    throw new AppError("not-found", 'Cannot detach "db": it is not attached', { hint: "apollo net attachments" });
  };
  await withAgent({ detach }, async (path) => {
    const refused = await runTestCli(["net", "detach", "db"], { env: { APOLLO_AGENT_SOCKET: path } });
    expect(refused).toMatchObject({ code: 3, err: expect.stringContaining("apollo net attachments") });
    const unknown = await runTestCli(["net", "hide"], { env: { APOLLO_AGENT_SOCKET: path } });
    expect(unknown).toMatchObject({ code: 3, err: expect.stringContaining("it knows no such question") });
    const bad = await fetch("http://agent/query", { unix: path, method: "POST", body: "{" });
    expect([bad.status, await bad.json()]).toMatchObject([422, { ok: false, code: "invalid" }]);
    const large = await fetch("http://agent/query", { unix: path, method: "POST", body: "x".repeat(2_000_000) });
    expect([large.status, await large.json()]).toMatchObject([422, { ok: false, code: "invalid" }]);
    expect((await fetch("http://agent/other", { unix: path })).status).toBe(404);
  });
  const none = await runTestCli(["net", "attachments"], { env: { APOLLO_AGENT_SOCKET: "/nowhere/agent.sock" } });
  expect(none).toMatchObject({ code: 5, err: expect.stringContaining("systemctl start apollo-agent") });
});

test("apollo net attachments shows a table", async () => {
  const attachments = (): object => ({
    attachments: [{ what: "db", address: "10.2.1.130", name: null, network: "apollo", device: null }],
    // An older agent says nothing of the second family.
    exposures: [{ address: "10.2.1.131", address6: "fd00::131", name: "legacy" }],
  });
  await withAgent({ attachments }, async (path) => {
    const { out } = await runTestCli(["net", "attachments"], { env: { APOLLO_AGENT_SOCKET: path } });
    expect(out).toBe(
      [
        "WHAT         ADDRESS     IPV6       NAME    NETWORK  DEVICE",
        "db           10.2.1.130  -          -       apollo   waits for its container",
        "(this host)  10.2.1.131  fd00::131  legacy  -        lo",
        "",
      ].join("\n"),
    );
  });
});
