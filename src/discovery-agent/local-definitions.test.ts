import { expect, test } from "bun:test";
import { recordingLog } from "../sim/agent-fixtures.ts";
import { MemoryFile } from "../sim/memory-file.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import { type LocalApi, registerDefinitions } from "./local-definitions.ts";

function world() {
  const clock = new VirtualClock();
  const log = recordingLog();
  const file = new MemoryFile("/data/definitions.json", clock);
  const calls: string[] = [];
  const api: LocalApi = (_, path) => {
    calls.push(path);
    return Promise.resolve({ status: 200, text: "" });
  };
  const state = { ended: false };
  const end = new AbortController();
  const start = (...names: readonly string[]): void => {
    state.ended = false;
    const services = names.map((name) => ({ name }));
    const running = registerDefinitions({ services, checks: [] }, { api, file, clock, log }, end.signal);
    void running.then(() => (state.ended = true)).catch((error: unknown) => clock.fail(error));
  };
  return { clock, log, file, calls, state, end, start };
}

test("what is in no file any more is taken away, and nothing is written when nothing changed", async () => {
  const { clock, file, calls, state, start } = world();
  start("web", "db");
  await clock.advanceUntil("the first to be registered", () => state.ended);
  start("web");
  await clock.advanceUntil("the second to be registered", () => state.ended);
  expect(calls).toEqual([
    "/v1/agent/service/register",
    "/v1/agent/service/register",
    "/v1/agent/service/deregister/db",
    "/v1/agent/service/register",
  ]);
  expect(JSON.parse(file.text ?? "")).toEqual({ services: ["web"], checks: [] });
  const { writes } = file;
  start("web");
  await clock.advanceUntil("the third to be registered", () => state.ended);
  expect(file.writes).toBe(writes);
});

test("a full disk keeps nothing from being registered, and is written when it has room", async () => {
  const { clock, log, file, calls, state, start } = world();
  file.full = true;
  start("web");
  await clock.advance(5000);
  expect(calls).toEqual(["/v1/agent/service/register"]);
  expect(log.lines).toContain('warn Cannot write "/data/definitions.json": no space left on device');
  expect(state.ended).toBe(false);
  file.full = false;
  await clock.advanceUntil("the note", () => state.ended);
  expect(JSON.parse(file.text ?? "")).toEqual({ services: ["web"], checks: [] });
});

test("an end does not wait for room on a full disk", async () => {
  const { clock, file, state, end, start } = world();
  file.full = true;
  start("web");
  await clock.advance(2000);
  end.abort();
  await clock.advanceUntil("the end", () => state.ended);
  expect(file.text).toBeNull();
});
