import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Ipv4 } from "../../src/model/ip.ts";
import { parseIpv4 } from "../../src/model/ip.ts";
import { chooseLinkMode } from "../../src/network/choose-link-mode.ts";
import { gatewayOf } from "../../src/network/blocks.ts";
import type { DesiredNetwork } from "../../src/network/plan-network.ts";
import { BRIDGE, NETWORK_SYSCTLS, TUNNEL, planNetwork } from "../../src/network/plan-network.ts";
import { bridgeMac } from "../../src/network/mac.ts";
import { renderRuleset } from "../../src/network/render-ruleset.ts";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { LinuxHostNetwork } from "../../src/platform/linux/host-network.ts";
import type { NetworkAction, NetworkState } from "../../src/platform/ports/host-network.ts";
import type { Namespace } from "./network-lab.ts";
import { NetworkLab, answersNoPing, bytesFrom, clientSeenBy, pings, takesNoConnection } from "./network-lab.ts";

// Hosts a and b share a wire; c is behind a router, which is also "the outside": it knows nothing of the range.
const RANGE = "10.2.0.0/16";
const HOSTS = {
  a: { address: parseIpv4("192.0.2.1"), block: "10.2.1.0/24" },
  b: { address: parseIpv4("192.0.2.2"), block: "10.2.2.0/24" },
  c: { address: parseIpv4("198.51.100.3"), block: "10.2.3.0/24" },
} as const;
type HostName = keyof typeof HOSTS;
const HOST_NAMES = ["a", "b", "c"] as const;
const OUTSIDE = "203.0.113.1";
const TRANSFER_BYTES = 8_000_000;
const lab = new NetworkLab("hosts");
const spaces = new Map<string, Namespace>();
const networks = new Map<HostName, LinuxHostNetwork>();

function space(name: string): Namespace {
  const found = spaces.get(name);
  if (found === undefined) throw new Error(`There is no namespace ${name}`);
  return found;
}

function networkOf(name: HostName): LinuxHostNetwork {
  const found = networks.get(name);
  if (found === undefined) throw new Error(`There is no host ${name}`);
  return found;
}

async function desire(name: HostName, others: readonly HostName[]): Promise<DesiredNetwork> {
  const network = networkOf(name);
  const links = await Promise.all(
    others.map(async (other) => {
      const { address, block } = HOSTS[other];
      const link = chooseLinkMode(address, await network.pathTo(address), RANGE);
      if (link.mode !== "direct" && link.mode !== "vxlan")
        throw new Error(`${name} cannot reach ${other}: ${link.why}`);
      return { link, peer: { gateway: gatewayOf([block]), underlay: address, blocks: [block] } };
    }),
  );
  const tunnel = links.find(({ link }) => link.mode === "vxlan")?.link;
  return {
    range: RANGE,
    gateway: gatewayOf([HOSTS[name].block]),
    bridgeMtu: 1500,
    tunnel: tunnel === undefined ? null : { local: tunnel.path.source, mtu: tunnel.mtu },
    peers: links.map(({ link, peer }) => ({
      ...peer,
      mode: link.mode === "direct" ? "direct" : "vxlan",
      device: link.path.device,
      mtu: link.mtu,
    })),
    ruleset: renderRuleset({ range: RANGE, bridge: BRIDGE, parts: [] }),
  };
}

function observe(name: HostName): Promise<NetworkState> {
  return networkOf(name).observe({ sysctls: NETWORK_SYSCTLS, range: RANGE, tunnelDevice: TUNNEL });
}

async function pass(name: HostName, others: readonly HostName[] = othersOf(name)): Promise<readonly NetworkAction[]> {
  const actions = planNetwork(await desire(name, others), await observe(name));
  for (const action of actions) await networkOf(name).apply(action);
  return actions;
}

function othersOf(name: HostName): readonly HostName[] {
  return HOST_NAMES.filter((other) => other !== name);
}

beforeAll(async () => {
  const router = await lab.addNamespace("router");
  spaces.set("router", router);
  await router.runner.run(["ip", "link", "add", "lan", "type", "bridge"]);
  await router.runner.run(["ip", "address", "add", "192.0.2.254/24", "dev", "lan"]);
  await router.runner.run(["ip", "link", "set", "lan", "up"]);
  await router.runner.run(["ip", "address", "add", `${OUTSIDE}/32`, "dev", "lo"]);
  await router.runner.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
  for (const name of HOST_NAMES) {
    const host = await lab.addNamespace(name);
    spaces.set(name, host);
    networks.set(name, new LinuxHostNetwork({ runner: host.runner, clock: systemClock }));
    const routed = name === "c";
    const far = { at: router, device: `to-${name}`, ...(routed ? { address: "198.51.100.254/24" } : {}) };
    await lab.wire({ at: host, device: "eth0", address: `${HOSTS[name].address}/24` }, far);
    if (!routed) await router.runner.run(["ip", "link", "set", `to-${name}`, "master", "lan"]);
    const next = routed ? "198.51.100.254" : "192.0.2.254";
    await host.runner.run(["ip", "route", "add", "default", "via", next]);
  }
  for (const name of HOST_NAMES) await pass(name);
  for (const name of HOST_NAMES) {
    const address = HOSTS[name].block.replace(".0/24", ".5");
    const container = await lab.addContainer(space(name), `${name}5`, address);
    spaces.set(`${name}5`, container);
    await lab.serve(container, 8080, "printenv SOCAT_PEERADDR");
    await lab.serve(container, 9000, `head -c ${TRANSFER_BYTES} /dev/zero`);
  }
  await lab.serve(space("router"), 8080, "printenv SOCAT_PEERADDR");
  await lab.serve(space("b"), 8081, "printenv SOCAT_PEERADDR");
}, 60_000);

afterAll(async () => {
  await lab.close();
  expect(await lab.leftovers()).toEqual([]);
}, 60_000);

test("pathTo() sees the shared wire, the router, and what cannot be reached", async () => {
  const network = networkOf("a");
  const paths = await Promise.all([HOSTS.b.address, HOSTS.c.address, HOSTS.a.address].map((to) => network.pathTo(to)));
  const source = HOSTS.a.address;
  expect(paths).toEqual([
    { device: "eth0", via: null, source, mtu: 1500 },
    { device: "eth0", via: parseIpv4("192.0.2.254"), source, mtu: 1500 },
    { device: "lo", via: null, source, mtu: 65_536 },
  ]);
  await space("c").runner.run(["ip", "route", "add", "unreachable", "203.0.113.99/32"]);
  expect(await networkOf("c").pathTo(parseIpv4("203.0.113.99"))).toBeNull();
});

test("a second pass has nothing to do", async () => {
  for (const name of HOST_NAMES) expect(await pass(name)).toEqual([]);
});

test("a bridge keeps its MAC, whatever ports come and go", async () => {
  for (const name of HOST_NAMES) {
    const bridge = (await observe(name)).links.find((link) => link.name === BRIDGE);
    // Containers are attached: without one of its own it would have the lowest of theirs.
    expect(bridge?.mac).toBe(bridgeMac(gatewayOf([HOSTS[name].block])));
  }
});

test("containers reach each other over direct routes and keep their address", async () => {
  expect(await pings(space("a5"), "10.2.2.5", 1500)).toBe(2);
  expect(await clientSeenBy(space("a5"), "10.2.2.5", 8080)).toBe("10.2.1.5");
  expect(await clientSeenBy(space("b5"), "10.2.1.5", 8080)).toBe("10.2.2.5");
});

test("containers reach each other through VXLAN across a router and keep their address", async () => {
  expect(await clientSeenBy(space("a5"), "10.2.3.5", 8080)).toBe("10.2.1.5");
  expect(await clientSeenBy(space("c5"), "10.2.2.5", 8080)).toBe("10.2.3.5");
});

test("the tunnel's path is 1450 bytes wide: those pass whole, 1451 are refused, transfers do not stall", async () => {
  expect(await pings(space("a5"), "10.2.3.5", 1450)).toBe(2);
  expect(await answersNoPing(space("a5"), "10.2.3.5", 1451)).toBe(true);
  // Both ways, since each side learns the width of its own path.
  expect(await bytesFrom(space("a5"), "10.2.3.5", 9000)).toBe(TRANSFER_BYTES);
  expect(await bytesFrom(space("c5"), "10.2.1.5", 9000)).toBe(TRANSFER_BYTES);
  expect(await bytesFrom(space("a5"), "10.2.2.5", 9000)).toBe(TRANSFER_BYTES);
}, 60_000);

test("hosts and containers reach each other, under addresses of the range", async () => {
  expect(await clientSeenBy(space("a"), "10.2.1.5", 8080)).toBe("10.2.1.1");
  expect(await clientSeenBy(space("a"), "10.2.2.5", 8080)).toBe("10.2.1.1");
  expect(await clientSeenBy(space("a"), "10.2.3.5", 8080)).toBe("10.2.1.1");
  expect(await clientSeenBy(space("a5"), "10.2.2.1", 8081)).toBe("10.2.1.5");
  expect(await clientSeenBy(space("c5"), "10.2.2.1", 8081)).toBe("10.2.3.5");
});

test("outside they appear as their host, and nobody outside starts a connection to them", async () => {
  expect(await clientSeenBy(space("a5"), OUTSIDE, 8080)).toBe(HOSTS.a.address);
  expect(await clientSeenBy(space("c5"), OUTSIDE, 8080)).toBe("198.51.100.3");
  const router = space("router");
  await router.runner.run(["ip", "route", "add", "10.2.1.0/24", "via", "192.0.2.1"]);
  expect(await takesNoConnection(router, "10.2.1.5", 8080)).toBe(true);
  await router.runner.run(["ip", "route", "delete", "10.2.1.0/24"]);
});

test("a masquerade rule of the engine's kind does not touch connections inside the range", async () => {
  const rule = ["POSTROUTING", "-s", RANGE, "!", "-o", BRIDGE, "-j", "MASQUERADE"];
  const { runner } = space("a");
  await runner.run(["iptables", "-w", "-t", "nat", "-I", ...rule]);
  expect(await clientSeenBy(space("a5"), "10.2.2.5", 8080)).toBe("10.2.1.5");
  expect(await clientSeenBy(space("a5"), OUTSIDE, 8080)).toBe(HOSTS.a.address);
  await runner.run(["iptables", "-w", "-t", "nat", "-D", ...rule]);
});

test("the engine's dropping filter lets the range through once its chain is there", async () => {
  const { runner } = space("b");
  const iptables = (...argv: string[]): Promise<unknown> => runner.run(["iptables", "-w", ...argv]);
  await iptables("-P", "FORWARD", "DROP");
  // Docker went and left its policy: nothing can be done until it comes back.
  expect((await observe("b")).rangeAllowed).toBe(false);
  const refusal = await pass("b").catch((error: unknown) => error);
  expect(String(refusal)).toContain("chain DOCKER-USER is not there");
  expect(await takesNoConnection(space("a5"), "10.2.2.5", 8080)).toBe(true);
  await iptables("-N", "DOCKER-USER");
  await iptables("-A", "DOCKER-USER", "-j", "RETURN");
  await iptables("-I", "FORWARD", "-j", "DOCKER-USER");
  expect(await pass("b")).toEqual([{ kind: "allow-range", range: RANGE }]);
  expect(await clientSeenBy(space("a5"), "10.2.2.5", 8080)).toBe("10.2.1.5");
  expect(await clientSeenBy(space("b5"), "10.2.3.5", 8080)).toBe("10.2.2.5");
  expect(await pass("b")).toEqual([]);
});

const b2: Ipv4 = gatewayOf([HOSTS.b.block]);
const damages: readonly (readonly [string, readonly string[], readonly NetworkAction["kind"][]])[] = [
  ["flushed rules", ["nft", "flush", "table", "inet", "apollo"], ["put-ruleset"]],
  ["a deleted table", ["nft", "delete", "table", "inet", "apollo"], ["put-ruleset"]],
  ["a foreign rule in our table", ["nft", "add", "rule", "inet", "apollo", "forward", "counter"], ["put-ruleset"]],
  ["a deleted route", ["ip", "route", "delete", HOSTS.b.block], ["put-route"]],
  ["a changed route", ["ip", "route", "change", HOSTS.b.block, "via", HOSTS.b.address, "proto", "201"], ["put-route"]],
  ["a stray route of ours", ["ip", "route", "add", "10.2.99.0/24", "dev", "eth0", "proto", "201"], ["delete-route"]],
  ["a deleted range route", ["ip", "route", "delete", RANGE], ["put-route"]],
  ["a deleted tunnel", ["ip", "link", "delete", TUNNEL], ["add-vxlan", "set-sysctl", "put-tunnel-peer", "put-route"]],
  ["a tunnel that is down", ["ip", "link", "set", TUNNEL, "down"], ["set-link-up", "put-tunnel-peer", "put-route"]],
  ["a forgotten neighbour", ["ip", "neighbour", "del", "10.2.3.1", "dev", TUNNEL], ["put-tunnel-peer"]],
  [
    "a lost forwarding entry",
    ["bridge", "fdb", "del", "0a:70:0a:02:03:01", "dev", TUNNEL, "self"],
    ["put-tunnel-peer"],
  ],
  ["forwarding turned off", ["sysctl", "-qw", "net.ipv4.ip_forward=0"], ["set-sysctl"]],
];
for (const [title, argv, kinds] of damages) {
  test(`${title}: one pass heals it`, async () => {
    await space("a").runner.run(argv);
    expect((await pass("a")).map(({ kind }) => kind)).toEqual([...kinds]);
    expect(await pass("a")).toEqual([]);
    expect(await clientSeenBy(space("a5"), "10.2.2.5", 8080)).toBe("10.2.1.5");
    expect(await clientSeenBy(space("a5"), "10.2.3.5", 8080)).toBe("10.2.1.5");
  });
}

test("a deleted bridge comes back with its address, its routes and its settings", async () => {
  const host = space("a");
  await host.runner.run(["ip", "link", "delete", BRIDGE]);
  await pass("a");
  expect(await pass("a")).toEqual([]);
  await host.runner.run(["ip", "link", "set", "veth-a5", "master", BRIDGE]);
  expect(await clientSeenBy(space("a5"), "10.2.2.5", 8080)).toBe("10.2.1.5");
  expect(await clientSeenBy(space("c5"), "10.2.1.5", 8080)).toBe("10.2.3.5");
});

test.each([
  [
    "a changed route",
    (turn: number) => [["ip", "route", "replace", "203.0.113.128/25", "dev", "eth0", "metric", `${turn}`]],
  ],
  ["forwarding turned off", (turn: number) => [["sysctl", "-qw", `net.ipv4.ip_forward=${turn % 2}`]]],
  [
    "flushed rules",
    () => [
      ["nft", "add", "table", "inet", "apollo"],
      ["nft", "flush", "ruleset"],
    ],
  ],
] as const)(
  "watch() tells of %s within its namespace",
  async (_, change) => {
    const stop = new AbortController();
    let told = false;
    const watching = networkOf("a").watch(() => (told = true), stop.signal);
    // The monitor may not listen yet when the first change comes: change until it tells.
    for (let turn = 1; !told && turn < 200; turn++) for (const argv of change(turn)) await space("a").runner.run(argv);
    stop.abort();
    await watching;
    await space("a").runner.run(["ip", "route", "flush", "203.0.113.128/25"]);
    await space("a").runner.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    expect(told).toBe(true);
  },
  60_000,
);

test("a peer that left leaves no route, and one behind the tunnel takes the tunnel with it", async () => {
  await pass("a", ["c"]);
  expect((await observe("a")).routes.filter((route) => route.marked).map((route) => route.destination)).toEqual([
    HOSTS.c.block,
  ]);
  expect(await answersNoPing(space("a5"), b2)).toBe(true);
  expect((await pass("a", [])).map(({ kind }) => kind)).toEqual(["delete-route", "delete-link"]);
  const state = await observe("a");
  expect(state.routes.filter((route) => route.marked)).toEqual([]);
  expect(state.links.map((link) => link.name)).not.toContain(TUNNEL);
  expect(await pass("a", [])).toEqual([]);
}, 60_000);
