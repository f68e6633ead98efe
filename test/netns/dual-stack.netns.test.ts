import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import type { HostId } from "../../src/model/ids.ts";
import type { Ipv4 } from "../../src/model/ip.ts";
import { parseIpv4 } from "../../src/model/ip.ts";
import type { Cidr6, Ipv6 } from "../../src/model/ip6.ts";
import { formatCidr6, formatIpv6 } from "../../src/model/ip6.ts";
import { address6Of, linkLocalOf } from "../../src/network/address6.ts";
import { containerMac } from "../../src/network/attachment.ts";
import { type LinkFacts, NO_FACTS } from "../../src/network/choose-link-mode.ts";
import type { DeclaredNetwork } from "../../src/network/declared-network.ts";
import { bridgeOf, declaredGateway } from "../../src/network/declared-network.ts";
import { planDeclaredNetworks } from "../../src/network/plan-declared-networks.ts";
import { renderDeclaredNetworks } from "../../src/network/render-declared-networks.ts";
import type { Wire6 } from "../../src/network/wire6.ts";
import { declaredWire6, hostWire6, wireEnd6 } from "../../src/network/wire6.ts";
import { LinuxSegments } from "../../src/platform/linux/linux-segments.ts";
import { LinuxWiring } from "../../src/platform/linux/linux-wiring.ts";
import { LINK_SETS6 } from "../../src/network/links/render-link-counters.ts";
import { LinuxLinkCounters } from "../../src/platform/linux/linux-link-counters.ts";
import type { Namespace } from "./network-lab.ts";
import {
  NetworkLab,
  answersNoPing,
  bytesFrom,
  clientSeenBy,
  pings,
  takesNoConnection,
  waitFor,
} from "./network-lab.ts";
import type { WireguardHost } from "./wireguard-host.ts";
import { RANGE, addSwitch } from "./wireguard-host.ts";
import { WireguardHosts } from "./wireguard-hosts.fixture.ts";

// Hosts a and b are on one wire; c is behind the router, which has an IPv6 address outside and knows nothing of the range.
const RANGE6 = "fd12:3456:789a::/64";
const OUTSIDE6 = "2001:db8:ffff::1";
const TRANSFER_BYTES = 4_000_000;
const HOSTS = {
  a: { address: parseIpv4("192.0.2.1"), block: "10.2.1.0/24" },
  b: { address: parseIpv4("192.0.2.2"), block: "10.2.2.0/24" },
  c: { address: parseIpv4("198.51.100.3"), block: "10.2.3.0/24" },
} as const;
type Name = keyof typeof HOSTS;
const NAMES = ["a", "b", "c"] as const;
const lab = new NetworkLab("dual");
const hosts = new WireguardHosts(NAMES, { lab, places: HOSTS, range6: RANGE6 });
/** A routed network of which each host has a block, and a segment over all of them. */
const BLUE: DeclaredNetwork = {
  name: "blue",
  layer2: false,
  range: "10.50.0.0/16",
  policy: "open",
  internal: false,
  vni: 1003,
};
const LAB: DeclaredNetwork = { ...BLUE, name: "lab", layer2: true, range: "10.9.0.0/24", vni: 1001 };
const [FLAT, IN_BLUE, IN_LAB] = ["flat", "blue", "lab"] as const;

const host = (name: Name): WireguardHost => hosts.get(name);
const container = (name: Name): Namespace => lab.space(`${name}5`);
const gateway6 = (name: Name): Ipv6 => hosts.gateway6(name);
const ownGateway = (name: Name): Ipv4 => hosts.gateway(name);
const address4 = (name: Name): Ipv4 => parseIpv4(HOSTS[name].block.replace(".0/24", ".5"));
const address6 = (name: Name): Ipv6 => hosts.address6(name, address4(name));
const host6 = (name: Name): Cidr6 => hosts.part6(name);
const router = (): Namespace => lab.space("lan");

const numberOf = (name: Name): number => NAMES.indexOf(name) + 1;

/** Where what is attached to a network on a host is, and what it has. */
function placeOf(network: typeof FLAT | typeof IN_BLUE | typeof IN_LAB, name: Name) {
  const number = numberOf(name);
  if (network === FLAT) {
    const own = ownGateway(name);
    const wire: Wire6 = hostWire6(RANGE6, own);
    return { bridge: "apollo0", address: parseIpv4(`10.2.${number}.200`), prefix: 16, gateway: own, wire };
  }
  const declared = network === IN_BLUE ? BLUE : LAB;
  const wire = declaredWire6(RANGE6, declared);
  const gateway = declaredGateway(declared.range);
  const address = parseIpv4(network === IN_BLUE ? `10.50.${number}.10` : `10.9.0.1${number}`);
  return { bridge: bridgeOf(declared.vni), address, prefix: network === IN_BLUE ? 16 : 24, gateway, wire };
}

/** As `apollo net attach` does it. */
async function attach(network: typeof FLAT | typeof IN_BLUE | typeof IN_LAB, name: Name): Promise<void> {
  const { bridge, address, prefix, gateway, wire } = placeOf(network, name);
  const made = await lab.addNamespace(`${name}${network}`);
  const defaultRoute = network === IN_LAB ? "never" : "if-none";
  await new LinuxWiring({ runner: host(name).space.runner }).connect({
    device: `vethat0000000${["flat", "blue", "lab"].indexOf(network)}`,
    bridge,
    namespacePath: `/run/netns/${made.name}`,
    end: {
      name: "apollo",
      mac: containerMac(address),
      address,
      prefix,
      gateway,
      six: wireEnd6(wire, address),
      defaultRoute,
      multicast: true,
      routes: [],
    },
  });
}

const attachedAt = (network: string, name: Name): Namespace => lab.space(`${name}${network}`);
const attached6 = (network: typeof FLAT | typeof IN_BLUE | typeof IN_LAB, name: Name): string => {
  const { wire, address } = placeOf(network, name);
  return wireEnd6(wire, address).address;
};

/** The bridges of declared networks, as the agent's part makes them. */
async function carryDeclared(name: Name): Promise<void> {
  const segments = new LinuxSegments({ runner: host(name).space.runner });
  const others = NAMES.filter((other) => other !== name).map(ownGateway);
  const networks = [BLUE, LAB].map((network) => ({ ...network, hosts: network.layer2 ? others : [] }));
  const desired = { local: ownGateway(name), range6: RANGE6, networks };
  // There is no engine whose filter would have to be opened.
  for (const action of planDeclaredNetworks(desired, await segments.observe()).actions)
    if (action.kind !== "allow-bridges") await segments.apply(action);
  expect(planDeclaredNetworks(desired, await segments.observe()).ready.map(({ ip6 }) => ip6)).toEqual([true, true]);
}

const PAIRS = [
  ["a", "b"],
  ["a", "c"],
  ["c", "b"],
] as const;

// A busy machine makes each step slow; what counts is what happens.
setDefaultTimeout(120_000);

beforeAll(async () => {
  const middle = await addSwitch(lab, "192.0.2.254/24");
  const { runner } = middle;
  await runner.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
  await runner.run(["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"]);
  await runner.run(["ip", "address", "add", `${OUTSIDE6}/128`, "dev", "lo"]);
  await runner.run(["ip", "address", "add", "2001:db8:1::254/64", "dev", "lan", "nodad"]);
  for (const name of NAMES) {
    const { address } = HOSTS[name];
    const made = await hosts.add(name);
    const routed = name === "c";
    const far = { at: middle, device: `to-${name}`, ...(routed ? { address: "198.51.100.254/24" } : {}) };
    await lab.wire({ at: made.space, device: "eth0", address: `${address}/24` }, far);
    if (!routed) await runner.run(["ip", "link", "set", `to-${name}`, "master", "lan"]);
    await made.space.runner.run(["ip", "route", "add", "default", "via", routed ? "198.51.100.254" : "192.0.2.254"]);
    made.declared = [BLUE, LAB];
    made.declaredBlocks = [`10.50.${numberOf(name)}.0/24`];
    const borders = { networks: made.declared, range: RANGE, range6: RANGE6, hosts: NAMES.map(ownGateway) };
    const part = renderDeclaredNetworks(borders);
    made.rules = part === null ? [] : [part];
  }
  const a = host("a").space.runner;
  await a.run(["ip", "address", "add", "2001:db8:1::1/64", "dev", "eth0", "nodad"]);
  await a.run(["ip", "route", "add", "default", "via", "2001:db8:1::254"]);
  hosts.introduce();
  await hosts.settle();
  for (const name of NAMES) {
    const made = await hosts.addContainer(name, `${name}5`, address4(name));
    await lab.serveBoth(made, 8080, "printenv SOCAT_PEERADDR");
    await lab.serveBoth(made, 9000, `head -c ${TRANSFER_BYTES} /dev/zero`);
  }
  await lab.serveBoth(middle, 8080, "printenv SOCAT_PEERADDR");
  for (const name of NAMES) {
    await carryDeclared(name);
    for (const network of [FLAT, IN_BLUE, IN_LAB]) await attach(network, name);
    await lab.serveBoth(attachedAt(FLAT, name), 8080, "printenv SOCAT_PEERADDR");
  }
});

/** The client as a server at `address` sees it, in the short form; null when it cannot be reached. */
async function seen(from: Namespace, address: string, port = 8080): Promise<string | null> {
  const text = await clientSeenBy(from, `[${address}]`, port);
  return text === null ? null : text.replaceAll(/[[\]]/g, "");
}

async function reaches(from: Namespace, address: string): Promise<boolean> {
  return (await pings(from, address)) === 2;
}

afterAll(async () => {
  await hosts.close();
  await lab.close();
  expect(await lab.leftovers()).toEqual([]);
});

test("a further pass has nothing to do, and no host has a condition", async () => {
  for (const name of NAMES) {
    const { plan, actions } = await host(name).plan();
    expect(actions).toEqual([]);
    expect(plan.conditions.filter(({ code }) => code !== "engine-down")).toEqual([]);
    expect(plan.gateway6).toBe(gateway6(name));
  }
});

test("containers reach each other by IPv6: on the host's wire, directly and by VXLAN, each seen as itself", async () => {
  for (const from of NAMES) {
    for (const to of NAMES) {
      expect(await reaches(container(from), address6(to))).toBe(true);
      expect(await expanded(container(from), address6(to))).toBe(address6(from));
    }
  }
});

test("what goes to another host is counted by its part of the range", async () => {
  const counters = new LinuxLinkCounters({ runner: host("a").space.runner });
  const part = formatIpv6(host6("b").first);
  const sent = async (): Promise<number> => (await counters.bytes([LINK_SETS6.sent])).get(part) ?? 0;
  const before = await sent();
  expect(await reaches(container("a"), address6("b"))).toBe(true);
  // Two of 104 bytes, and no more: neighbours are known by now, and those inside the host are none of it.
  expect((await sent()) - before).toBe(208);
});

/** socat prints all eight groups. */
async function expanded(from: Namespace, address: string): Promise<string | null> {
  const text = await seen(from, address);
  if (text === null) return null;
  const groups = text.split(":").map((group) => BigInt(`0x${group}`));
  return formatIpv6(groups.reduce((sum, group) => (sum << 16n) | group, 0n));
}

test("what is attached reaches containers of all hosts as itself, and they reach it", async () => {
  for (const [from, to] of PAIRS) {
    expect(await reaches(attachedAt(FLAT, from), address6(to))).toBe(true);
    expect(await expanded(attachedAt(FLAT, from), address6(to))).toBe(attached6(FLAT, from));
    expect(await expanded(container(from), attached6(FLAT, to))).toBe(address6(from));
  }
  expect(await expanded(attachedAt(FLAT, "a"), OUTSIDE6)).toBe("2001:db8:1::1");
  // What a host exposes is an address like any other, and nothing that the host routes itself.
  const exposed = address6Of(host6("a"), parseIpv4("10.2.1.201"));
  const wiring = new LinuxWiring({ runner: host("a").space.runner });
  await wiring.expose(exposed);
  expect(await reaches(container("b"), exposed)).toBe(true);
  const { plan, actions } = await host("a").plan();
  expect([actions, plan.conditions.map(({ code }) => code)]).toEqual([[], ["engine-down"]]);
  await wiring.hide(exposed);
});

test("declared networks reach over hosts, directly and by VXLAN: routed ones by their blocks' routes, segments by their own", async () => {
  for (const [from, to] of PAIRS) {
    expect([from, to, await reaches(attachedAt(IN_BLUE, from), attached6(IN_BLUE, to))]).toEqual([from, to, true]);
    expect([from, to, await reaches(attachedAt(IN_LAB, from), attached6(IN_LAB, to))]).toEqual([from, to, true]);
    expect([from, to, await reaches(host(from).space, attached6(IN_BLUE, to))]).toEqual([from, to, true]);
  }
  expect(await expanded(attachedAt(IN_BLUE, "a"), OUTSIDE6)).toBe("2001:db8:1::1");
  const silent = [
    answersNoPing(attachedAt(IN_BLUE, "a"), address6("b")),
    answersNoPing(container("a"), attached6(IN_BLUE, "b")),
  ];
  expect(await Promise.all(silent)).toEqual([true, true]);
});

test("a link that changes between direct, VXLAN and a relay takes IPv6 along, and is settled after one pass", async () => {
  const relayed: LinkFacts = { ...NO_FACTS, relay: { via: "c" as HostId, mtu: 1450 } };
  const steps = [{ ...NO_FACTS, skip: 1 }, relayed, { ...NO_FACTS, skip: 1 }, NO_FACTS];
  for (const [step, facts] of steps.entries()) {
    for (const [name, peer] of [
      ["a", "b"],
      ["b", "a"],
    ] as const) {
      host(name).facts = new Map([[peer as HostId, facts]]);
      expect([step, (await host(name).pass()).some(({ kind }) => kind === "put-route6")]).toEqual([step, true]);
      expect([step, (await host(name).plan()).actions]).toEqual([step, []]);
    }
    expect([step, await reaches(container("a"), address6("b"))]).toEqual([step, true]);
  }
});

test("hosts reach containers, and containers hosts by their gateways", async () => {
  expect(await expanded(host("a").space, address6("b"))).toBe(gateway6("a"));
  expect(await expanded(host("c").space, address6("a"))).toBe(gateway6("c"));
  expect(await reaches(container("a"), gateway6("b"))).toBe(true);
});

test("the outside sees the host's own address, and starts nothing with a container", async () => {
  expect(await expanded(container("a"), OUTSIDE6)).toBe("2001:db8:1::1");
  await router().runner.run(["ip", "route", "add", RANGE6, "via", "2001:db8:1::1"]);
  expect(await takesNoConnection(router(), `[${address6("a")}]`, 8080)).toBe(true);
});

test("large transfers fit the narrowest part of their way", async () => {
  expect(await bytesFrom(container("a"), `[${address6("b")}]`, 9000)).toBe(TRANSFER_BYTES);
  expect(await bytesFrom(container("a"), `[${address6("c")}]`, 9000)).toBe(TRANSFER_BYTES);
  const { stdout } = await host("a").space.runner.run(["ip", "-6", "route", "show", formatCidr6(host6("c"))]);
  expect(stdout).toContain("dev apollo-vx0");
  expect(stdout).toContain("mtu 1450");
});

test("what somebody deletes comes back, one pass later", async () => {
  const { runner } = host("a").space;
  await runner.run(["ip", "-6", "route", "delete", formatCidr6(host6("b"))]);
  await runner.run(["ip", "address", "delete", `${linkLocalOf(parseIpv4("192.0.2.1"))}/64`, "dev", "eth0"]);
  await runner.run(["ip", "address", "delete", `${gateway6("a")}/96`, "dev", "apollo0"]);
  await runner.run(["sysctl", "-qw", "net.ipv6.conf.all.forwarding=0"]);
  expect(await answersNoPing(container("a"), address6("b"))).toBe(true);
  await host("a").pass();
  // An address takes routes that name it as their source along: those come with the next pass.
  await host("a").pass();
  expect(await host("a").pass()).toEqual([]);
  expect(await reaches(container("a"), address6("b"))).toBe(true);
});

test("a host that was told its way out by a router keeps it when it begins to forward", async () => {
  const { runner } = host("b").space;
  await runner.run(["sysctl", "-qw", "net.ipv6.conf.all.forwarding=0"]);
  const argv = ["ip", "-6", "route", "add", "default", "via", linkLocalOf(parseIpv4("192.0.2.1")), "dev", "eth0"];
  await runner.run([...argv, "proto", "ra", "metric", "2048"]);
  await host("b").pass();
  const { stdout } = await runner.run(["sysctl", "-n", "net.ipv6.conf.eth0.accept_ra", "net.ipv6.conf.all.forwarding"]);
  expect(stdout.split(/\s+/).filter(Boolean)).toEqual(["2", "1"]);
  await runner.run(["ip", "-6", "route", "delete", "default"]);
});

test("where encryption is required, IPv6 goes through WireGuard, and nothing of it any other way", async () => {
  for (const name of NAMES) host(name).encryption = "required";
  await hosts.settle();
  for (const name of NAMES) expect(await host(name).pass()).toEqual([]);
  const { stdout } = await host("a").space.runner.run(["ip", "-6", "route", "get", address6("c")]);
  expect(stdout).toContain("dev apollo-wg0");
  for (const [from, to] of [
    ["a", "c"],
    ["a", "b"],
    ["b", "c"],
  ] as const) {
    await waitFor(`the handshake of ${from} and ${to}`, () => reaches(container(from), address6(to)));
  }
  await waitFor("an answer", async () => (await expanded(container("a"), address6("b"))) === address6("a"));
  expect(await bytesFrom(container("b"), `[${address6("c")}]`, 9000)).toBe(TRANSFER_BYTES);
  for (const [from, to] of PAIRS) {
    expect([from, to, await reaches(attachedAt(IN_BLUE, from), attached6(IN_BLUE, to))]).toEqual([from, to, true]);
    expect([from, to, await reaches(attachedAt(IN_LAB, from), attached6(IN_LAB, to))]).toEqual([from, to, true]);
  }
  // A segment's own tunnels go from gateway to gateway, and so through WireGuard.
  const way = await host("a").space.runner.run(["ip", "route", "get", ownGateway("c")]);
  expect(way.stdout).toContain("dev apollo-wg0");
  // A route that leads past WireGuard leaks nothing.
  const { runner } = host("a").space;
  const via = ["via", linkLocalOf(parseIpv4("192.0.2.2")), "dev", "eth0"];
  await host("b").space.runner.run([
    "ip",
    "address",
    "add",
    `${linkLocalOf(parseIpv4("192.0.2.2"))}/64`,
    "dev",
    "eth0",
    "nodad",
  ]);
  await runner.run(["ip", "-6", "route", "add", `${address6("b")}/128`, ...via]);
  expect(await takesNoConnection(container("a"), `[${address6("b")}]`, 8080)).toBe(true);
  const { stdout: counter } = await runner.run(["nft", "list", "counter", "inet", "apollo", "encryption_leaving"]);
  expect(counter).not.toContain("packets 0 ");
  await runner.run(["ip", "-6", "route", "delete", `${address6("b")}/128`]);
});

test("leaving takes all of it away but what others use", async () => {
  await host("c").leave();
  const { stdout } = await host("c").space.runner.run(["ip", "-6", "-o", "address"]);
  expect(stdout).not.toContain("6170:0:");
  expect(stdout).not.toContain("fd12:3456");
  expect((await host("c").space.runner.run(["ip", "-6", "route"])).stdout).not.toContain("fd12:3456");
});
