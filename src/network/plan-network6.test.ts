import { expect, test } from "bun:test";
import fc from "fast-check";
import { FakeHostNetwork } from "../sim/fake-host-network.ts";
import type { Ipv4 } from "../model/ip.ts";
import { formatIpv4, parseIpv4 } from "../model/ip.ts";
import type { NetworkAction } from "../platform/ports/host-network.ts";
import { gateway6Of, host6Of } from "./address6.ts";
import { gatewayOf } from "./blocks.ts";
import type { DesiredNetwork, DesiredPeer } from "./plan-network.ts";
import { BRIDGE, NETWORK_SYSCTLS, TUNNEL, planNetwork } from "./plan-network.ts";
import {
  NETWORK6_SYSCTLS,
  bridge6Ready,
  conditions6,
  desireNetwork6,
  findClash6,
  planNetwork6,
} from "./plan-network6.ts";
import { renderRuleset } from "./render-ruleset.ts";
import { WIREGUARD } from "./wireguard/plan-wireguard.ts";
import { formatCidr6 } from "../model/ip6.ts";

const RANGE = "10.2.0.0/16";
const RANGE6 = "fd12:3456:789a::/64";
const OWN = "10.2.1.0/24";

function fake(over: { readonly ipv6?: boolean } = { ipv6: true }): FakeHostNetwork {
  return new FakeHostNetwork({ uplinks: [{ name: "eth0", address: parseIpv4("192.0.2.1"), prefix: 24 }], ...over });
}

function peer(number: number, mode: DesiredPeer["mode"], over: Partial<DesiredPeer> = {}): DesiredPeer {
  const blocks = [`10.2.${number}.0/24`];
  const underlay = formatIpv4(0xc0_00_02_00 + number);
  const keys = [`${"A".repeat(42)}${number % 10}=`];
  return {
    gateway: gatewayOf(blocks),
    underlay,
    blocks,
    mode,
    device: "eth0",
    mtu: 1400,
    ...(mode === "wireguard" ? { wireguard: { keys, endpoint: `${underlay}:6785` } } : {}),
    ...(mode === "relay"
      ? { relay: { mode: "direct", underlay: "192.0.2.77" as Ipv4, gateway: "10.2.77.1" as Ipv4 } }
      : {}),
    ...over,
  };
}

function desire(peers: readonly DesiredPeer[], own = OWN): DesiredNetwork {
  return {
    range: RANGE,
    range6: RANGE6,
    gateway: gatewayOf([own]),
    bridgeMtu: 1500,
    tunnel: peers.some(({ mode }) => mode === "vxlan") ? { local: parseIpv4("192.0.2.1"), mtu: 1450 } : null,
    wireguard: peers.some(({ mode }) => mode === "wireguard") ? { publicKey: "own", mtu: 1440 } : null,
    peers,
    ruleset: renderRuleset({ range: RANGE, range6: RANGE6, bridge: BRIDGE, parts: [] }),
  };
}

async function plan(network: FakeHostNetwork, desired: DesiredNetwork): Promise<readonly NetworkAction[]> {
  const sysctls = [...NETWORK_SYSCTLS, ...NETWORK6_SYSCTLS];
  const want = { sysctls, range: RANGE, range6: RANGE6, tunnelDevice: TUNNEL, wireguardDevice: WIREGUARD };
  const observed = await network.observe(want);
  const first = planNetwork(desired, observed);
  return [...first, ...planNetwork6(desireNetwork6(RANGE6, desired, observed), observed, first)];
}

async function pass(network: FakeHostNetwork, desired: DesiredNetwork): Promise<number> {
  const actions = await plan(network, desired);
  for (const action of actions) await network.apply(action);
  return actions.length;
}

function lines(network: FakeHostNetwork): readonly string[] {
  return network
    .toString()
    .split("\n")
    .filter((line) => /^(address6|route6|neighbour6|sysctl net\/ipv6)/.test(line));
}

test("one pass makes gateway, next hop and routes; each mode goes its way", async () => {
  const network = fake();
  await pass(network, desire([peer(2, "direct"), peer(3, "vxlan"), peer(4, "wireguard"), peer(5, "relay")]));
  expect(lines(network)).toEqual([
    "address6 fd12:3456:789a:0:a02:100:a02:101/96 dev apollo0",
    "address6 fe80::6170:0:c000:201/64 dev eth0",
    "address6 fe80::ff:fe00:2/64 dev eth0",
    "neighbour6 fe80::6170:0:a02:301 0a:70:0a:02:03:01 dev apollo-vx0",
    "route6 fd12:3456:789a:0:a02:100::/96 dev apollo0",
    "route6 fd12:3456:789a:0:a02:200::/96 via fe80::6170:0:c000:202 dev eth0 src fd12:3456:789a:0:a02:100:a02:101 mtu 1400 ours",
    "route6 fd12:3456:789a:0:a02:300::/96 via fe80::6170:0:a02:301 dev apollo-vx0 src fd12:3456:789a:0:a02:100:a02:101 mtu 1400 ours",
    "route6 fd12:3456:789a:0:a02:400::/96 dev apollo-wg0 src fd12:3456:789a:0:a02:100:a02:101 mtu 1400 ours",
    "route6 fd12:3456:789a:0:a02:500::/96 via fe80::6170:0:c000:24d dev eth0 src fd12:3456:789a:0:a02:100:a02:101 mtu 1400 ours",
    "route6 fe80::/64 dev eth0",
    "sysctl net/ipv6/conf/all/forwarding = 1",
    "sysctl net/ipv6/conf/apollo-vx0/accept_dad = 1",
    "sysctl net/ipv6/conf/apollo-vx0/accept_ra = 1",
    "sysctl net/ipv6/conf/apollo-vx0/disable_ipv6 = 0",
    "sysctl net/ipv6/conf/apollo-wg0/accept_dad = 1",
    "sysctl net/ipv6/conf/apollo-wg0/accept_ra = 1",
    "sysctl net/ipv6/conf/apollo-wg0/disable_ipv6 = 0",
    "sysctl net/ipv6/conf/apollo0/accept_dad = 0",
    "sysctl net/ipv6/conf/apollo0/accept_ra = 0",
    "sysctl net/ipv6/conf/apollo0/disable_ipv6 = 0",
    "sysctl net/ipv6/conf/eth0/accept_dad = 1",
    "sysctl net/ipv6/conf/eth0/accept_ra = 1",
    "sysctl net/ipv6/conf/eth0/disable_ipv6 = 0",
  ]);
  expect(
    await pass(network, desire([peer(2, "direct"), peer(3, "vxlan"), peer(4, "wireguard"), peer(5, "relay")])),
  ).toBe(0);
});

test("blocks of declared networks have routes in their parts, and WireGuard lets them through", async () => {
  const network = fake();
  const blocks = ["10.2.4.0/24", "10.50.4.0/24"];
  const desired = { ...desire([peer(4, "wireguard", { blocks })]), routed: [{ range: "10.50.0.0/16", vni: 1003 }] };
  await pass(network, desired);
  const parts = ["fd12:3456:789a:0:a02:400::/96", "fd12:3456:789a::3eb:a32:400/120"];
  const routes = lines(network).filter((line) => line.includes("apollo-wg0 src"));
  expect(routes.map((line) => line.split(" ")[1] ?? "").toSorted()).toEqual(parts.toSorted());
  const want = { sysctls: [], range: RANGE, tunnelDevice: TUNNEL, wireguardDevice: WIREGUARD };
  const put = planNetwork(desired, await fake().observe(want)).find(({ kind }) => kind === "put-wireguard-peers");
  expect(put).toMatchObject({ peers: [{ allowedIps: [...blocks, ...parts].toSorted() }] });
});

test("from any state of ours to any other it takes two passes, and the result is as if made anew", async () => {
  const mode = fc.constantFrom<DesiredPeer["mode"]>("direct", "vxlan", "wireguard", "relay");
  const peers = fc
    .uniqueArray(fc.record({ number: fc.integer({ min: 2, max: 9 }), mode, mtu: fc.constantFrom(1200, 1280, 1500) }), {
      selector: ({ number }) => number,
      maxLength: 5,
    })
    .map((list) => list.map(({ number, mode: one, mtu }) => peer(number, one, { mtu })));
  const block = fc.constantFrom(OWN, "10.2.200.0/24");
  await fc.assert(
    fc.asyncProperty(peers, peers, block, block, async (before, after, first, second) => {
      const network = fake();
      await pass(network, desire(before, first));
      await pass(network, desire(after, second));
      await pass(network, desire(after, second));
      expect(await plan(network, desire(after, second))).toEqual([]);
      const fresh = fake();
      await pass(fresh, desire(after, second));
      await pass(fresh, desire(after, second));
      const settings = (line: string): boolean => !line.startsWith("sysctl");
      expect(lines(network).filter(settings)).toEqual(lines(fresh).filter(settings));
    }),
    { numRuns: 60 },
  );
});

test("a kernel without IPv6 gets nothing, and one condition that says so", async () => {
  const network = fake({ ipv6: false });
  const desired = desire([peer(2, "direct")]);
  await pass(network, desired);
  expect(lines(network)).toEqual([]);
  const want = { sysctls: NETWORK6_SYSCTLS, range: RANGE, range6: RANGE6, tunnelDevice: TUNNEL };
  const observed = await network.observe(want);
  expect(conditions6(RANGE6, null, { peers: [], observed }).map(({ code }) => code)).toEqual(["ipv6-missing"]);
});

test("narrow paths and an uplink without IPv6 are conditions that name them; a route in the range is a clash", async () => {
  const network = fake();
  const desired = desire([peer(2, "direct", { mtu: 1200 })]);
  await pass(network, desired);
  expect(lines(network).some((line) => line.includes("a02:200"))).toBe(false);
  const link = lines(network).flatMap((line) => /^address6 (fe80::\S+)\/64 dev eth0$/.exec(line)?.[1] ?? []);
  for (const address of link) {
    network.disturb({ kind: "delete-address6", device: "eth0", address: address as never, prefix: 64 });
  }
  const want = { sysctls: NETWORK6_SYSCTLS, range: RANGE, range6: RANGE6, tunnelDevice: TUNNEL };
  const observed = await network.observe(want);
  const desired6 = desireNetwork6(RANGE6, desired, observed);
  const codes = conditions6(RANGE6, desired6, { peers: desired.peers, observed }).map(({ code }) => code);
  expect(codes).toEqual(["ipv6-narrow", "ipv6-uplink-off"]);
  // Ours cannot be added there, so it is not tried for ever.
  expect(await plan(network, desired)).toEqual([]);
  expect(bridge6Ready(desired6, observed)).toBe(true);
  const route = {
    destination: "fd12:3456:789a::/48",
    via: null,
    device: "eth0",
    source: null,
    mtu: null,
    onlink: false,
  };
  const ip6 = { addresses: [], neighbours: [], announced: [], routes: [{ ...route, marked: false }] };
  expect(findClash6(RANGE6, { ...observed, ip6 })).toEqual(["fd12:3456:789a::/48"]);
  // What is exposed, and declared networks' bridges, are ours.
  const ours = ["lo", "apl1003", "apollo0"].map((device) => ({ ...route, device, marked: false }));
  expect(findClash6(RANGE6, { ...observed, ip6: { ...ip6, routes: ours } })).toEqual([]);
});

test("the gateway ends as the IPv4 one, inside of the host's own part", () => {
  const gateway = gatewayOf([OWN]);
  expect(gateway6Of(RANGE6, gateway) as string).toBe("fd12:3456:789a:0:a02:100:a02:101");
  expect(formatCidr6(host6Of(RANGE6, gateway))).toBe("fd12:3456:789a:0:a02:100::/96");
});

test("the twins of virtual addresses are routed to the bridge while there are any; the bridge's wire stays", async () => {
  const network = fake();
  const routes = (): readonly string[] => lines(network).filter((line) => /^route6 fd12.* dev apollo0/.test(line));
  const desired = desire([peer(2, "direct")]);
  await pass(network, { ...desired, virtualRange: "10.3.0.0/16" });
  expect(await pass(network, { ...desired, virtualRange: "10.3.0.0/16" })).toBe(0);
  expect(routes()).toEqual([
    "route6 fd12:3456:789a:0:a02:100::/96 dev apollo0",
    "route6 fd12:3456:789a:0:a03::/96 dev apollo0 src fd12:3456:789a:0:a02:100:a02:101 ours",
  ]);
  await pass(network, desired);
  expect(routes()).toEqual(["route6 fd12:3456:789a:0:a02:100::/96 dev apollo0"]);
});
