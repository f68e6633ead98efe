import { expect, test } from "bun:test";
import fc from "fast-check";
import { assign, assignmentOf, joinedState, recordingLog } from "../sim/agent-fixtures.ts";
import { MemoryFile } from "../sim/memory-file.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import { AgentState } from "./agent-state.ts";
import { createLastKnownPart, loadLastKnown, parseLastKnown, renderLastKnown } from "./last-known.ts";

function open(): {
  clock: VirtualClock;
  file: MemoryFile;
  state: AgentState;
  log: ReturnType<typeof recordingLog>;
  readonly stop: () => Promise<void>;
} {
  const clock = new VirtualClock();
  const file = new MemoryFile("/data/last-known.json", clock);
  const state = joinedState();
  const log = recordingLog();
  const abort = new AbortController();
  const running = createLastKnownPart({ state, file, clock, log }).run(abort.signal);
  const stop = async (): Promise<void> => {
    abort.abort();
    await clock.advance(1000);
    await running;
    expect(clock.pending).toBe(0);
  };
  return { clock, file, state, log, stop };
}

async function load(
  file: MemoryFile,
  clock: VirtualClock,
  log = recordingLog(),
): Promise<Awaited<ReturnType<typeof loadLastKnown>>> {
  const loading = loadLastKnown(file, log);
  await clock.advance(10);
  return loading;
}

test("a burst of changes is written once, and a new agent starts from it", async () => {
  const { clock, file, state, stop } = open();
  await clock.advance(10);
  for (const uuid of ["a", "b", "c"]) {
    assign(state, [assignmentOf(uuid)]);
    await clock.advance(30);
  }
  state.setHealth(assignmentOf("a").instance.id, {
    instanceId: assignmentOf("a").instance.id,
    containerId: "c1",
    health: "healthy",
    checks: [],
    condemned: false,
  });
  await clock.advance(300);
  expect(file.writes).toBe(1);
  const known = await load(file, clock);
  const next = new AgentState();
  if (known !== null) next.restore(known);
  expect([...next.assignments.values()]).toEqual(["a", "b", "c"].map((uuid) => assignmentOf(uuid)));
  expect(next.identity).toEqual(state.identity);
  expect([...next.health.values()][0]?.health).toBe("healthy");
  await stop();
  expect(file.writes).toBe(1);
});

test("the last change before the end is written, and equal states are not", async () => {
  const { clock, file, state, stop } = open();
  await clock.advance(10);
  state.emit("catalog");
  await clock.advance(1000);
  expect(file.writes).toBe(0);
  assign(state, [assignmentOf("a")]);
  await stop();
  expect(file.text).toContain("instance-a");
});

test("a full disk is a condition until it has room again", async () => {
  const { clock, file, state, log, stop } = open();
  file.full = true;
  assign(state, [assignmentOf("a")]);
  await clock.advance(1000);
  expect(state.conditions()[0]?.code).toBe("state-not-saved");
  file.full = false;
  await clock.advance(1000);
  expect(state.conditions()).toEqual([]);
  expect(file.text).toContain("instance-a");
  expect(log.lines.length).toBeGreaterThan(0);
  await stop();
});

test("a corrupt file is as good as none, with a warning", async () => {
  for (const text of [
    "",
    "{",
    "null",
    "[]",
    '{"form":2}',
    '{"form":1,"identity":null,"assignments":[{}],"endpoints":[],"hosts":[],"peers":[],"revision":0}',
  ]) {
    const clock = new VirtualClock();
    const file = new MemoryFile("/data/last-known.json", clock);
    file.text = text;
    const log = recordingLog();
    expect(await load(file, clock, log)).toBeNull();
    expect(log.lines).toHaveLength(1);
  }
});

test("property: what is rendered is parsed back, and any text gives a value or an Error", () => {
  const state = joinedState();
  assign(state, [assignmentOf("a"), assignmentOf("b", { goal: "draining" })]);
  expect(parseLastKnown(renderLastKnown(state.snapshot()))).toEqual(state.snapshot());
  fc.assert(
    fc.property(fc.oneof(fc.json(), fc.string()), (text) => {
      try {
        parseLastKnown(text);
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
      }
    }),
  );
});
