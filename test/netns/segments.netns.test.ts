// Two segments with the same range on two hosts, and routed networks beside them, on real kernels.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { parseIpv4 } from "../../src/model/ip.ts";
import type { Ipv4 } from "../../src/model/ip.ts";
import type { DeclaredNetwork } from "../../src/network/declared-network.ts";
import { bridgeOf } from "../../src/network/declared-network.ts";
import { planDeclaredNetworks } from "../../src/network/plan-declared-networks.ts";
import { renderSourceCheck } from "../../src/network/policy/render-source-check.ts";
import { renderDeclaredNetworks } from "../../src/network/render-declared-networks.ts";
import { renderRuleset } from "../../src/network/render-ruleset.ts";
import { LinuxSegments } from "../../src/platform/linux/linux-segments.ts";
import { NetworkLab, answersNoPing, pings } from "./network-lab.ts";
import type { Namespace } from "./network-lab.ts";

const lab = new NetworkLab("seg");
const RANGE = "10.2.0.0/16";
const common = { policy: "open", internal: false } as const;
const A: DeclaredNetwork = { ...common, name: "a", layer2: true, range: "10.9.0.0/24", vni: 1001 };
const B: DeclaredNetwork = { ...common, name: "b", layer2: true, range: "10.9.0.0/24", vni: 1002 };
const BLUE: DeclaredNetwork = { ...common, name: "blue", layer2: false, range: "10.50.0.0/16", vni: 1003 };
const RED: DeclaredNetwork = { ...common, name: "red", layer2: false, range: "10.51.0.0/16", vni: 1004 };
const NETWORKS = [A, B, BLUE, RED];
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
  const desired = { local: gateway, networks: networks.map((each) => ({ ...each, hosts: each.layer2 ? [peer] : [] })) };
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
  await at.runner.run(["ip", "link", "set", "apollo0", "up"]);
  return { at, gateway, peer };
}

/** A container on a bridge; two of one address may be on different ones. */
async function addContainer(host: Host, name: string, network: DeclaredNetwork, address: string): Promise<Namespace> {
  const container = await lab.addNamespace(name);
  const prefix = network.range.split("/")[1];
  const ends = [
    { at: container, device: "eth0", address: `${address}/${prefix}` },
    { at: host.at, device: `veth-${name}` },
  ] as const;
  await lab.wire(...ends);
  const mtu = network.layer2 ? "1390" : "1500";
  await container.runner.run(["ip", "link", "set", "eth0", "mtu", mtu]);
  await container.runner.run(["sysctl", "-q", "-w", "net/ipv4/icmp_echo_ignore_broadcasts=0"]);
  await host.at.runner.run(["ip", "link", "set", `veth-${name}`, "master", bridgeOf(network.vni)]);
  if (!network.layer2)
    await container.runner.run(["ip", "route", "add", "default", "via", network.range.replace("0.0/16", "0.1")]);
  containers.set(name, container);
  return container;
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
  for (const [host, other, block] of [
    [h1, "192.0.2.2", 2],
    [h2, "192.0.2.1", 1],
  ] as const) {
    for (const range of [`10.2.${block}.0/24`, `10.50.${block}.0/24`, `10.51.${block}.0/24`]) {
      await host.at.runner.run(["ip", "route", "add", range, "via", other, "src", host.gateway, "protocol", "201"]);
    }
    const part = renderDeclaredNetworks({ networks: NETWORKS, range: RANGE, hosts: GATEWAYS });
    const check = renderSourceCheck([], [], [A.name, B.name]);
    const { text } = renderRuleset({ range: RANGE, bridge: "apollo0", parts: part === null ? [check] : [part, check] });
    await host.at.runner.run(["nft", "-f", "-"], { stdin: text });
    expect(await applyAll(host, NETWORKS)).toBe(1);
  }
  for (const [number, host] of hosts.entries()) {
    await addContainer(host, `a${number + 1}`, A, `10.9.0.${number + 11}`);
    await addContainer(host, `b${number + 1}`, B, `10.9.0.${number + 11}`);
    await addContainer(host, `blue${number + 1}`, BLUE, `10.50.${number + 1}.10`);
    await addContainer(host, `red${number + 1}`, RED, `10.51.${number + 1}.10`);
  }
  await addContainer(h2, "b3", B, "10.9.0.33");
}, 60_000);
afterAll(() => lab.close());

async function answers(from: Namespace, address: string): Promise<readonly string[]> {
  const argv = ["ping", "-n", "-b", "-c", "3", "-i", "0.3", "-W", "10", "-I", "eth0", address];
  const { stdout } = await from.runner.run(argv, { okCodes: [0, 1] });
  return [...new Set([...stdout.matchAll(/from ([0-9.]+)/g)].map(([, found = ""]) => found))].toSorted();
}

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
  for (const gateway of GATEWAYS) await a1.runner.run(["ip", "route", "replace", `${gateway}/32`, "dev", "eth0"]);
  expect(await Promise.all(GATEWAYS.map((gateway) => answersNoPing(a1, gateway)))).toEqual([true, true]);
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
    const silent = await Promise.all(["10.9.0.33", "10.9.0.11"].map((target) => answersNoPing(blue1, target)));
    expect([remote, ...silent]).toEqual([remote, true, true]);
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
  const apart = [
    ["blue1", "10.51.1.10"],
    ["blue1", "10.51.2.10"],
    ["red1", "10.50.1.10"],
    ["red1", "10.50.2.10"],
  ] as const;
  const silent = await Promise.all(apart.map(([from, target]) => answersNoPing(at(from), target)));
  expect(silent).toEqual([true, true, true, true]);
});

test("what somebody broke is mended, and undeclared networks leave nothing", async () => {
  const [h1] = hosts;
  await h1.at.runner.run(["ip", "link", "set", "apv1001", "nomaster"]);
  await h1.at.runner.run(["bridge", "fdb", "del", "00:00:00:00:00:00", "dev", "apv1001", "dst", "10.2.2.1", "self"]);
  await h1.at.runner.run(["ip", "address", "flush", "dev", "apl1003"]);
  expect(await applyAll(h1, NETWORKS)).toBe(1);
  expect(await pings(at("a1"), "10.9.0.12")).toBe(2);
  for (const host of hosts) {
    expect(await applyAll(host, [])).toBe(1);
    expect((await host.at.runner.run(["ip", "-o", "link"])).stdout).not.toMatch(/ap[lv]\d/);
  }
});
