import { expect, test } from "bun:test";
import fc from "fast-check";
import { AppError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import { parseIpv4 } from "../model/ip.ts";
import type { NetworkAction } from "../platform/ports/host-network.ts";
import { FakeHostNetwork } from "../sim/fake-host-network.ts";
import type { DesiredNetwork, DesiredPeer } from "./plan-network.ts";
import {
  BRIDGE,
  BRIDGE_FILTER_KEY,
  NETWORK_SYSCTLS,
  TUNNEL,
  bridgeReady,
  findNetworkConflicts,
  hostRanges,
  planNetwork,
} from "./plan-network.ts";
import { renderRuleset } from "./render-ruleset.ts";

const RANGE = "10.2.0.0/16";
const ip = parseIpv4;
const ruleset = renderRuleset({ range: RANGE, bridge: BRIDGE, parts: [] });

function peer(number: number, mode: DesiredPeer["mode"], blocks = [`10.2.${number}.0/24`]): DesiredPeer {
  const gateway = ip(`10.2.${number}.1`);
  const mtu = mode === "direct" ? 1500 : 1450;
  return { gateway, underlay: ip(`192.0.2.${number}`), blocks, mode, device: "eth0", mtu };
}

function desire(peers: readonly DesiredPeer[], gateway: Ipv4 = ip("10.2.1.1")): DesiredNetwork {
  const tunnel = peers.some(({ mode }) => mode === "vxlan") ? { local: ip("192.0.2.1"), mtu: 1450 } : null;
  return { range: RANGE, gateway, bridgeMtu: 1500, tunnel, peers, ruleset };
}

function newHost(): FakeHostNetwork {
  const uplink = { name: "eth0", address: ip("192.0.2.1"), prefix: 24, router: ip("192.0.2.254") };
  return new FakeHostNetwork({ uplinks: [uplink] });
}

async function plan(host: FakeHostNetwork, desired: DesiredNetwork): Promise<readonly NetworkAction[]> {
  return planNetwork(desired, await host.observe({ sysctls: NETWORK_SYSCTLS, range: RANGE, tunnelDevice: TUNNEL }));
}

/** One pass; every action must be one that the kernel accepts. */
async function pass(host: FakeHostNetwork, desired: DesiredNetwork): Promise<readonly NetworkAction[]> {
  const actions = await plan(host, desired);
  for (const action of actions) await host.apply(action);
  return actions;
}

test("planNetwork() builds all of it on an empty host", async () => {
  const host = newHost();
  await pass(host, desire([peer(2, "direct"), peer(3, "vxlan", ["10.2.3.0/24", "10.2.30.0/24"])]));
  expect(String(host)).toBe(`link apollo-vx0 vxlan up mtu 1450 vni 201 port 6784 local 192.0.2.1 mac 0a:70:0a:02:01:01
link apollo0 bridge up mtu 1500 10.2.1.1/16
link eth0 other up mtu 1500 192.0.2.1/24
route 0.0.0.0/0 via 192.0.2.254 dev eth0
route 10.2.0.0/16 dev apollo0 src 10.2.1.1
route 10.2.2.0/24 via 192.0.2.2 dev eth0 src 10.2.1.1 mtu 1500 ours
route 10.2.3.0/24 via 10.2.3.1 dev apollo-vx0 src 10.2.1.1 mtu 1450 onlink ours
route 10.2.30.0/24 via 10.2.3.1 dev apollo-vx0 src 10.2.1.1 mtu 1450 onlink ours
route 192.0.2.0/24 dev eth0 src 192.0.2.1
peer 10.2.3.1 0a:70:0a:02:03:01 at 192.0.2.3 dev apollo-vx0
sysctl net/ipv4/conf/apollo-vx0/proxy_arp = 0
sysctl net/ipv4/conf/apollo-vx0/rp_filter = 2
sysctl net/ipv4/conf/apollo0/proxy_arp = 1
sysctl net/ipv4/conf/apollo0/rp_filter = 0
sysctl net/ipv4/conf/eth0/proxy_arp = 0
sysctl net/ipv4/conf/eth0/rp_filter = 0
sysctl net/ipv4/ip_forward = 1
sysctl net/ipv4/neigh/apollo-vx0/proxy_delay = 80
sysctl net/ipv4/neigh/apollo0/proxy_delay = 0
sysctl net/ipv4/neigh/eth0/proxy_delay = 80
allowed 10.2.0.0/16
engine up
ruleset ${ruleset.text}`);
});

test("planNetwork() adds before it deletes", async () => {
  const host = newHost();
  await pass(host, desire([peer(2, "direct"), peer(3, "vxlan")]));
  const actions = await pass(host, desire([peer(4, "direct"), peer(5, "vxlan")]));
  expect(actions.map(({ kind }) => kind)).toEqual([
    "put-tunnel-peer",
    "put-route",
    "put-route",
    "delete-route",
    "delete-route",
    "delete-tunnel-peer",
  ]);
});

test("planNetwork() turns a direct peer into a tunnelled one and back", async () => {
  const host = newHost();
  await pass(host, desire([peer(2, "direct")]));
  const before = String(host);
  await pass(host, desire([peer(2, "vxlan")]));
  expect(String(host)).toContain("route 10.2.2.0/24 via 10.2.2.1 dev apollo-vx0");
  await pass(host, desire([peer(2, "direct")]));
  expect(String(host)).toBe(before);
});

test("planNetwork() moves the gateway to another block in one pass", async () => {
  const host = newHost();
  await pass(host, desire([peer(2, "direct"), peer(3, "vxlan")]));
  await pass(host, desire([peer(2, "direct"), peer(3, "vxlan")], ip("10.2.8.1")));
  expect(String(host)).toContain("link apollo0 bridge up mtu 1500 10.2.8.1/16\n");
  expect(await plan(host, desire([peer(2, "direct"), peer(3, "vxlan")], ip("10.2.8.1")))).toEqual([]);
});

test("planNetwork() leaves a route of others where ours should be, and findNetworkConflicts() names it", async () => {
  const host = newHost();
  const foreign = { destination: "10.2.2.0/24", via: null, device: "eth0", source: null, mtu: null, onlink: false };
  host.disturb({ kind: "put-unmarked-route", route: foreign });
  const desired = desire([peer(2, "direct")]);
  await pass(host, desired);
  expect(String(host)).toContain("route 10.2.2.0/24 dev eth0\n");
  const state = await host.observe({ sysctls: NETWORK_SYSCTLS, range: RANGE, tunnelDevice: TUNNEL });
  expect(findNetworkConflicts(desired, state)).toEqual(["route 10.2.2.0/24 dev eth0 is not ours"]);
  expect(hostRanges(state).toSorted()).toEqual(["0.0.0.0/0", "10.2.2.0/24", "192.0.2.0/24"]);
});

test("planNetwork() does nothing while another device has the bridge's name", async () => {
  const host = new FakeHostNetwork({ uplinks: [{ name: BRIDGE, address: ip("192.0.2.1"), prefix: 24 }] });
  const desired = desire([peer(2, "direct")]);
  expect(await plan(host, desired)).toEqual([]);
  const state = await host.observe({ sysctls: NETWORK_SYSCTLS, range: RANGE, tunnelDevice: TUNNEL });
  expect(findNetworkConflicts(desired, state)).toEqual(["device apollo0 is not a bridge"]);
  expect(bridgeReady(desired, state)).toBe(false);
});

const peers = fc
  .uniqueArray(fc.integer({ min: 2, max: 9 }), { maxLength: 6 })
  .chain((numbers) =>
    fc.tuple(
      ...numbers.map((number) =>
        fc
          .tuple(fc.constantFrom("direct", "vxlan"), fc.boolean())
          .map(([mode, more]) =>
            peer(
              number,
              mode as DesiredPeer["mode"],
              more ? [`10.2.${number}.0/24`, `10.2.${number + 100}.0/24`] : undefined,
            ),
          ),
      ),
    ),
  );
const desires = fc
  .tuple(peers, fc.constantFrom("10.2.1.1", "10.2.20.1"))
  .map(([list, gateway]) => desire(list, ip(gateway)));

const unmarked = { via: null, device: "eth0", source: null, mtu: null, onlink: false };
type Disturbance = Parameters<FakeHostNetwork["disturb"]>[0];
const disturbances: readonly Disturbance[] = [
  { kind: "delete-link", name: BRIDGE },
  { kind: "delete-link", name: TUNNEL },
  { kind: "set-link-down", name: BRIDGE },
  { kind: "set-link-down", name: TUNNEL },
  { kind: "set-link-down", name: "eth0" },
  { kind: "set-link-up", name: "eth0" },
  { kind: "set-link-mtu", name: TUNNEL, mtu: 1300 },
  { kind: "set-link-mac", name: BRIDGE, mac: "02:00:00:00:00:fe" },
  { kind: "delete-address", device: BRIDGE, address: ip("10.2.1.1"), prefix: 16 },
  { kind: "add-address", device: BRIDGE, address: ip("10.2.77.1"), prefix: 16 },
  { kind: "add-address", device: BRIDGE, address: ip("172.30.0.1"), prefix: 24 },
  { kind: "delete-route", destination: "10.2.2.0/24", device: "eth0" },
  { kind: "delete-route", destination: "10.2.3.0/24", device: TUNNEL },
  { kind: "put-route", route: { ...unmarked, destination: "10.2.200.0/24" } },
  { kind: "put-route", route: { ...unmarked, destination: "10.2.2.0/24", via: ip("192.0.2.99") } },
  { kind: "put-unmarked-route", route: { ...unmarked, destination: "10.2.4.0/24" } },
  { kind: "put-unmarked-route", route: { ...unmarked, destination: "203.0.113.0/24" } },
  {
    kind: "put-tunnel-peer",
    device: TUNNEL,
    peer: { gateway: ip("10.2.9.1"), mac: "0a:70:00:00:00:00", underlay: ip("192.0.2.77") },
  },
  {
    kind: "put-tunnel-peer",
    device: TUNNEL,
    peer: { gateway: ip("10.2.8.1"), mac: "0a:70:0a:02:03:01", underlay: ip("192.0.2.3") },
  },
  { kind: "delete-tunnel-peer", device: TUNNEL, peer: { gateway: ip("10.2.3.1"), mac: "", underlay: ip("0.0.0.0") } },
  { kind: "flush-ruleset" },
  { kind: "set-sysctl", key: "net/ipv4/ip_forward", value: "0" },
  { kind: "set-sysctl", key: `net/ipv4/conf/${BRIDGE}/proxy_arp`, value: "0" },
  { kind: "remove-allow-range", range: RANGE },
];

/** The kernel refuses some of them in some states: then nothing happened. */
function disturb(host: FakeHostNetwork, change: Disturbance): void {
  try {
    host.disturb(change);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
  }
}

function unmarkedLines(host: FakeHostNetwork): readonly string[] {
  return String(host)
    .split("\n")
    .filter((line) => line.startsWith("route") && !line.endsWith(" ours") && !/apollo/.test(line));
}

test("planNetwork() converges in one pass from anywhere, is then done, and never touches routes of others", async () => {
  await fc.assert(
    fc.asyncProperty(
      desires,
      fc.array(fc.constantFrom(...disturbances), { maxLength: 6 }),
      desires,
      async (a, list, b) => {
        const host = newHost();
        await pass(host, a);
        for (const change of list) disturb(host, change);
        disturb(host, { kind: "set-link-up", name: "eth0" });
        const before = unmarkedLines(host);
        await pass(host, b);
        expect(await plan(host, b)).toEqual([]);
        expect(unmarkedLines(host)).toEqual(before);
      },
    ),
    { numRuns: 500 },
  );
});

test("planNetwork() gives the same plan whatever the order of what it saw", async () => {
  await fc.assert(
    fc.asyncProperty(desires, desires, fc.infiniteStream(fc.nat()), async (a, b, chance) => {
      const host = newHost();
      await pass(host, a);
      const state = await host.observe({ sysctls: NETWORK_SYSCTLS, range: RANGE, tunnelDevice: TUNNEL });
      const shuffle = <T>(items: readonly T[]): T[] =>
        items
          .map((item) => ({ item, key: chance.next().value ?? 0 }))
          .toSorted((x, y) => x.key - y.key)
          .map(({ item }) => item);
      const other = {
        ...state,
        links: shuffle(state.links),
        routes: shuffle(state.routes),
        tunnelPeers: shuffle(state.tunnelPeers),
      };
      expect(planNetwork({ ...b, peers: shuffle(b.peers) }, other)).toEqual(planNetwork(b, state));
    }),
  );
});

test("a relayed peer is routed through the relay's underlay or gateway, and needs no tunnel entry of its own", async () => {
  const host = newHost();
  const [near, far] = [peer(2, "direct"), peer(3, "vxlan")];
  const through = (number: number, by: DesiredPeer): DesiredPeer => ({
    ...peer(number, "relay"),
    mtu: by.mtu,
    relay: { mode: by.mode === "direct" ? "direct" : "vxlan", underlay: by.underlay, gateway: by.gateway },
  });
  await pass(host, desire([near, far, through(4, near), through(5, far)]));
  const text = String(host);
  expect(text).toContain("route 10.2.4.0/24 via 192.0.2.2 dev eth0 src 10.2.1.1 mtu 1500 ours");
  expect(text).toContain("route 10.2.5.0/24 via 10.2.3.1 dev apollo-vx0 src 10.2.1.1 mtu 1450 onlink ours");
  expect(text.match(/^peer /gm)?.length).toBe(1);
  expect(await plan(host, desire([near, far, through(4, near), through(5, far)]))).toEqual([]);
});

test("a mode under test gets a route to the peer's probe address alone, which goes with the test", async () => {
  const host = newHost();
  const address = ip("10.2.2.0");
  const tested: DesiredPeer = { ...peer(2, "vxlan"), candidate: { mode: "direct", device: "eth0", address } };
  await pass(host, desire([tested]));
  expect(String(host)).toContain("route 10.2.2.0/32 via 192.0.2.2 dev eth0 src 10.2.1.1 ours");
  expect(await plan(host, desire([tested]))).toEqual([]);
  expect(await pass(host, desire([peer(2, "vxlan")]))).toEqual([
    { kind: "delete-route", destination: "10.2.2.0/32", device: "eth0" },
  ]);
  // The other way round the tunnel has to know the peer as well.
  await pass(host, {
    ...desire([{ ...tested, mode: "direct", candidate: { mode: "vxlan", device: "eth0", address } }]),
    tunnel: { local: ip("192.0.2.1"), mtu: 1450 },
  });
  expect(String(host)).toContain("route 10.2.2.0/32 via 10.2.2.1 dev apollo-vx0 src 10.2.1.1 onlink ours");
  expect(String(host)).toContain("peer 10.2.2.1 0a:70:0a:02:02:01 at 192.0.2.2 dev apollo-vx0");
});

test("the probe address comes after the gateway on the bridge, and on the tunnel too", async () => {
  const host = newHost();
  const probeAddress = ip("10.2.1.0");
  const wanted = { ...desire([peer(3, "vxlan")]), probeAddress };
  await pass(host, wanted);
  await pass(host, wanted);
  expect(String(host)).toContain("link apollo0 bridge up mtu 1500 10.2.1.1/16 10.2.1.0/32");
  expect(String(host)).toMatch(/link apollo-vx0 vxlan up .* 10.2.1.0\/32/);
  expect(await plan(host, wanted)).toEqual([]);
  host.disturb({ kind: "delete-address", device: BRIDGE, address: ip("10.2.1.1"), prefix: 16 });
  await pass(host, wanted);
  expect(String(host)).toContain("link apollo0 bridge up mtu 1500 10.2.1.1/16 10.2.1.0/32");
  await pass(host, wanted);
  expect(await plan(host, wanted)).toEqual([]);
  await pass(host, { ...wanted, probeAddress: null });
  expect(String(host)).not.toContain("10.2.1.0/32");
});

test("planNetwork() leaves the ruleset that is there while parts of ours are to come, and puts one where none is", async () => {
  const host = newHost();
  const kept = { ...desire([]), keepRuleset: true };
  expect((await pass(host, kept)).map(({ kind }) => kind)).toContain("put-ruleset");
  const other = renderRuleset({ range: RANGE, bridge: "other0", parts: [] });
  expect(await plan(host, { ...kept, ruleset: other })).toEqual([]);
  expect(await plan(host, { ...desire([]), ruleset: other })).toEqual([{ kind: "put-ruleset", text: other.text }]);
});

test("planNetwork() makes bridged packets pass our rules where the kernel can", async () => {
  const host = newHost();
  await pass(host, desire([]));
  const observed = await host.observe({ sysctls: NETWORK_SYSCTLS, range: RANGE, tunnelDevice: TUNNEL });
  const withKey = (value: string): readonly NetworkAction[] =>
    planNetwork(desire([]), { ...observed, sysctls: { ...observed.sysctls, [BRIDGE_FILTER_KEY]: value } });
  expect(withKey("0")).toEqual([{ kind: "set-sysctl", key: BRIDGE_FILTER_KEY, value: "1" }]);
  expect(withKey("1")).toEqual([]);
});
