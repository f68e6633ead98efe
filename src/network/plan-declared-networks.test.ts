import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseIpv4 } from "../model/ip.ts";
import { FakeSegments } from "../sim/fake-segments.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import type { SegmentState } from "../platform/ports/segment-network.ts";
import type { DesiredSegments, SegmentPlan } from "./plan-declared-networks.ts";
import { planDeclaredNetworks } from "./plan-declared-networks.ts";

type Wanted = DesiredSegments["networks"][number];

function network(vni: number, change: Partial<Wanted> = {}): Wanted {
  const range = `10.${vni - 950}.0.0/16`;
  return { name: `n${vni}`, vni, layer2: false, range, policy: "open", internal: false, hosts: [], ...change };
}

const H2 = parseIpv4("10.2.2.1");
const H3 = parseIpv4("10.2.3.1");
const local = parseIpv4("10.2.1.1");

async function look(kernel: FakeSegments, clock: VirtualClock): Promise<SegmentState> {
  return clock.settle(kernel.observe());
}

/** Carries a plan out; returns the plan that was made after it. */
async function settle(desired: DesiredSegments, kernel: FakeSegments, clock: VirtualClock): Promise<SegmentPlan> {
  for (const action of planDeclaredNetworks(desired, await look(kernel, clock)).actions) kernel.applyNow(action);
  return planDeclaredNetworks(desired, await look(kernel, clock));
}

test("a routed network is a bridge with the gateway, a layer-2 one a bridge without address and a port to the others", async () => {
  const clock = new VirtualClock();
  const kernel = new FakeSegments(clock);
  const desired = { local, networks: [network(1000), network(1001, { layer2: true, hosts: [H2, H3] })] };
  const { actions, ready } = await settle(desired, kernel, clock);
  expect(actions).toEqual([]);
  expect(ready.map(({ name }) => name)).toEqual(["n1000", "n1001"]);
  expect(String(kernel).split("\n")).toEqual([
    "apl1000 10.50.0.1/16",
    "apl1001 -",
    "apv1001 1001 10.2.1.1 on apl1001 mtu 1390 to 10.2.2.1 10.2.3.1",
  ]);
  expect(kernel.allowed).toBe(true);
  await settle({ local, networks: [] }, kernel, clock);
  expect([String(kernel), kernel.allowed]).toEqual(["", false]);
});

test("where the host has IPv6, a routed network's bridge has its gateway, and a narrow way leaves segments without", async () => {
  const clock = new VirtualClock();
  const kernel = new FakeSegments(clock);
  const desired = {
    local,
    range6: "fd12:3456:789a::/64",
    networks: [network(1000), network(1001, { layer2: true })],
  };
  const { actions, ready } = await settle(desired, kernel, clock);
  expect(actions).toEqual([]);
  expect(ready.map(({ name, ip6 }) => [name, ip6])).toEqual([
    ["n1000", true],
    ["n1001", true],
  ]);
  expect(String(kernel).split("\n")[0]).toBe("apl1000 10.50.0.1/16 fe80::1/64 fd12:3456:789a::3e8:a32:1/96");
  kernel.upset("apl1000");
  expect((await settle(desired, kernel, clock)).actions).toEqual([]);
  const kept = await settle({ ...desired, range6: null }, kernel, clock);
  expect([kept.actions, kept.ready.map(({ ip6 }) => ip6)]).toEqual([[], [undefined, undefined]]);
  kernel.uplinkMtu = 1380;
  const narrow = await settle(desired, kernel, clock);
  expect(narrow.ready.map(({ ip6 }) => ip6)).toEqual([true, undefined]);
});

test("a number that another network had before gets what the new one needs", async () => {
  const clock = new VirtualClock();
  const kernel = new FakeSegments(clock);
  for (const [change, line] of [
    [{}, "apl1000 10.50.0.1/16"],
    [{ range: "10.77.0.0/16" }, "apl1000 10.77.0.1/16"],
    [{ layer2: true }, "apl1000 -"],
    [{}, "apl1000 10.50.0.1/16"],
  ] as const) {
    const { ready } = await settle({ local, networks: [network(1000, change)] }, kernel, clock);
    expect([ready.length, String(kernel).split("\n")[0]]).toEqual([1, line]);
  }
});

test("a range that the host routes itself is told and left alone, unless it is a layer-2 network's", async () => {
  const clock = new VirtualClock();
  const kernel = new FakeSegments(clock);
  kernel.routes = [{ destination: "10.50.3.0/24", device: "eth1" }];
  const desired = { local, networks: [network(1000), network(1001, { layer2: true, range: "10.50.0.0/16" })] };
  const { ready, conditions } = await settle(desired, kernel, clock);
  expect(ready.map(({ name }) => name)).toEqual(["n1001"]);
  expect(conditions).toMatchObject([
    { code: "network-range-clash", hint: expect.stringContaining("free range such as") },
  ]);
});

test("whatever was there, whatever somebody upset: one pass gets to what is wanted, and the next has nothing to do", async () => {
  const one = fc.record({
    vni: fc.integer({ min: 1000, max: 1004 }),
    hosts: fc.subarray([H2, H3]),
  });
  const world = fc.record({
    local: fc.constantFrom(local, H3),
    range6: fc.constantFrom(null, "fd12:3456:789a::/64"),
    networks: fc.uniqueArray(one, { selector: ({ vni }) => vni }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(world, { minLength: 1, maxLength: 4 }), fc.array(fc.nat(4)), async (worlds, upsets) => {
      const clock = new VirtualClock();
      const kernel = new FakeSegments(clock);
      for (const { local: address, range6, networks } of worlds) {
        // A network keeps its mode for life.
        const desired = {
          local: address,
          range6,
          networks: networks.map(({ vni, hosts }) => network(vni, { layer2: vni % 2 === 1, hosts })),
        };
        for (const at of upsets) for (const kind of ["apl", "apv"]) kernel.upset(`${kind}${1000 + at}`);
        const { actions, ready } = await settle(desired, kernel, clock);
        expect(actions).toEqual([]);
        expect(ready.length).toBe(networks.length);
        expect(String(kernel).split("\n").filter(Boolean).length).toBe(
          networks.reduce((sum, { vni }) => sum + (vni % 2 === 1 ? 2 : 1), 0),
        );
      }
    }),
    { numRuns: 60 },
  );
});
