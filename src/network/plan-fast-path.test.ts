import { expect, test } from "bun:test";
import fc from "fast-check";
import { formatIpv4, parseIpv4 } from "../model/ip.ts";
import { parseIpv6 } from "../model/ip6.ts";
import type { FastPathAction, FastPathEntry, FastPathState } from "../platform/ports/fast-path.ts";
import { FakeFastPath } from "../sim/fake-fast-path.ts";
import type { DesiredFastPath } from "./plan-fast-path.ts";
import { desireEntries, desireFilters, entryKey, lookUpRoute, planFastPath } from "./plan-fast-path.ts";

const MAC = "02:42:0a:02:01:05";
const GATEWAY_MAC = "0a:71:0a:02:01:01";
const DIRECT = {
  gateway: parseIpv4("10.2.2.1"),
  underlay: parseIpv4("192.0.2.2"),
  blocks: ["10.2.2.0/24"],
  mode: "direct",
  device: "eth0",
  mtu: 1500,
} as const;
const FAR = {
  ...DIRECT,
  gateway: parseIpv4("10.2.3.1"),
  underlay: parseIpv4("198.51.100.3"),
  blocks: ["10.2.3.0/24"],
  mode: "vxlan",
  source: parseIpv4("192.0.2.1"),
  mtu: 1450,
} as const;
const PORT = {
  network: "apollo",
  device: "veth1",
  index: 7,
  mac: MAC,
  addresses: [parseIpv4("10.2.1.5")],
  container: "c1",
};
const WANT: DesiredFastPath = {
  blocks: ["10.2.1.0/24"],
  gatewayMac: GATEWAY_MAC,
  ports: [PORT],
  peers: [DIRECT, FAR],
  slow: [],
  virtual: [],
};
const DEVICES: FastPathState["devices"] = new Map([
  ["eth0", { index: 2, ethernet: true }],
  ["apollo-vx0", { index: 5, ethernet: true }],
  ["veth1", { index: 7, ethernet: true }],
]);
const NOTHING: FastPathState = { entries: [], filters: [], stale: [], devices: DEVICES };

const kindOf = (want: DesiredFastPath, address: string): string | undefined =>
  lookUpRoute(desireEntries(want, DEVICES), parseIpv4(address))?.kind;

test("desireEntries() sends each block its own way, and only those", () => {
  expect(kindOf(WANT, "10.2.1.9")).toBe("local");
  expect(lookUpRoute(desireEntries(WANT, DEVICES), parseIpv4("10.2.2.9"))).toMatchObject({
    kind: "direct",
    ifindex: 2,
    nextHop: DIRECT.underlay,
    mtu: 1500,
  });
  expect(lookUpRoute(desireEntries(WANT, DEVICES), parseIpv4("10.2.3.9"))).toMatchObject({
    kind: "tunnel",
    ifindex: 2,
    nextHop: FAR.gateway,
    mtu: 1450,
    peer: FAR.underlay,
    local: FAR.source,
  });
  expect(kindOf(WANT, "10.2.4.9")).toBeUndefined();
});

test("a peer that is reached by IPv6 has neither entries nor filters: the programs speak IPv4 alone", () => {
  const underlay = parseIpv6("2001:db8::2");
  const want = {
    ...WANT,
    ports: [],
    peers: [
      { ...DIRECT, underlay },
      { ...FAR, underlay, source: parseIpv6("2001:db8::1") },
    ],
  };
  expect([kindOf(want, "10.2.2.9"), kindOf(want, "10.2.3.9")]).toEqual([undefined, undefined]);
  expect(desireFilters(want, DEVICES)).toEqual([]);
});

test("desireEntries() lets a slow address, a slow block and a range around blocks win over the way of the block", () => {
  expect(kindOf({ ...WANT, slow: ["10.2.2.9/32"] }, "10.2.2.9")).toBe("slow");
  expect(kindOf({ ...WANT, slow: ["10.2.2.9/32"] }, "10.2.2.8")).toBe("direct");
  expect(kindOf({ ...WANT, slow: ["10.2.2.0/24"] }, "10.2.2.8")).toBe("slow");
  const all = { ...WANT, slow: ["10.2.0.0/16"] };
  for (const address of ["10.2.1.9", "10.2.2.9", "10.2.3.9", "10.2.77.1"]) expect(kindOf(all, address)).toBe("slow");
  const own = desireEntries({ ...WANT, slow: ["10.2.1.5/32"] }, DEVICES);
  expect(own.filter(({ map }) => map === "sources" || map === "endpoints")).toMatchObject([
    { slow: true },
    { slow: true },
  ]);
  expect(kindOf({ ...WANT, virtual: ["10.2.2.128/25"] }, "10.2.2.200")).toBe("virtual");
});

test("desireFilters() has the uplink open the packets of a tunnel before its device", () => {
  expect(desireFilters({ ...WANT, ports: [], peers: [FAR] }, DEVICES)).toEqual([
    { device: "apollo-vx0", program: "from_tunnel" },
    { device: "eth0", program: "from_uplink" },
  ]);
});

test("desireFilters() takes devices that are there and are Ethernet, and no other of the same name", () => {
  expect(desireFilters(WANT, DEVICES)).toEqual([
    { device: "apollo-vx0", program: "from_tunnel" },
    { device: "eth0", program: "from_uplink" },
    { device: "veth1", program: "from_container" },
  ]);
  const changed = new Map([
    ...DEVICES,
    ["veth1", { index: 8, ethernet: true }],
    ["eth0", { index: 2, ethernet: false }],
  ]);
  expect(desireFilters(WANT, changed).map(({ device }) => device)).toEqual(["apollo-vx0"]);
  expect(desireEntries(WANT, changed).some((entry) => entry.map === "routes" && entry.kind === "direct")).toBe(false);
});

test("desireFilters() has a program at loopback wherever it can have one, before there is any container", () => {
  const withLoopback = new Map([["lo", { index: 1, ethernet: false }]]);
  const want = { ...WANT, ports: [], peers: [] };
  expect(desireFilters(want, withLoopback)).toEqual([{ device: "lo", program: "from_host" }]);
  expect(desireFilters(want, new Map())).toEqual([]);
});

const text = (action: FastPathAction): string =>
  action.kind === "attach"
    ? `attach ${action.filter.device}`
    : action.kind === "detach"
      ? `detach ${action.device}`
      : `${action.kind} ${entryKey(action.entry)}`;

test("planFastPath() knows a port before its program starts and forgets it after its program ended", () => {
  const start = planFastPath(WANT, NOTHING).map(text);
  expect(start.indexOf("put-entry sources 7 10.2.1.5")).toBeLessThan(start.indexOf("attach veth1"));
  const state = { ...NOTHING, entries: desireEntries(WANT, DEVICES), filters: desireFilters(WANT, DEVICES) };
  expect(planFastPath({ ...WANT, ports: [] }, state).map(text)).toEqual([
    "delete-entry endpoints 10.2.1.5",
    "detach veth1",
    "delete-entry sources 7 10.2.1.5",
  ]);
});

test("planFastPath() marks slow before anything else, and uncovers last", () => {
  const slow = { ...WANT, slow: ["10.2.2.9/32"] };
  expect(planFastPath(slow, NOTHING).map(text)[0]).toBe("put-entry routes 10.2.2.9/32");
  const state = { ...NOTHING, entries: desireEntries(slow, DEVICES), filters: desireFilters(slow, DEVICES) };
  const moved = planFastPath({ ...WANT, peers: [FAR] }, state).map(text);
  expect(moved).toEqual(["delete-entry routes 10.2.2.0/24", "delete-entry routes 10.2.2.9/32"]);
});

test("planFastPath() takes away the way of a peer that must be encrypted, and programs of an older release", () => {
  const state = { ...NOTHING, entries: desireEntries(WANT, DEVICES), filters: desireFilters(WANT, DEVICES) };
  expect(planFastPath({ ...WANT, peers: [DIRECT] }, state).map(text)).toEqual([
    "delete-entry routes 10.2.3.0/24",
    "detach apollo-vx0",
  ]);
  const old = { ...state, filters: [], stale: ["eth0", "gone0"] };
  const actions = planFastPath(WANT, old).map(text);
  expect(actions).toEqual(["attach apollo-vx0", "attach eth0", "attach veth1", "detach gone0"]);
});

const octet = fc.integer({ min: 0, max: 255 });
const cidr = fc.tuple(octet, fc.constantFrom(16, 20, 24, 32)).map(([third, prefix]) => {
  const size = 2 ** (32 - prefix);
  const value = 0x0a020000 + third * 256;
  return `${formatIpv4(value - (value % size))}/${prefix}`;
});
const arbitrary: fc.Arbitrary<DesiredFastPath> = fc.record({
  blocks: fc.constant(["10.2.1.0/24"]),
  gatewayMac: fc.constant(GATEWAY_MAC),
  ports: fc.uniqueArray(fc.integer({ min: 2, max: 6 }), { maxLength: 4 }).map((numbers) =>
    numbers.map((number) => ({
      ...PORT,
      index: 10 + number,
      device: `veth${number}`,
      addresses: [parseIpv4(`10.2.1.${number}`)],
    })),
  ),
  peers: fc.uniqueArray(fc.integer({ min: 2, max: 6 }), { maxLength: 4 }).map((numbers) =>
    numbers.map((number) => ({
      ...DIRECT,
      mode: number % 2 === 0 ? ("direct" as const) : ("vxlan" as const),
      blocks: [`10.2.${number}.0/24`],
    })),
  ),
  slow: fc.uniqueArray(cidr, { maxLength: 4 }),
  virtual: fc.uniqueArray(cidr, { maxLength: 2 }),
});

test("property: from any state to any other in one pass, in an order that the kernel's programs stand", async () => {
  await fc.assert(
    fc.asyncProperty(arbitrary, arbitrary, async (first, second) => {
      const kernel = new FakeFastPath();
      for (const name of ["eth0", "apollo-vx0"]) kernel.devices.set(name, { index: name.length, ethernet: true });
      for (let number = 2; number <= 6; number++) {
        kernel.devices.set(`veth${number}`, { index: 10 + number, ethernet: true });
      }
      await kernel.open();
      for (const want of [first, second]) {
        for (const action of planFastPath(want, await kernel.observe())) await kernel.apply(action);
        expect(planFastPath(want, await kernel.observe())).toEqual([]);
      }
    }),
  );
});

test("property: nothing inside a slow range is ever fast", () => {
  fc.assert(
    fc.property(arbitrary, octet, octet, (want, third, last) => {
      const address = parseIpv4(`10.2.${third}.${last}`);
      const entries: readonly FastPathEntry[] = desireEntries({ ...want, virtual: [] }, DEVICES);
      const slow = want.slow.some(
        (range) =>
          lookUpRoute(
            desireEntries({ ...want, blocks: [], peers: [], ports: [], slow: [range], virtual: [] }, DEVICES),
            address,
          ) !== null,
      );
      const kind = lookUpRoute(entries, address)?.kind;
      if (slow) expect(kind).toBe("slow");
      else expect(kind).not.toBe("slow");
    }),
  );
});
