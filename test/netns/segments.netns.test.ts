// Two segments with the same range on two hosts, and routed networks beside them, on real kernels, by both families.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { parseIpv4 } from "../../src/model/ip.ts";
import type { Ipv4 } from "../../src/model/ip.ts";
import { formatCidr6 } from "../../src/model/ip6.ts";
import type { PolicyRule } from "../../src/model/network-config.ts";
import { parseNetworkObject } from "../../src/model/network-config.ts";
import { address6Of, block6Of, gateway6Of, host6Of, network6Of } from "../../src/network/address6.ts";
import type { DeclaredNetwork } from "../../src/network/declared-network.ts";
import { bridgeOf, tunnelOf } from "../../src/network/declared-network.ts";
import type { LocalPort } from "../../src/network/local-port.ts";
import { planDeclaredNetworks } from "../../src/network/plan-declared-networks.ts";
import { planOpenings } from "../../src/network/plan-openings.ts";
import { planPolicy } from "../../src/network/policy/plan-policy.ts";
import { planPolicy6 } from "../../src/network/policy/plan-policy6.ts";
import { holder } from "../../src/network/policy/policy.fixture.ts";
import { joinParts, renderPolicy6 } from "../../src/network/policy/render-policy6.ts";
import { renderPolicy } from "../../src/network/policy/render-policy.ts";
import { renderSourceCheck } from "../../src/network/policy/render-source-check.ts";
import { renderDeclaredNetworks } from "../../src/network/render-declared-networks.ts";
import { renderRuleset } from "../../src/network/render-ruleset.ts";
import { wireEnd6, declaredWire6, hostWire6 } from "../../src/network/wire6.ts";
import type { Wire6 } from "../../src/network/wire6.ts";
import { LinuxSegments } from "../../src/platform/linux/linux-segments.ts";
import { PeerCounts, countAll } from "./peer-counts.fixture.ts";
import { NetworkLab, answers, answersNoPing, clientSeenBy, pings, takesNoConnection } from "./network-lab.ts";
import type { Namespace } from "./network-lab.ts";

const lab = new NetworkLab("seg");
// A busy machine makes each step slow; what counts is what happens.
setDefaultTimeout(120_000);
const RANGE = "10.2.0.0/16";
const RANGE6 = "fd12:3456:789a::/64";
/** Of an uplink's own, as next hop and source towards the other host. */
const UPLINKS6 = ["2001:db8::1", "2001:db8::2"] as const;
const common = { policy: "open", internal: false } as const;
const A: DeclaredNetwork = { ...common, name: "a", layer2: true, range: "10.9.0.0/24", vni: 1001 };
const B: DeclaredNetwork = { ...common, name: "b", layer2: true, range: "10.9.0.0/24", vni: 1002 };
const BLUE: DeclaredNetwork = { ...common, name: "blue", layer2: false, range: "10.50.0.0/16", vni: 1003 };
const RED: DeclaredNetwork = {
  ...common,
  internal: true,
  name: "red",
  layer2: false,
  range: "10.51.0.0/16",
  vni: 1004,
};
const NETWORKS = [A, B, BLUE, RED];
/** Of an instance on h2; it lies in no block. */
const FIXED = parseIpv4("10.2.200.7");
const GATEWAYS = [parseIpv4("10.2.1.1"), parseIpv4("10.2.2.1")];

interface Host {
  readonly at: Namespace;
  readonly gateway: Ipv4;
  readonly peer: Ipv4;
}

let hosts: readonly [Host, Host];
const containers = new Map<string, Namespace>();

async function applyAll({ at, gateway, peer }: Host, networks: readonly DeclaredNetwork[]): Promise<number> {
  const segments = new LinuxSegments({ runner: at.runner });
  const desired = {
    local: gateway,
    range6: RANGE6,
    networks: networks.map((each) => ({ ...each, hosts: each.layer2 ? [peer] : [] })),
  };
  let passes = 0;
  for (;;) {
    const { actions } = planDeclaredNetworks(desired, await segments.observe());
    const known = actions.filter(({ kind }) => kind !== "forbid-bridges");
    if (known.length === 0 || passes === 4) return passes;
    for (const action of known) await segments.apply(action);
    passes += 1;
  }
}

async function addHost(name: string, number: 1 | 2): Promise<Host> {
  const at = await lab.addNamespace(name);
  const [gateway = GATEWAYS[0], peer = GATEWAYS[0]] = number === 1 ? GATEWAYS : GATEWAYS.toReversed();
  if (gateway === undefined || peer === undefined) throw new Error("Expected two gateways");
  await at.runner.run(["sysctl", "-q", "-w", "net/ipv4/ip_forward=1"]);
  await at.runner.run(["ip", "link", "add", "apollo0", "type", "bridge"]);
  await at.runner.run(["ip", "address", "add", `${gateway}/16`, "dev", "apollo0"]);
  await at.runner.run(["ip", "address", "add", `${gateway6Of(RANGE6, gateway)}/96`, "dev", "apollo0", "nodad"]);
  await at.runner.run(["ip", "link", "set", "apollo0", "up"]);
  await at.runner.run(["sysctl", "-q", "-w", "net/ipv6/conf/all/forwarding=1"]);
  return { at, gateway, peer };
}

/** A container on a bridge; two of one address may be on different ones. */
async function addContainer(
  host: Host,
  name: string,
  network: DeclaredNetwork | null,
  address: string,
): Promise<Namespace> {
  const container = await lab.addNamespace(name);
  const { range, layer2 } = network ?? { range: RANGE, layer2: false };
  const prefix = range.split("/")[1];
  const ends = [
    { at: container, device: "eth0", address: `${address}/${prefix}` },
    { at: host.at, device: `veth-${name}` },
  ] as const;
  await lab.wire(...ends);
  const mtu = layer2 ? "1390" : "1500";
  await container.runner.run(["ip", "link", "set", "eth0", "mtu", mtu]);
  await container.runner.run(["sysctl", "-q", "-w", "net/ipv4/icmp_echo_ignore_broadcasts=0"]);
  const bridge = network === null ? "apollo0" : bridgeOf(network.vni);
  await host.at.runner.run(["ip", "link", "set", `veth-${name}`, "master", bridge]);
  const via = network === null ? host.gateway : range.replace("0.0/16", "0.1");
  if (!layer2) await container.runner.run(["ip", "route", "add", "default", "via", via]);
  await addAddress6(
    container,
    network === null ? hostWire6(RANGE6, host.gateway) : declaredWire6(RANGE6, network),
    address,
  );
  containers.set(name, container);
  return container;
}

/** As attachments, CNI and the engine's plugin do it. */
async function addAddress6({ runner }: Namespace, wire: Wire6, address: string): Promise<void> {
  const { address: own, prefix, gateway } = wireEnd6(wire, parseIpv4(address));
  const lines = [`address add ${own}/${prefix} dev eth0 nodad`];
  if (gateway !== null && prefix === 128) lines.push(`route add ${gateway}/128 dev eth0`);
  if (gateway !== null) lines.push(`route add default via ${gateway} dev eth0`);
  await runner.run(["ip", "-batch", "-"], { stdin: `${lines.join("\n")}\n` });
}

/** Of a container on the network. */
function six({ vni }: DeclaredNetwork, address: string): string {
  return address6Of(network6Of(RANGE6, vni), parseIpv4(address));
}

/** The rules that each host has, with the containers on the routed networks known to policy. */
async function enforce(
  rules: readonly PolicyRule[] = [],
  networks: readonly DeclaredNetwork[] = NETWORKS,
): Promise<void> {
  const holders = [BLUE, RED].flatMap((network) =>
    [1, 2].map((host) => {
      const address = parseIpv4(network.range.replace("0.0/16", `${host}.10`));
      const address6 = address6Of(network6Of(RANGE6, network.vni), address);
      return holder({ address, address6, network: network.name, host: `h${host}`, app: `/${network.name}${host}` });
    }),
  );
  const pairs = holders.flatMap(({ address, address6 }) => (address6 === undefined ? [] : [{ address, address6 }]));
  const known = networks.map(({ name, vni, policy, layer2 }) => ({ name, bridge: bridgeOf(vni), policy, layer2 }));
  const openings = planOpenings({ rules, holders }, new Set(["blue", "red"]));
  const borders = renderDeclaredNetworks({ networks, range: RANGE, range6: RANGE6, hosts: GATEWAYS, openings });
  for (const [index, host] of hosts.entries()) {
    const plan = planPolicy({ networks: known, rules, holders, hostAddresses: GATEWAYS, host: `h${index + 1}` });
    const four = renderPolicy(plan);
    const policy = four === null ? [] : [joinParts(four, renderPolicy6(planPolicy6(plan, pairs)))];
    const counters = countAll(networks, { range: RANGE, range6: RANGE6, fixed: [FIXED] });
    const always = [renderSourceCheck([], [], [A.name, B.name]), counters];
    const parts = [...(borders === null ? [] : [borders]), ...policy, ...always];
    const { text } = renderRuleset({ range: RANGE, range6: RANGE6, bridge: "apollo0", parts });
    await host.at.runner.run(["nft", "-f", "-"], { stdin: text });
  }
}

function at(name: string): Namespace {
  const found = containers.get(name);
  if (found === undefined) throw new Error(`Expected a container ${name}`);
  return found;
}

beforeAll(async () => {
  hosts = [await addHost("h1", 1), await addHost("h2", 2)];
  const [h1, h2] = hosts;
  await lab.wire(
    { at: h1.at, device: "eth0", address: "192.0.2.1/24" },
    { at: h2.at, device: "eth0", address: "192.0.2.2/24" },
  );
  for (const [index, host] of hosts.entries()) {
    await host.at.runner.run(["ip", "address", "add", `${UPLINKS6[index]}/64`, "dev", "eth0", "nodad"]);
  }
  await enforce();
  for (const [host, other, block] of [
    [h1, "192.0.2.2", 2],
    [h2, "192.0.2.1", 1],
  ] as const) {
    for (const range of [`10.2.${block}.0/24`, `10.50.${block}.0/24`, `10.51.${block}.0/24`]) {
      await host.at.runner.run(["ip", "route", "add", range, "via", other, "src", host.gateway, "protocol", "201"]);
    }
    const parts6 = [BLUE, RED].map(({ vni, range }) =>
      block6Of(network6Of(RANGE6, vni), range.replace("0.0/16", `${block}.0/24`)),
    );
    for (const part of [host6Of(RANGE6, host.peer), ...parts6]) {
      const via = ["via", UPLINKS6[block - 1] ?? "none", "src", gateway6Of(RANGE6, host.gateway)];
      await host.at.runner.run(["ip", "route", "add", formatCidr6(part), ...via, "protocol", "201"]);
    }
    expect(await applyAll(host, NETWORKS)).toBe(1);
  }
  for (const [number, host] of hosts.entries()) {
    await addContainer(host, `a${number + 1}`, A, `10.9.0.${number + 11}`);
    await addContainer(host, `b${number + 1}`, B, `10.9.0.${number + 11}`);
    await addContainer(host, `blue${number + 1}`, BLUE, `10.50.${number + 1}.10`);
    await addContainer(host, `red${number + 1}`, RED, `10.51.${number + 1}.10`);
  }
  await addContainer(h2, "b3", B, "10.9.0.33");
  await addContainer(h1, "flat1", null, "10.2.1.10");
  await addContainer(h2, "flat2", null, "10.2.2.10");
}, 60_000);
afterAll(() => lab.close());

test("segments of one range carry unicast, full frames, broadcast and multicast over hosts, each its own", async () => {
  expect(await pings(at("a1"), "10.9.0.12")).toBe(2);
  expect(await pings(at("a1"), "10.9.0.12", 1390)).toBe(2);
  expect(await pings(at("b1"), "10.9.0.33")).toBe(2);
  expect(await answersNoPing(at("a1"), "10.9.0.33")).toBe(true);
  for (const group of ["10.9.0.255", "224.0.0.1"]) {
    const [inA, inB] = await Promise.all(["a1", "b1"].map((name) => answers(at(name), group)));
    expect(inA).toEqual(expect.arrayContaining(["10.9.0.12"]));
    expect(inA).not.toContain("10.9.0.33");
    expect(inB).toEqual(expect.arrayContaining(["10.9.0.12", "10.9.0.33"]));
  }
});

test("segments carry IPv6 as well, each its own, and the host has no part in it", async () => {
  const a1 = at("a1");
  expect(await pings(a1, six(A, "10.9.0.12"))).toBe(2);
  expect(await pings(at("b1"), six(B, "10.9.0.33"))).toBe(2);
  // The address of another segment's container, put on this one's wire by hand.
  await a1.runner.run(["ip", "route", "add", `${six(B, "10.9.0.33")}/128`, "dev", "eth0"]);
  expect(await answersNoPing(a1, six(B, "10.9.0.33"))).toBe(true);
  const { stdout } = await hosts[0].at.runner.run(["ip", "-6", "-o", "address"]);
  expect(stdout).not.toContain(bridgeOf(A.vni));
  const mac = (await hosts[0].at.runner.run(["cat", `/sys/class/net/${bridgeOf(A.vni)}/address`])).stdout.trim();
  const targets = [gateway6Of(RANGE6, hosts[0].gateway), six(BLUE, "10.50.1.10"), UPLINKS6[1]];
  for (const target of targets) {
    await a1.runner.run(["ip", "route", "replace", `${target}/128`, "dev", "eth0"]);
    await a1.runner.run(["ip", "neighbour", "replace", target, "lladdr", mac, "dev", "eth0", "nud", "permanent"]);
  }
  await expectLost(targets.map((target) => [a1, target]));
});

test("TCP between the same addresses of two segments at once stays apart", async () => {
  await lab.serve(at("a2"), 8080, "echo a2");
  await lab.serve(at("b2"), 8080, "echo b2");
  const ask = async (from: Namespace): Promise<string> => {
    const target = "TCP:10.9.0.12:8080,sourceport=40000,reuseaddr,connect-timeout=10";
    const argv = ["socat", "-u", "-T10", target, "STDOUT"];
    return (await from.runner.run(argv, { okCodes: [0, 1] })).stdout.trim();
  };
  expect(await Promise.all([ask(at("a1")), ask(at("b1"))])).toEqual(["a2", "b2"]);
});

test("the host has no part in a segment, and frames for its MAC leave it nowhere", async () => {
  const a1 = at("a1");
  for (const gateway of GATEWAYS) {
    await a1.runner.run(["ip", "route", "replace", `${gateway}/32`, "dev", "eth0"]);
  }
  await expectLost(GATEWAYS.map((gateway) => [a1, gateway]));
  const mac = (await hosts[0].at.runner.run(["cat", `/sys/class/net/${bridgeOf(A.vni)}/address`])).stdout.trim();
  const [h1, h2] = hosts;
  for (const [target, there] of [
    ["10.50.1.10", at("blue1")],
    ["10.50.2.10", at("blue2")],
    ["192.0.2.2", h2.at],
  ] as const) {
    await a1.runner.run(["ip", "route", "replace", `${target}/32`, "dev", "eth0"]);
    await a1.runner.run(["ip", "neighbour", "replace", target, "lladdr", mac, "dev", "eth0", "nud", "permanent"]);
    const [arrived, seen] = [await framesFor(h1.at), await echoesAt(there)];
    expect(await answersNoPing(a1, target)).toBe(true);
    expect(await framesFor(h1.at)).toBeGreaterThan(arrived);
    expect(await echoesAt(there)).toBe(seen);
  }
});

/** What does not come back is waited for: all at once. */
async function expectLost(pairs: readonly (readonly [Namespace, string])[]): Promise<void> {
  const seen = await Promise.all(pairs.map(async ([from, to]) => [from.name, to, await answersNoPing(from, to)]));
  expect(seen).toEqual(pairs.map(([from, to]) => [from.name, to, true]));
}

/** Frames that came to the host itself by the bridge of segment a. */
async function framesFor(host: Namespace): Promise<number> {
  const argv = ["cat", `/sys/class/net/${bridgeOf(A.vni)}/statistics/rx_packets`];
  return Number((await host.runner.run(argv)).stdout);
}

/** Pings that a kernel took for its own. */
async function echoesAt(there: Namespace): Promise<number> {
  const { stdout } = await there.runner.run(["cat", "/proc/net/snmp"]);
  const [names = [], values = []] = stdout
    .split("\n")
    .filter((line) => line.startsWith("Icmp:"))
    .map((line) => line.split(" "));
  return Number(values[names.indexOf("InEchos")]);
}

test("a container cannot put a frame into another network by VXLAN of its own", async () => {
  const [h1, h2] = hosts;
  const blue1 = at("blue1");
  await blue1.runner.run([
    "ip",
    "link",
    "add",
    "vx",
    "type",
    "vxlan",
    "id",
    String(B.vni),
    "dstport",
    "6784",
    "remote",
    "192.0.2.2",
  ]);
  await blue1.runner.run(["ip", "address", "add", "10.9.0.99/24", "dev", "vx"]);
  await blue1.runner.run(["ip", "link", "set", "vx", "up"]);
  for (const remote of ["192.0.2.2", "10.2.2.1", "10.2.1.1", "192.0.2.1"]) {
    await blue1.runner.run(["ip", "link", "set", "vx", "type", "vxlan", "id", String(B.vni), "remote", remote]);
    await expectLost([
      [blue1, "10.9.0.33"],
      [blue1, "10.9.0.11"],
    ]);
  }
  for (const { at: host } of [h1, h2]) {
    const { stdout } = await host.runner.run(["bridge", "fdb", "show", "br", bridgeOf(B.vni)]);
    expect(stdout).not.toContain((await blue1.runner.run(["cat", "/sys/class/net/vx/address"])).stdout.trim());
  }
});

test("routed networks carry their own over hosts, hosts reach them, and they do not reach each other", async () => {
  const [h1, h2] = hosts;
  expect(await pings(at("blue1"), "10.50.2.10")).toBe(2);
  expect(await pings(at("red2"), "10.51.1.10")).toBe(2);
  expect(await pings(h1.at, "10.50.2.10")).toBe(2);
  expect(await pings(h2.at, "10.50.2.10")).toBe(2);
  expect(await pings(at("blue1"), "192.0.2.2")).toBe(2);
  await expectLost([
    [at("blue1"), "10.51.1.10"],
    [at("blue1"), "10.51.2.10"],
    [at("red1"), "10.50.1.10"],
    [at("red1"), "10.50.2.10"],
    // It has no way out of itself.
    [at("red1"), "192.0.2.2"],
  ]);
  expect(await pings(at("red1"), h2.gateway)).toBe(2);
});

test("routed networks carry IPv6 over hosts, hosts reach them, and borders are the same", async () => {
  const [h1, h2] = hosts;
  const [blue1, blue2, red1, red2] = [at("blue1"), at("blue2"), at("red1"), at("red2")];
  expect(await pings(blue1, six(BLUE, "10.50.2.10"))).toBe(2);
  expect(await pings(red2, six(RED, "10.51.1.10"))).toBe(2);
  for (const host of [h1, h2]) expect(await pings(host.at, six(BLUE, "10.50.2.10"))).toBe(2);
  for (const { gateway } of hosts) expect(await pings(blue1, gateway6Of(RANGE6, gateway))).toBe(2);
  expect(await pings(blue1, UPLINKS6[1])).toBe(2);
  const flat = (host: Host, address: string): string => address6Of(host6Of(RANGE6, host.gateway), parseIpv4(address));
  expect(await pings(at("flat1"), flat(h2, "10.2.2.10"))).toBe(2);
  await expectLost([
    [blue1, six(RED, "10.51.1.10")],
    [blue1, six(RED, "10.51.2.10")],
    [red1, six(BLUE, "10.50.1.10")],
    [red1, UPLINKS6[1]],
    [blue2, flat(h2, "10.2.2.10")],
    [blue2, flat(h1, "10.2.1.10")],
    [at("flat1"), six(BLUE, "10.50.1.10")],
    [at("flat1"), six(BLUE, "10.50.2.10")],
  ]);
});

test("bytes of routed networks, segments and fixed addresses are counted for the host of the other end", async () => {
  const [h1, h2] = hosts;
  await h2.at.runner.run(["ip", "address", "add", `${FIXED}/32`, "dev", "apollo0"]);
  await h1.at.runner.run(["ip", "route", "replace", `${FIXED}/32`, "via", "192.0.2.2"]);
  const held = { blocks: ["10.2.2.0/24", `${FIXED}/32`], networks: { blue: ["10.50.2.0/24"], a: ["10.9.0.128/25"] } };
  const counts = new PeerCounts(h1.at.runner, held, { range6: RANGE6, routed: new Set(["blue", "red"]) });
  const sent = async (from: Namespace, to: string) => counts.during(async () => expect(await pings(from, to)).toBe(2));
  // Two packets with 56 bytes of data each way, after 28 bytes of headers in IPv4 and 48 in IPv6.
  expect(await sent(at("blue1"), "10.50.2.10")).toEqual({ sentBytes: 168, receivedBytes: 168 });
  expect(await sent(at("blue1"), six(BLUE, "10.50.2.10"))).toEqual({ sentBytes: 208, receivedBytes: 208 });
  expect(await sent(h1.at, FIXED)).toEqual({ sentBytes: 168, receivedBytes: 168 });
  const segment = await sent(at("a1"), "10.9.0.12");
  expect(Math.min(segment.sentBytes, segment.receivedBytes)).toBeGreaterThanOrEqual(168);
  await h2.at.runner.run(["ip", "address", "delete", `${FIXED}/32`, "dev", "apollo0"]);
});

test("a rule that names both networks opens the border for whom and what it says, and for nothing else", async () => {
  const rule = {
    name: "shop",
    network: "red",
    from: [{ network: "blue", app: "/blue1" }],
    to: [{ app: "/red1" }, { app: "/red2" }],
    ports: [{ protocol: "tcp", from: 8080, to: 8080 }],
  };
  for (const name of ["red1", "red2", "blue2"]) {
    for (const port of [8080, 8081])
      lab.start(at(name), ["socat", `TCP6-LISTEN:${port},reuseaddr,fork,ipv6only=0`, "EXEC:printenv SOCAT_PEERADDR"]);
    for (const port of [8080, 8081]) await lab.listens(at(name), "-Hltn", port);
  }
  const reds = ["10.51.1.10", "10.51.2.10"];
  const targets = reds.flatMap((address) => [address, `[${six(RED, address)}]`]);
  const reached = async (from: string): Promise<readonly string[]> => {
    const seen = await Promise.all(targets.map((address) => clientSeenBy(at(from), address, 8080)));
    return seen.map((each) => (each === null ? "-" : each.endsWith(":0a32:010a]") ? "itself" : each));
  };
  const closedTo = (from: string, port = 8080): Promise<readonly boolean[]> =>
    Promise.all(targets.map((address) => takesNoConnection(at(from), address, port)));
  const all = [true, true, true, true];
  expect(await closedTo("blue1")).toEqual(all);
  await enforce([parseNetworkObject("policy", rule)]);
  // As itself: nobody changes addresses between the networks.
  expect(await reached("blue1")).toEqual(["itself", "itself", "itself", "itself"]);
  const closed = await Promise.all([
    closedTo("blue1", 8081),
    closedTo("blue2"),
    closedTo("flat1"),
    Promise.all(["red1", "red2"].map((from) => takesNoConnection(at(from), "10.50.2.10", 8080))),
    // Within the network the rule closes what it means, as any does.
    takesNoConnection(at("red1"), "10.51.2.10", 8080),
    answersNoPing(at("blue1"), "10.51.1.10"),
  ]);
  expect(closed).toEqual([all, all, all, [true, true], true, true]);
  await enforce();
  expect(await closedTo("blue1")).toEqual(all);
});

test("a closed segment is open over hosts where a rule says so, and a container that nobody knows yet reaches nobody", async () => {
  const names = ["a1", "a2"] as const;
  const ports = await Promise.all(
    names.map(async (name, index): Promise<LocalPort> => {
      const mac = (await at(name).runner.run(["cat", "/sys/class/net/eth0/address"])).stdout.trim();
      const address = parseIpv4(`10.9.0.${index + 11}`);
      const addresses6 = [address6Of(network6Of(RANGE6, A.vni), address)];
      return { network: "a", device: `veth-${name}`, index, mac, addresses: [address], addresses6, container: name };
    }),
  );
  const holders = ports.flatMap(({ addresses: [address], addresses6: [address6] = [], container }, index) =>
    address === undefined || address6 === undefined
      ? []
      : [holder({ address, address6, network: "a", host: `h${index + 1}`, container, app: `/${container}` })],
  );
  const rule = parseNetworkObject("policy", {
    name: "one",
    network: "a",
    from: [{ app: "/a1" }],
    to: [{ app: "/a2" }],
  });
  const close = async (known: readonly LocalPort[]): Promise<void> => {
    const borders = renderDeclaredNetworks({ networks: NETWORKS, range: RANGE, range6: RANGE6, hosts: GATEWAYS });
    for (const [index, host] of hosts.entries()) {
      const tunnel = tunnelOf(A.vni);
      const network = { name: "a", bridge: bridgeOf(A.vni), policy: "deny", layer2: true, tunnel } as const;
      const plan = planPolicy({
        networks: [network],
        rules: [rule],
        holders,
        hostAddresses: [],
        host: `h${index + 1}`,
      });
      const pairs = holders.flatMap(({ address, address6 }) => (address6 === undefined ? [] : [{ address, address6 }]));
      const four = renderPolicy(plan);
      const policy = four === null ? [] : [joinParts(four, renderPolicy6(planPolicy6(plan, pairs)))];
      const own = known.filter(({ container }) => container === names[index]);
      const check = renderSourceCheck(own, [network], ["a"]);
      const parts = [...(borders === null ? [] : [borders]), ...policy, check];
      const { text } = renderRuleset({ range: RANGE, range6: RANGE6, bridge: "apollo0", parts });
      await host.at.runner.run(["nft", "-f", "-"], { stdin: text });
    }
  };
  await close(ports);
  expect(await pings(at("a1"), "10.9.0.12")).toBe(2);
  expect(await pings(at("a1"), six(A, "10.9.0.12"))).toBe(2);
  await expectLost([
    [at("a2"), "10.9.0.11"],
    [at("a2"), six(A, "10.9.0.11")],
  ]);
  await close(ports.filter(({ container }) => container !== "a1"));
  await expectLost([
    [at("a1"), "10.9.0.12"],
    [at("a1"), six(A, "10.9.0.12")],
  ]);
  await enforce();
});

test("what somebody broke is mended, and undeclared networks leave nothing", async () => {
  const [h1] = hosts;
  await h1.at.runner.run(["ip", "link", "set", "apv1001", "nomaster"]);
  await h1.at.runner.run(["bridge", "fdb", "del", "00:00:00:00:00:00", "dev", "apv1001", "dst", "10.2.2.1", "self"]);
  await h1.at.runner.run(["ip", "address", "flush", "dev", "apl1003"]);
  expect(await applyAll(h1, NETWORKS)).toBe(1);
  expect(await pings(at("a1"), "10.9.0.12")).toBe(2);
  // Another flush took the addresses of both families.
  expect(await pings(at("blue1"), "10.50.0.1")).toBe(2);
  expect(await pings(at("blue1"), six(BLUE, "10.50.0.1"))).toBe(2);
  for (const host of hosts) {
    expect(await applyAll(host, [])).toBe(1);
    expect((await host.at.runner.run(["ip", "-o", "link"])).stdout).not.toMatch(/ap[lv]\d/);
  }
});
