import { expect, test } from "bun:test";
import fc from "fast-check";
import type { HostId } from "../../model/ids.ts";
import { probeIntervalMs } from "./link-monitor.ts";
import type { Packet } from "./link-world.fixture.ts";
import { LinkWorld } from "./link-world.fixture.ts";

const LADDER = ["direct", "vxlan"] as const;

function between(packet: Packet, a: number, b: number): boolean {
  return (packet.from === a && packet.to === b) || (packet.from === b && packet.to === a);
}

function newWorld(count: number, latencyMs?: (from: number, to: number) => number): LinkWorld {
  const world = new LinkWorld(count, LADDER, latencyMs);
  world.run(5000);
  return world;
}

const up = (world: LinkWorld, from: number, to: number): boolean | null =>
  world.host(from).monitor.figures(`h${to}` as HostId)?.up ?? null;

test("a network without faults: direct, measured, nothing dropped", () => {
  const world = newWorld(3);
  expect([world.mode(0, 1), up(world, 0, 1)]).toEqual(["direct", true]);
  expect(world.host(0).facts.get(1)).toEqual({ pathMtu: 1500, skip: 0, testing: null, relay: null, cause: null });
  for (const { monitor } of world.hosts) expect([...monitor.dropped]).toEqual([]);
});

test("an outage is known within 3.5 s and its end within 2.5 s", () => {
  const world = newWorld(2);
  world.carries = () => false;
  expect(world.runUntil(() => up(world, 0, 1) === false, 10_000)).toBeLessThanOrEqual(3500);
  world.run(20_000);
  world.carries = () => true;
  expect(world.runUntil(() => up(world, 0, 1) === true, 10_000)).toBeLessThanOrEqual(2500);
});

test("container addresses are filtered: vxlan on both sides, tested again with growing pauses, direct again after", () => {
  const world = newWorld(3);
  let tests = 0;
  world.carries = (packet) => {
    if (packet.over === "direct" && between(packet, 0, 1)) {
      tests += 1;
      return false;
    }
    return true;
  };
  const both = (mode: string) => (): boolean => world.mode(0, 1) === mode && world.mode(1, 0) === mode;
  expect(world.runUntil(both("vxlan"), 20_000)).toBeLessThan(6000);
  world.run(4000);
  expect(up(world, 0, 1)).toBe(true);
  expect(world.host(0).facts.get(1)).toMatchObject({ skip: 1, testing: "direct" });
  expect(world.mode(0, 2)).toBe("direct");
  tests = 0;
  world.run(600_000);
  expect(both("vxlan")()).toBe(true);
  // Pauses of 10, 20, 40 … 300 s, both sides together: some eight bursts of three each, and not one a second.
  expect(tests).toBeGreaterThan(6);
  expect(tests).toBeLessThan(80);
  world.carries = () => true;
  expect(world.runUntil(both("direct"), 400_000)).toBeLessThan(310_000);
  world.run(30_000);
  expect(both("direct")()).toBe(true);
  expect(world.host(0).facts.get(1)?.cause).toBeNull();
});

test("an agent that is away changes no mode: its kernel forwards without it", () => {
  const world = newWorld(3);
  world.host(1).alive = false;
  world.run(300_000);
  expect(world.mode(0, 1)).toBe("direct");
  world.host(1).alive = true;
  world.run(10_000);
  expect([world.mode(0, 1), world.mode(1, 0), up(world, 0, 1), up(world, 1, 0)]).toEqual([
    "direct",
    "direct",
    true,
    true,
  ]);
});

test("cut in one direction only: both take the same nearest relay, leave it when it dies, and go back within 10 s", () => {
  // Host 3 is nearer than 2.
  const world = newWorld(4, (from, to) => (from === 2 || to === 2 ? 40 : 1));
  world.run(5000);
  const cut = (packet: Packet): boolean => !(packet.from === 0 && packet.to === 1);
  world.carries = cut;
  const both = (mode: string) => (): boolean => world.mode(0, 1) === mode && world.mode(1, 0) === mode;
  expect(world.runUntil(both("relay:3"), 20_000)).toBeLessThan(6000);
  world.run(60_000);
  expect(both("relay:3")()).toBe(true);
  world.carries = (packet) => cut(packet) && packet.from !== 3 && packet.to !== 3;
  expect(world.runUntil(both("relay:2"), 60_000)).toBeLessThan(30_000);
  world.carries = () => true;
  expect(world.runUntil(both("direct"), 60_000)).toBeLessThan(10_000);
});

test("an agent that is away changes no relay, either: the others have not answered for it since", () => {
  const world = newWorld(5, (from, to) => (from === 2 || to === 2 ? 40 : 1));
  world.carries = (packet) => !between(packet, 0, 1);
  expect(world.runUntil(() => world.mode(0, 1) === "relay:3" && world.mode(1, 0) === "relay:3", 20_000)).toBeLessThan(
    20_000,
  );
  world.run(60_000);
  world.host(1).alive = false;
  for (let second = 0; second < 60; second += 1) {
    world.run(1000);
    expect([second, world.mode(0, 1)]).toEqual([second, "relay:3"]);
  }
});

test("a path that becomes narrower without a word is measured anew, and the mode stays", () => {
  const world = newWorld(2);
  world.carries = ({ bytes, over }) => over !== "underlay" || bytes <= 1372;
  const found = (): number | null | undefined => world.host(0).facts.get(1)?.pathMtu;
  expect(world.runUntil(() => found() === 1372, 60_000)).toBeLessThan(25_000);
  expect(world.mode(0, 1)).toBe("direct");
});

test("loss of one packet in five makes no link change its mode", () => {
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      const world = newWorld(3);
      let state = seed >>> 0;
      world.carries = () => {
        // A linear congruential generator (Numerical Recipes): the same losses for the same seed.
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
        return state / 2 ** 32 > 0.2;
      };
      world.run(3000);
      world.carries = () => true;
      world.run(30_000);
      expect([world.mode(0, 1), world.mode(1, 2), up(world, 0, 1)]).toEqual(["direct", "direct", true]);
    }),
    { numRuns: 25 },
  );
});

test("any faults, then none: every pair is direct again and answers", () => {
  const fault = fc.record({
    from: fc.nat({ max: 3 }),
    to: fc.nat({ max: 3 }),
    over: fc.constantFrom("underlay", "direct", "vxlan", "all"),
    ms: fc.integer({ min: 500, max: 15_000 }),
  });
  fc.assert(
    fc.property(fc.array(fault, { maxLength: 6 }), (faults) => {
      const world = newWorld(4);
      for (const { from, to, over, ms } of faults) {
        world.carries = (packet) =>
          !(packet.from === from && packet.to === to && (over === "all" || over === packet.over));
        world.run(ms);
      }
      world.carries = () => true;
      const whole = (): boolean =>
        [0, 1, 2, 3].every((a) =>
          [0, 1, 2, 3].every((b) => a === b || (world.mode(a, b) === "direct" && up(world, a, b) === true)),
        );
      expect(world.runUntil(whole, 700_000)).toBeLessThan(700_000);
    }),
    { numRuns: 40 },
  );
}, 60_000);

test("probes stay within 200 a second at any number of peers", () => {
  expect([1, 100, 101, 1000].map(probeIntervalMs)).toEqual([1000, 1000, 1010, 10_000]);
  const world = new LinkWorld(1, LADDER);
  expect(world.host(0).monitor.tick(0)).toEqual([]);
});
