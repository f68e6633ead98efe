import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Holder } from "../../src/model/holder.ts";
import type { Ipv4 } from "../../src/model/ip.ts";
import { parseIpv4 } from "../../src/model/ip.ts";
import type { PolicyRule } from "../../src/model/network-config.ts";
import { parseNetworkObject } from "../../src/model/network-config.ts";
import { gatewayOf } from "../../src/network/blocks.ts";
import type { LocalPort } from "../../src/network/local-port.ts";
import { BRIDGE, NETWORK_SYSCTLS, TUNNEL, planNetwork } from "../../src/network/plan-network.ts";
import { planPolicy } from "../../src/network/policy/plan-policy.ts";
import { refusalCounter, renderPolicy } from "../../src/network/policy/render-policy.ts";
import { SPOOF_COUNTERS, renderSourceCheck } from "../../src/network/policy/render-source-check.ts";
import { renderRuleset } from "../../src/network/render-ruleset.ts";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { LinuxHostNetwork } from "../../src/platform/linux/host-network.ts";
import { LinuxRuleCounters } from "../../src/platform/linux/rule-counters.ts";
import type { Namespace } from "./network-lab.ts";
import {
  NetworkLab,
  answersNoPing,
  clientSeenBy,
  lostPings,
  pings,
  takesNoConnection,
  waitFor,
} from "./network-lab.ts";

const RANGE = "10.2.0.0/16";
const HOSTS = {
  a: { address: parseIpv4("192.0.2.1"), block: "10.2.1.0/24" },
  b: { address: parseIpv4("192.0.2.2"), block: "10.2.2.0/24" },
} as const;
type HostName = keyof typeof HOSTS;
/** By name: host, address, app. */
const CONTAINERS = {
  weba: { host: "a", address: parseIpv4("10.2.1.5"), app: "/web" },
  dba: { host: "a", address: parseIpv4("10.2.1.6"), app: "/db" },
  eva: { host: "a", address: parseIpv4("10.2.1.7"), app: "/eve" },
  webb: { host: "b", address: parseIpv4("10.2.2.5"), app: "/web" },
  evb: { host: "b", address: parseIpv4("10.2.2.7"), app: "/eve" },
} as const;
type ContainerName = keyof typeof CONTAINERS;
const NAMES = Object.keys(CONTAINERS) as ContainerName[];
const DB = CONTAINERS.dba.address;
const TCP = 5432;
const UDP = 5353;
const UDP_ANSWER = "udp-answer";

const lab = new NetworkLab("policy");
const frames = mkdtempSync(join(tmpdir(), "apollo-frames-"));
const spaces = new Map<string, Namespace>();
const macs = new Map<ContainerName, string>();

function space(name: string): Namespace {
  const found = spaces.get(name);
  if (found === undefined) throw new Error(`There is no namespace ${name}`);
  return found;
}

const holders = NAMES.map((name): Holder => {
  const { host, address, app } = CONTAINERS[name];
  const [network, instance, services] = ["apollo", null, [app.slice(1)]];
  return {
    id: `${host}:${name}:${network}`,
    address,
    network,
    host,
    container: name,
    instance,
    app,
    services,
    labels: {},
  };
});

function portsOf(host: HostName): readonly LocalPort[] {
  return NAMES.filter((name) => CONTAINERS[name].host === host && macs.has(name)).map((name, index) => ({
    network: "apollo",
    device: `veth-${name}`,
    index,
    mac: macs.get(name) ?? "",
    addresses: [CONTAINERS[name].address],
    container: name,
  }));
}

interface Want {
  readonly rules?: readonly PolicyRule[];
  readonly policy?: "open" | "deny";
  /** Containers whose ports the host does not know (yet). */
  readonly unknown?: readonly ContainerName[];
}

const rule = (value: object): PolicyRule => parseNetworkObject("policy", value);
const ONLY_WEB = rule({
  name: "db",
  from: [{ app: "/web" }],
  to: [{ app: "/db" }],
  ports: [
    { protocol: "tcp", from: TCP, to: TCP },
    { protocol: "udp", from: UDP, to: UDP + 1 },
  ],
});

function planFor(host: HostName, { rules = [], policy = "open" }: Want): ReturnType<typeof planPolicy> {
  const hostAddresses = Object.values(HOSTS).flatMap(({ address, block }) => [address, gatewayOf([block])]);
  const networks = [{ name: "apollo", bridge: BRIDGE, policy }];
  return planPolicy({ networks, rules, holders, hostAddresses, host });
}

async function pass(name: HostName, want: Want): Promise<number> {
  const network = new LinuxHostNetwork({ runner: space(name).runner, clock: systemClock });
  const { block } = HOSTS[name];
  const other = name === "a" ? HOSTS.b : HOSTS.a;
  const policy = renderPolicy(planFor(name, want));
  const ports = portsOf(name).filter(({ container }) => !want.unknown?.some((each) => each === container));
  const source = renderSourceCheck(ports, want.policy === "deny" ? [{ name: "apollo", bridge: BRIDGE }] : []);
  const parts = [...(policy === null ? [] : [policy]), source];
  const peer = { gateway: gatewayOf([other.block]), underlay: other.address, blocks: [other.block] };
  const desired = {
    range: RANGE,
    gateway: gatewayOf([block]),
    bridgeMtu: 1500,
    tunnel: null,
    peers: [{ ...peer, mode: "direct" as const, device: "eth0", mtu: 1500 }],
    ruleset: renderRuleset({ range: RANGE, bridge: BRIDGE, parts }),
  };
  const observed = await network.observe({ sysctls: NETWORK_SYSCTLS, range: RANGE, tunnelDevice: TUNNEL });
  const actions = planNetwork(desired, observed);
  for (const action of actions) await network.apply(action);
  return actions.length;
}

async function enforce(want: Want): Promise<void> {
  await pass("a", want);
  await pass("b", want);
}

function refusedAt(host: HostName): Promise<ReadonlyMap<string, number>> {
  return new LinuxRuleCounters({ runner: space(host).runner }).packets();
}

async function spoofed(kind: keyof typeof SPOOF_COUNTERS): Promise<number> {
  return (await refusedAt("a")).get(SPOOF_COUNTERS[kind]) ?? 0;
}

/** A frame is counted a moment after it was sent; that no more of them are, a further one that is let through shows. */
async function expectSpoofed(kind: keyof typeof SPOOF_COUNTERS, count: number): Promise<void> {
  await waitFor(`${count} refusals`, async () => (await spoofed(kind)) >= count);
  expect(await spoofed(kind)).toBe(count);
}

async function reachesTcp(from: string, address: string = DB): Promise<boolean> {
  return (await clientSeenBy(space(from), address, TCP)) !== null;
}

/** A refused connection is dropped: nothing is said to it. */
function missesTcp(from: string, address: string = DB): Promise<boolean> {
  return takesNoConnection(space(from), address, TCP);
}

function missesPing(from: string, address: string = DB): Promise<boolean> {
  return answersNoPing(space(from), address);
}

/** A datagram may be lost on a busy machine, so it is asked a few times. */
async function reachesUdp(from: string): Promise<boolean> {
  for (let round = 0; round < 5; round += 1) if (await askUdp(from, 3)) return true;
  return false;
}

async function missesUdp(from: string): Promise<boolean> {
  return !(await askUdp(from, 0.7)) && !(await askUdp(from, 0.7));
}

async function askUdp(from: string, waitSec: number): Promise<boolean> {
  // It ends with the answer: a datagram has no end that could be waited for.
  const argv = ["socat", `-T${waitSec}`, `-t${waitSec}`, "-", `UDP:${DB}:${UDP},readbytes=${UDP_ANSWER.length + 1}`];
  const { stdout } = await space(from).runner.run(argv, { stdin: "hello\n", okCodes: [0, 1] });
  return stdout === `${UDP_ANSWER}\n`;
}

/** Sends one frame as it is, whatever the kernel of the container thinks of it. */
async function sendFrame(from: string, hex: string): Promise<void> {
  const file = `${frames}/${hex.length}-${from}`;
  await Bun.write(file, Buffer.from(hex, "hex"));
  await space(from).runner.run(["socat", "-u", `FILE:${file}`, "INTERFACE:eth0"]);
}

// A test that is ended in its middle leaves a container with a foreign MAC to the next ones.
setDefaultTimeout(60_000);

beforeAll(async () => {
  for (const name of ["a", "b"] as const) spaces.set(name, await lab.addNamespace(name));
  const end = (name: HostName) => ({ at: space(name), device: "eth0", address: `${HOSTS[name].address}/24` });
  await lab.wire(end("a"), end("b"));
  await enforce({});
  for (const name of NAMES) {
    const { host, address } = CONTAINERS[name];
    const container = await lab.addContainer(space(host), name, address);
    spaces.set(name, container);
    const { stdout } = await container.runner.run(["cat", "/sys/class/net/eth0/address"]);
    macs.set(name, stdout.trim());
    await lab.serve(container, TCP, "printenv SOCAT_PEERADDR");
  }
  const db = space("dba");
  // A program that does not read what it is asked may have ended before socat writes that, and its answer is lost then.
  lab.start(db, ["socat", "-t5", `UDP-RECVFROM:${UDP},fork`, `EXEC:sed -u s/.*/${UDP_ANSWER}/;q`]);
  await lab.listens(db, "-Hlun", UDP);
}, 60_000);

afterAll(async () => {
  await lab.close();
  rmSync(frames, { recursive: true });
  expect(await lab.leftovers()).toEqual([]);
}, 60_000);

test("an open network lets all talk, and a second pass has nothing to do", async () => {
  await enforce({});
  expect(await pass("a", {})).toBe(0);
  for (const from of ["weba", "eva", "webb", "evb"]) expect([from, await reachesTcp(from)]).toEqual([from, true]);
  expect(await reachesUdp("evb")).toBe(true);
});

test("a rule closes its containers to others on this host and the next, for TCP, UDP and ICMP", async () => {
  await enforce({ rules: [ONLY_WEB] });
  // One after the other: the UDP server takes one question at a time.
  for (const from of ["weba", "webb"]) {
    expect([from, await reachesTcp(from), await reachesUdp(from)]).toEqual([from, true, true]);
  }
  const others = ["eva", "evb"];
  expect(await Promise.all(["weba", "webb", ...others].map((from) => missesPing(from)))).toEqual(Array(4).fill(true));
  expect(await Promise.all(others.map((from) => missesTcp(from)))).toEqual([true, true]);
  expect(await Promise.all(others.map((from) => missesUdp(from)))).toEqual([true, true]);
  // Nobody else is closed, and what the database itself begins is answered.
  expect(await reachesTcp("eva", CONTAINERS.webb.address)).toBe(true);
  expect(await reachesTcp("dba", CONTAINERS.evb.address)).toBe(true);
  const [group] = planFor("a", { rules: [ONLY_WEB] }).groups;
  expect((await refusedAt("a")).get(refusalCounter(group?.id ?? "")) ?? 0).toBeGreaterThan(8);
}, 60_000);

test("refusals are kept by who asked whom for what", async () => {
  await enforce({ rules: [ONLY_WEB] });
  expect(await missesTcp("evb")).toBe(true);
  const refusals = await new LinuxRuleCounters({ runner: space("a").runner }).refusals();
  const mine = refusals.find(({ source, protocol }) => source === CONTAINERS.evb.address && protocol === "tcp");
  expect(mine).toMatchObject({ destination: DB, port: TCP });
  expect(mine?.packets ?? 0).toBeGreaterThan(0);
});

test("a closed network is open only where a rule says so; hosts need one as well, but for root on the host itself", async () => {
  const rules = [rule({ name: "web", from: [{ app: "/eve" }], to: [{ app: "/web" }] })];
  await enforce({ policy: "deny", rules });
  const { webb } = CONTAINERS;
  const tries = [reachesTcp("eva", webb.address), missesTcp("weba"), missesTcp("dba", webb.address)];
  expect(await Promise.all(tries)).toEqual([true, true, true]);
  // Root on the container's own host: health checks. Others there and all on other hosts need a rule.
  const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "socat", "-u"];
  const asNobody = async (waitSec: number): Promise<boolean> => {
    const argv = [...nobody, `TCP:${DB}:${TCP},connect-timeout=${waitSec}`, "STDOUT"];
    return (await space("a").runner.run(argv, { okCodes: [0, 1] })).code === 0;
  };
  expect(await reachesTcp("a")).toBe(true);
  expect(await Promise.all([asNobody(0.7), missesTcp("b")])).toEqual([false, true]);
  await enforce({ policy: "deny", rules: [...rules, rule({ name: "hosts", from: [{ host: "any" }] })] });
  expect([await reachesTcp("a"), await asNobody(8), await reachesTcp("b")]).toEqual([true, true, true]);
  expect(await missesTcp("weba")).toBe(true);
}, 60_000);

test("a container that takes another's address gets nowhere with it", async () => {
  await enforce({ rules: [ONLY_WEB] });
  const eve = space("eva").runner;
  const before = await spoofed("address");
  await eve.run(["ip", "address", "add", `${CONTAINERS.webb.address}/32`, "dev", "eth0"]);
  const argv = ["socat", "-T1", "-", `TCP:${DB}:${TCP},bind=${CONTAINERS.webb.address},connect-timeout=1`];
  const { code } = await eve.run(argv, { okCodes: [0, 1] });
  await eve.run(["ip", "address", "delete", `${CONTAINERS.webb.address}/32`, "dev", "eth0"]);
  expect(code).toBe(1);
  expect(await spoofed("address")).toBeGreaterThan(before);
  expect(await pings(space("eva"), CONTAINERS.weba.address)).toBe(2);
});

test("a container that takes another MAC is not heard, and does not steal that MAC's port", async () => {
  await enforce({});
  const eve = space("eva").runner;
  const own = macs.get("eva") ?? "";
  const before = await spoofed("mac");
  await eve.run(["ip", "link", "set", "eth0", "address", macs.get("weba") ?? ""]);
  expect(await missesPing("eva")).toBe(true);
  expect(await spoofed("mac")).toBeGreaterThan(before);
  expect(await pings(space("dba"), CONTAINERS.weba.address)).toBe(2);
  await eve.run(["ip", "link", "set", "eth0", "address", own]);
  expect(await pings(space("eva"), DB)).toBe(2);
});

test("a forged ARP answer does not reach the one it is meant for", async () => {
  await enforce({});
  expect(await pings(space("dba"), CONTAINERS.weba.address)).toBe(2);
  const [eve, victim] = [bytesOf(macs.get("eva") ?? ""), bytesOf(macs.get("dba") ?? "")];
  const before = await spoofed("address");
  // Answer (2) to the database: "10.2.1.5, which is weba's, is at eve's MAC".
  const body = `0001080006040002${eve}${addressBytes(CONTAINERS.weba.address)}${victim}${addressBytes(DB)}`;
  await sendFrame("eva", `${victim}${eve}0806${body}`);
  await expectSpoofed("address", before + 1);
  const { stdout } = await space("dba").runner.run(["ip", "neighbour", "show", CONTAINERS.weba.address]);
  expect(stdout).toContain(macs.get("weba") ?? "none");
});

test("a VLAN tag does not carry a packet past the check", async () => {
  await enforce({});
  const [eve, victim] = [bytesOf(macs.get("eva") ?? ""), bytesOf(macs.get("dba") ?? "")];
  const before = await spoofed("address");
  // An empty UDP packet of its own address: all is true of it but that it is inside a tag.
  const packet = `4500001c000000004011${"0000"}${addressBytes(CONTAINERS.eva.address)}${addressBytes(DB)}${"00".repeat(26)}`;
  await sendFrame("eva", `${victim}${eve}810000050800${packet}`);
  await expectSpoofed("address", before + 1);
  await sendFrame("eva", `${victim}${eve}0800${packet}`);
  await expectSpoofed("address", before + 1);
});

test("a router that nobody asked for is not heard; neighbour discovery is", async () => {
  await enforce({});
  const eve = bytesOf(macs.get("eva") ?? "");
  const before = await spoofed("address");
  const linkLocal = `fe80${"00".repeat(13)}07`;
  const all = `ff02${"00".repeat(13)}01`;
  const frame = (type: string): string =>
    `333300000001${eve}86dd6000000000183aff${linkLocal}${all}${type}00${"00".repeat(6)}${linkLocal}`;
  await sendFrame("eva", frame("86"));
  await expectSpoofed("address", before + 1);
  await sendFrame("eva", frame("88"));
  await expectSpoofed("address", before + 1);
});

test("a port that is not known yet may send in an open network and not in a closed one", async () => {
  const open = [rule({ name: "all" })];
  await enforce({ rules: open, unknown: ["eva"] });
  expect(await pings(space("eva"), DB)).toBe(2);
  await enforce({ policy: "deny", rules: open, unknown: ["eva"] });
  expect(await Promise.all([DB, CONTAINERS.webb.address].map((to) => missesPing("eva", to)))).toEqual([true, true]);
  await enforce({ policy: "deny", rules: open });
  expect([await pings(space("eva"), DB), await pings(space("eva"), CONTAINERS.webb.address)]).toEqual([2, 2]);
});

test("tables that somebody deletes are found missing, put back, and taken away whole", async () => {
  await enforce({ rules: [ONLY_WEB] });
  const { runner } = space("a");
  for (const family of ["bridge", "inet"]) {
    await runner.run(["nft", "delete", "table", family, "apollo"]);
    expect([await pass("a", { rules: [ONLY_WEB] }), await pass("a", { rules: [ONLY_WEB] })]).toEqual([1, 0]);
  }
  await new LinuxHostNetwork({ runner, clock: systemClock }).apply({ kind: "delete-ruleset" });
  expect((await runner.run(["nft", "list", "tables"])).stdout).not.toContain(" apollo");
});

test("rules replaced under traffic lose no packet of what is allowed, and connections that exist go on", async () => {
  await enforce({ rules: [ONLY_WEB] });
  const more = rule({ name: "more", from: [{ app: "/web" }], to: [{ app: "/db" }] });
  await enforce({ rules: [ONLY_WEB, more] });
  const lost = lostPings(space("webb"), DB, { count: 150, gapSec: 0.015 });
  let ended = false;
  void lost.finally(() => (ended = true)).catch(() => undefined);
  let changes = 0;
  while (!ended) {
    // ICMP is allowed by one of them only: what has begun under it goes on without.
    await pass("a", { rules: changes % 2 === 0 ? [ONLY_WEB] : [ONLY_WEB, more] });
    changes += 1;
  }
  expect(changes).toBeGreaterThan(3);
  expect(await lost).toEqual([]);
}, 60_000);

function bytesOf(mac: string): string {
  return mac.replaceAll(":", "");
}

function addressBytes(address: Ipv4): string {
  return address
    .split(".")
    .map((part) => Number(part).toString(16).padStart(2, "0"))
    .join("");
}
