import { describe, expect, test } from "bun:test";
import type { HostCheck } from "../../model/host-check.ts";
import type { CheckAnswer, CheckRunner } from "../../platform/ports/check-runner.ts";
import { SeededRandom } from "../../sim/seeded-random.ts";
import { SimProcess } from "../../sim/sim-process.ts";
import { VirtualClock } from "../../sim/virtual-clock.ts";
import { HostChecks } from "./host-checks.ts";
import { LocalHealth } from "./local-health.ts";

const GOOD: CheckAnswer = { status: "passing", output: "ok" };
const BAD: CheckAnswer = { status: "critical", output: "no" };

/** Targets answer after `latencyMs`, which is read by a process that may stand still; later than the time-out is a failure. */
class World {
  readonly clock = new VirtualClock();
  readonly process = new SimProcess(this.clock);
  readonly local = new LocalHealth(this.process.clock);
  readonly told: string[] = [];
  readonly asked: number[] = [];
  answer: CheckAnswer = GOOD;
  latencyMs = 10;
  readonly checks: HostChecks;
  readonly #end = new AbortController();

  constructor() {
    const { clock } = this.process;
    const runner: CheckRunner = {
      run: async (_, { timeoutMs, signal }) => {
        this.asked.push(this.clock.monotonicMs());
        const startedMs = clock.monotonicMs();
        await clock.sleep(Math.min(this.latencyMs, timeoutMs), signal);
        return clock.monotonicMs() - startedMs >= timeoutMs ? { status: "critical", output: "time-out" } : this.answer;
      },
    };
    this.checks = new HostChecks({
      clock,
      random: new SeededRandom(1),
      runner,
      local: this.local,
      onResult: (id, result) =>
        this.told.push(result === null ? `${id} ended` : `${id} ${result.status} ${result.output}`),
    });
    void this.local.run(this.#end.signal);
  }

  async close(): Promise<void> {
    this.#end.abort();
    const closed = this.checks.close();
    await this.clock.settle(closed);
    expect(this.clock.pending).toBe(0);
  }
}

function check(change: Record<string, unknown> = {}): HostCheck {
  const definition = { TCP: "10.0.0.1:80", Interval: "10s", Timeout: "1s", ...change };
  return { id: "web", type: "tcp", definition, status: "critical" };
}

describe("HostChecks", () => {
  test("tries a new check within a second, then at its interval, and tells only what changes", async () => {
    const world = new World();
    world.checks.set([check()]);
    await world.clock.advance(1100);
    expect(world.told).toEqual(["web passing ok"]);
    await world.clock.advance(50_000);
    expect(world.told).toHaveLength(1);
    expect(world.asked).toHaveLength(6);
    world.answer = BAD;
    await world.clock.advance(10_000);
    expect(world.told.at(-1)).toBe("web critical no");
    await world.close();
  });

  test("holds back other words for the same status", async () => {
    const world = new World();
    world.checks.set([check()]);
    await world.clock.advance(2000);
    for (let at = 0; at < 29; at += 1) {
      world.answer = { ...GOOD, output: `ok ${at}` };
      await world.clock.advance(10_000);
    }
    expect(world.told).toHaveLength(1);
    await world.clock.advance(20_000);
    expect(world.told).toHaveLength(2);
    await world.close();
  });

  test("a check that is defined anew starts anew, one that did not change runs on, one that is gone ends", async () => {
    const world = new World();
    world.checks.set([check()]);
    await world.clock.advance(2000);
    const before = world.asked.length;
    world.checks.set([{ ...check(), status: "passing" }]);
    await world.clock.advance(2000);
    expect(world.asked).toHaveLength(before);
    world.checks.set([check({ TCP: "10.0.0.1:81" })]);
    await world.clock.advance(2000);
    expect(world.asked).toHaveLength(before + 1);
    world.checks.set([]);
    expect(world.told.at(-1)).toBe("web ended");
    await world.clock.advance(60_000);
    expect(world.asked).toHaveLength(before + 1);
    await world.close();
  });

  test("one that cannot be run says why", async () => {
    const world = new World();
    world.checks.set([check({ TCP: "nowhere" })]);
    expect(world.told).toEqual(['web critical Cannot run the check: "nowhere" is not HOST:PORT']);
    await world.close();
  });

  test("a process that stands still condemns nobody: it tries again, and waits longer the next time", async () => {
    const world = new World();
    world.checks.set([check()]);
    await world.clock.advance(2000);
    for (let at = 0; at < 60; at += 1) {
      world.process.pause(1500);
      await world.clock.advance(3000);
    }
    expect(world.told).toEqual(["web passing ok"]);
    expect(world.local.sample().score).toBeGreaterThan(0);
    await world.close();
  });

  test("what is really dead is found on a starved host as well", async () => {
    const world = new World();
    world.checks.set([check()]);
    await world.clock.advance(2000);
    world.answer = BAD;
    for (let at = 0; at < 20; at += 1) {
      world.process.pause(1500);
      await world.clock.advance(1600);
    }
    expect(world.told.at(-1)).toBe("web critical no");
    await world.close();
  });
});

test("a check that is told lives as long as it is told, and keeps its last words", async () => {
  const world = new World();
  world.checks.set([{ id: "ttl", type: "ttl", definition: { TTL: "10s" }, status: "critical" }]);
  for (let at = 0; at < 5; at += 1) {
    world.checks.report({ id: "ttl", status: "passing", output: "well" });
    await world.clock.advance(8000);
  }
  expect(world.told).toEqual(["ttl critical ", "ttl passing well"]);
  await world.clock.advance(3000);
  expect(world.told.at(-1)).toBe("ttl critical TTL expired (last output before timeout follows): well");
  expect(world.asked).toEqual([]);
  await world.close();
});

describe("LocalHealth", () => {
  test("is well on a machine that serves it, and recovers", async () => {
    const world = new World();
    await world.clock.advance(5000);
    expect(world.local.sample()).toEqual({ lagMs: 0, score: 0 });
    expect(world.local.stretch(1000)).toBe(1000);
    world.process.pause(1000);
    await world.clock.advance(1500);
    const { lagMs, score } = world.local.sample();
    expect(lagMs).toBeGreaterThanOrEqual(900);
    expect(score).toBe(4);
    expect(world.local.stretch(1000)).toBe(1000 + 2 * lagMs);
    await world.clock.advance(11_000);
    expect(world.local.sample()).toEqual({ lagMs: 0, score: 0 });
    await world.close();
  });

  test("knows whether a stall fell into a time", async () => {
    const world = new World();
    await world.clock.advance(1000);
    world.process.pause(500);
    await world.clock.advance(700);
    const nowMs = world.clock.monotonicMs();
    expect(world.local.stalledSince(nowMs - 1000)).toBe(true);
    await world.clock.advance(1000);
    expect(world.local.stalledSince(nowMs)).toBe(false);
    await world.close();
  });
});
