import { expect, test } from "bun:test";
import { AppError } from "../../model/error.ts";
import { VirtualClock } from "../../sim/virtual-clock.ts";
import { type TraceWorld, runTrace } from "./run-trace.ts";
import { QUESTION, farFacts, nearFacts } from "./trace.fixture.ts";

type Answers = Readonly<Record<string, unknown>>;

/** Hosts that answer by kind of question: an AppError is thrown, "never" is never answered. */
function worldOf(
  clock: VirtualClock,
  answers: Readonly<Record<string, Answers>>,
): TraceWorld & { readonly asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    hosts: Object.keys(answers),
    truth: async () => null,
    clock,
    ask: async (host, { kind }) => {
      asked.push(`${host} ${kind}`);
      const answer = answers[host]?.[kind];
      if (answer === "never") return new Promise(() => undefined);
      if (answer instanceof AppError) throw answer;
      if (answer === undefined) throw new AppError("not-found", `Cannot find host "${host}"`);
      return answer;
    },
  };
}

test("runTrace() asks any agent where FROM is, then that host, then the one at the end", async () => {
  const world = worldOf(new VirtualClock(), {
    h0: { "trace-locate": { host: "h1" } },
    h1: { "trace-near": nearFacts() },
    h2: { "trace-far": farFacts() },
  });
  expect(await runTrace(world, QUESTION, null)).toMatchObject({ ok: true, from: "front" });
  expect(world.asked).toEqual(["h0 trace-locate", "h1 trace-near", "h2 trace-far"]);
});

test("runTrace() starts at the host it is called on, or one that is named, and needs one of both", async () => {
  const answers = { h1: { "trace-near": nearFacts() }, h2: { "trace-far": farFacts() } };
  const own = worldOf(new VirtualClock(), answers);
  expect(await runTrace(own, { ...QUESTION, from: null }, "h1")).toMatchObject({ from: "host:h1", ok: true });
  expect(await runTrace(own, { ...QUESTION, from: "host:h1" }, null)).toMatchObject({ from: "host:h1", ok: true });
  const nobody = await runTrace(own, { ...QUESTION, from: null }, null).catch((error: unknown) => error);
  expect(nobody).toMatchObject({ code: "invalid" });
  expect(await runTrace(own, { ...QUESTION, from: "host:h9" }, null)).toMatchObject({ ok: false, broken: "from" });
});

test("runTrace() gives each host its time, 10 s in all: one that does not answer is the finding", async () => {
  const clock = new VirtualClock();
  const world = worldOf(clock, {
    h1: { "trace-locate": { host: "h1" }, "trace-near": nearFacts() },
    h2: { "trace-far": "never" },
  });
  const slow = runTrace(world, QUESTION, "h1");
  await clock.advance(10_000);
  expect(await slow).toMatchObject({ ok: false, broken: "agent" });
  const silent = runTrace(worldOf(clock, { h1: { "trace-near": "never" } }), { ...QUESTION, from: null }, "h1");
  await clock.advance(10_000);
  expect(await silent).toMatchObject({ ok: false, broken: "from" });
});

test("runTrace() takes an answer of another form for an agent of another version, and FROM that nobody knows for an error", async () => {
  const odd = worldOf(new VirtualClock(), { h1: { "trace-near": { host: 7 } } });
  const report = await runTrace(odd, { ...QUESTION, from: null }, "h1");
  expect(report.steps[0]?.seen).toContain("is it of another version?");
  const unknown = new AppError("not-found", 'Cannot find "front"', { hint: "apollo ps" });
  const error = await runTrace(worldOf(new VirtualClock(), { h1: { "trace-locate": unknown } }), QUESTION, null).catch(
    (thrown: unknown) => thrown,
  );
  expect(error).toMatchObject({ code: "not-found", message: 'Cannot find "front"', hint: "apollo ps" });
});

test("runTrace() looks on the other hosts for a container that has the name and is not on the network", async () => {
  const name = { ...nearFacts().name, addresses: [], code: "NXDOMAIN" };
  const world = worldOf(new VirtualClock(), {
    h1: { "trace-near": nearFacts({ name: { ...name, code: "NXDOMAIN" }, endpoint: null }) },
    h2: { "trace-aside": null },
    h3: { "trace-aside": { container: "db", state: "exited" } },
  });
  const report = await runTrace(world, { ...QUESTION, from: "host:h1" }, null);
  expect(report.steps.find((step) => step.name === "name")?.seen).toBe("container db is exited");
});

test("runTrace() without a server leaves out the other end, which is no finding", async () => {
  const answers = { h1: { "trace-near": nearFacts() } };
  const world = { ...worldOf(new VirtualClock(), answers), alone: true };
  const report = await runTrace(world, { ...QUESTION, from: null }, "h1");
  expect(report.ok).toBe(true);
  expect(report.steps.find((step) => step.name === "agent")).toMatchObject({ state: "skipped", host: "h2" });
});
