import { afterAll, beforeAll, expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Ipv4 } from "../../src/model/ip.ts";
import { TUNNEL, TUNNEL_PORT, TUNNEL_VNI } from "../../src/network/plan-network.ts";
import { LinuxFastPath } from "../../src/platform/linux/fast-path/linux-fast-path.ts";
import { isBpf } from "../../src/platform/linux/fast-path/program-store.ts";
import type { FastPathCounters } from "../../src/platform/ports/fast-path.ts";
import { FastPathLab, HOSTS, HOST_NAMES } from "./fast-path-lab.ts";
import type { HostName } from "./fast-path-lab.ts";
import { answersNoPing, bytesFrom, clientSeenBy, lostPings, pings } from "./network-lab.ts";

const PORT = 7000;
const BIG_PORT = 7001;
const TRANSFER_BYTES = 2_000_000;
const park = new FastPathLab("fast");
/** The one change of the network that both ends need for a packet of their peers to be fast. */
const everyHost = async (): Promise<void> => {
  for (const name of HOST_NAMES) await park.converge(name);
};

async function portCounters(name: HostName): Promise<FastPathCounters> {
  const { fastPath, desired } = park.host(name);
  const found = (await fastPath.counters()).ports.get(desired.ports[0]?.index ?? 0);
  const none = { sentPackets: 0, sentBytes: 0, receivedPackets: 0, receivedBytes: 0, refusedPackets: 0 };
  return found ?? none;
}

async function filters(name: HostName, device: string): Promise<string> {
  const argv = ["tc", "filter", "show", "dev", device, "ingress"];
  return (await park.host(name).space.runner.run(argv)).stdout.trim();
}

beforeAll(async () => {
  await park.up();
  for (const name of HOST_NAMES) {
    await park.lab.serve(park.host(name).container, PORT, "printenv SOCAT_PEERADDR");
    await park.lab.serve(park.host(name).container, BIG_PORT, `head -c ${TRANSFER_BYTES} /dev/zero`);
  }
}, 60_000);

afterAll(async () => {
  await park.close();
  expect(await park.lab.leftovers()).toEqual([]);
}, 60_000);

test("the first pass puts everything in place, the second finds nothing to do", async () => {
  const done = await park.converge("a");
  expect(done.filter(({ kind }) => kind === "attach")).toEqual([
    { kind: "attach", filter: { device: "apollo-vx0", program: "from_tunnel" } },
    { kind: "attach", filter: { device: "eth0", program: "from_uplink" } },
    { kind: "attach", filter: { device: "veth-ca", program: "from_container" } },
  ]);
  expect(await park.converge("a")).toEqual([]);
});

test.each([
  ["direct", "b"],
  ["VXLAN", "c"],
] as const)("%s: pings, connections and bulk data take the fast path, addresses unchanged", async (_mode, other) => {
  await everyHost();
  const { container } = park.host("a");
  const address = HOSTS[other].container;
  const before = await portCounters(other);
  expect(await pings(container, address)).toBe(2);
  const pinged = await portCounters(other);
  expect(pinged.receivedPackets - before.receivedPackets).toBe(2);
  expect(pinged.sentPackets - before.sentPackets).toBe(2);
  expect(await clientSeenBy(container, address, PORT)).toBe(HOSTS.a.container);
  expect(await bytesFrom(container, address, BIG_PORT)).toBe(TRANSFER_BYTES);
  const after = await portCounters(other);
  expect(after.sentBytes - pinged.sentBytes).toBeGreaterThan(TRANSFER_BYTES);
  const peers = (await park.host(other).fastPath.counters()).peers;
  expect(peers.get(HOSTS.a.address)?.sentBytes).toBeGreaterThan(TRANSFER_BYTES);
});

/** That came through the tunnel's device, and not opened by a program before it. */
async function tunnelPackets(name: HostName): Promise<number> {
  const argv = ["cat", `/sys/class/net/${TUNNEL}/statistics/rx_packets`];
  return Number((await park.host(name).space.runner.run(argv)).stdout);
}

test("what ends in a container comes out of its tunnel at the uplink, the rest and what met congestion at the tunnel's device", async () => {
  await everyHost();
  const { container, desired } = park.host("a");
  const ends = desired.ports.map((port) => ({ ...port, ends: true as const }));
  await park.converge("a", { ports: ends });
  const before = await tunnelPackets("a");
  const counted = await portCounters("a");
  expect(await pings(container, HOSTS.c.container)).toBe(2);
  expect(await bytesFrom(container, HOSTS.c.container, BIG_PORT)).toBe(TRANSFER_BYTES);
  const opened = await tunnelPackets("a");
  // The segment with SYN, which the kernel handles.
  expect(opened - before).toBe(1);
  const { receivedBytes, receivedPackets } = await portCounters("a");
  expect(receivedBytes - counted.receivedBytes).toBeGreaterThan(TRANSFER_BYTES);
  expect(receivedPackets - counted.receivedPackets).toBeGreaterThan(TRANSFER_BYTES / 1450);
  const { stdout } = await container.runner.run(["ping", "-n", "-c", "1", "-W", "10", HOSTS.c.container]);
  expect(stdout).toContain("ttl=62");
  const { runner } = park.router;
  await runner.run(["nft", "-f", "-"], {
    stdin: `table ip congested { chain c { type filter hook forward priority 0; udp dport ${TUNNEL_PORT} ip ecn set ce; }; }\n`,
  });
  try {
    // Capable of it, as the answer is then too: for what is not, the mark means to be dropped (RFC 6040).
    const capable = ["ping", "-n", "-c", "1", "-W", "10", "-Q", "2", HOSTS.c.container];
    expect((await container.runner.run(capable)).stdout).toContain("1 received");
    expect(await tunnelPackets("a")).toBe(opened + 1);
  } finally {
    await runner.run(["nft", "delete", "table", "ip", "congested"]);
  }
  await park.converge("a");
  const closed = await tunnelPackets("a");
  expect(await bytesFrom(container, HOSTS.c.container, BIG_PORT)).toBe(TRANSFER_BYTES);
  expect(await tunnelPackets("a")).toBeGreaterThan(closed + 1);
});

/** asm-generic/socket.h */
const SO_NO_CHECK = 11;

/** RFC 7348: our network's number, a frame, and in it an empty UDP datagram. */
function vxlanDatagram(from: Ipv4, to: Ipv4): Uint8Array {
  const ip = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, ...bytesOf(from), ...bytesOf(to)];
  const sum = ip.reduce((total, byte, at) => total + (at % 2 === 0 ? byte * 256 : byte), 0);
  const check = 0xffff - ((sum & 0xffff) + (sum >> 16));
  ip.splice(10, 2, check >> 8, check & 0xff);
  const frame = [0x0a, 0x70, 0, 0, 0, 1, 0x0a, 0x70, 0, 0, 0, 2, 0x08, 0x00];
  return Uint8Array.from([8, 0, 0, 0, 0, 0, TUNNEL_VNI, 0, ...frame, ...ip, 0, 9, 0, 9, 0, 8, 0, 0]);
}

function bytesOf(address: Ipv4): readonly number[] {
  return address.split(".").map(Number);
}

test("nobody but the peer itself, in its own network and to the right end, opens a packet at the uplink", async () => {
  await everyHost();
  const { desired } = park.host("a");
  const ends = desired.ports.map((port) => ({ ...port, ends: true as const }));
  await park.converge("a", { ports: ends });
  const before = await portCounters("a");
  // b is a direct peer, so what says that it comes from c's block through a tunnel of b is none of the fast path's business.
  const file = join(tmpdir(), `apollo-${park.host("b").space.name}-forged`);
  writeFileSync(file, vxlanDatagram(HOSTS.c.container, HOSTS.a.container));
  try {
    // RFC 7348 wants no UDP checksum: what has one is not looked at.
    const to = `UDP:${HOSTS.a.address}:${TUNNEL_PORT},setsockopt-int=1:${SO_NO_CHECK}:1`;
    await park.host("b").space.runner.run(["socat", "-u", `OPEN:${file}`, to]);
  } finally {
    rmSync(file);
  }
  expect(await pings(park.host("a").container, HOSTS.c.container)).toBe(2);
  expect((await portCounters("a")).receivedPackets - before.receivedPackets).toBe(2);
  await park.converge("a");
});

test("a source that is not the port's is dropped and counted, with the right MAC and with a wrong one", async () => {
  await everyHost();
  const { container } = park.host("a");
  const before = await portCounters("a");
  await container.runner.run(["ip", "address", "add", "10.2.1.77/32", "dev", "eth0"]);
  try {
    const argv = ["ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", "-I", "10.2.1.77", HOSTS.b.container];
    const { stdout } = await container.runner.run(argv, { okCodes: [1] });
    expect(stdout).toContain("2 packets transmitted, 0 received");
    expect((await portCounters("a")).refusedPackets - before.refusedPackets).toBe(2);
  } finally {
    await container.runner.run(["ip", "address", "delete", "10.2.1.77/32", "dev", "eth0"]);
  }
  const { stdout: mac } = await container.runner.run(["cat", "/sys/class/net/eth0/address"]);
  await container.runner.run(["ip", "link", "set", "eth0", "address", "02:00:00:00:be:ef"]);
  try {
    expect(await answersNoPing(container, HOSTS.b.container)).toBe(true);
  } finally {
    await container.runner.run(["ip", "link", "set", "eth0", "address", mac.trim()]);
  }
  expect(await pings(container, HOSTS.b.container)).toBe(2);
});

test.each(["b", "c"] as const)(
  "each host takes one from the TTL on the way to %s, and says when none is left",
  async (other) => {
    await everyHost();
    const { container } = park.host("a");
    const { stdout } = await container.runner.run(["ping", "-n", "-c", "1", "-W", "10", HOSTS[other].container]);
    expect(stdout).toContain("ttl=62");
    const last = ["ping", "-n", "-c", "1", "-W", "10", "-t", "1", HOSTS[other].container];
    expect((await container.runner.run(last, { okCodes: [1] })).stdout).toContain(
      "From 10.2.1.1 icmp_seq=1 Time to live exceeded",
    );
  },
);

test("a packet too large for the way gets the kernel's ICMP with the size that fits", async () => {
  await everyHost();
  const { container } = park.host("a");
  const argv = ["ping", "-n", "-c", "1", "-W", "10", "-M", "do", "-s", String(1500 - 28), HOSTS.c.container];
  expect((await container.runner.run(argv, { okCodes: [1] })).stdout).toContain("mtu = 1450");
  expect(await pings(container, HOSTS.c.container, 1450)).toBe(2);
  // In fragments, which are the kernel's business.
  const whole = ["ping", "-n", "-c", "1", "-W", "10", "-s", "4000", HOSTS.b.container];
  expect((await container.runner.run(whole)).stdout).toContain("1 received");
});

test("what policy marks goes the slow way in both directions, and back", async () => {
  const slow = [HOSTS.b.container];
  for (const name of HOST_NAMES) await park.converge(name, { slow: slow.map((address) => `${address}/32`) });
  const { container } = park.host("a");
  const before = await Promise.all([portCounters("a"), portCounters("b")]);
  expect(await pings(container, HOSTS.b.container)).toBe(2);
  expect(await bytesFrom(container, HOSTS.b.container, BIG_PORT)).toBe(TRANSFER_BYTES);
  expect(await Promise.all([portCounters("a"), portCounters("b")])).toEqual(before);
  // Others are as fast as before.
  expect(await pings(container, HOSTS.c.container)).toBe(2);
  expect((await portCounters("c")).receivedPackets).toBeGreaterThan(0);
  expect((await portCounters("a")).sentPackets - (before[0]?.sentPackets ?? 0)).toBe(2);
  await everyHost();
  expect(await pings(container, HOSTS.b.container)).toBe(2);
  expect((await portCounters("b")).receivedPackets - (before[1]?.receivedPackets ?? 0)).toBe(2);
});

test("answers to a client of a virtual address meet the connection table, other traffic of it stays fast", async () => {
  const { space, container } = park.host("a");
  await park.converge("a", { virtual: ["10.3.0.0/24"] });
  await park.converge("b");
  await space.runner.run(["nft", "-f", "-"], {
    stdin: `table ip vip { chain c { type nat hook prerouting priority dstnat; ip daddr 10.3.0.7 tcp dport ${BIG_PORT} dnat to ${HOSTS.b.container}; }; }\n`,
  });
  try {
    const before = await portCounters("a");
    expect(await bytesFrom(container, "10.3.0.7", BIG_PORT)).toBe(TRANSFER_BYTES);
    const after = await portCounters("a");
    expect(after.receivedPackets).toBe(before.receivedPackets);
    expect(await bytesFrom(container, HOSTS.b.container, BIG_PORT)).toBe(TRANSFER_BYTES);
    expect((await portCounters("a")).receivedBytes - after.receivedBytes).toBeGreaterThan(TRANSFER_BYTES);
  } finally {
    await space.runner.run(["nft", "delete", "table", "ip", "vip"]);
  }
});

test("who is no peer goes through the host's own rules", async () => {
  await everyHost();
  const before = await portCounters("b");
  // From the uplink's own address, not from a block: a neighbour on the wire, not a container.
  const { code } = await park
    .host("a")
    .space.runner.run(
      ["socat", "-T1", "-", `TCP:${HOSTS.b.container}:${PORT},bind=${HOSTS.a.address},connect-timeout=1`],
      { okCodes: [0, 1] },
    );
  expect(code).toBe(1);
  expect((await portCounters("b")).receivedPackets).toBe(before.receivedPackets);
});

test("an agent that starts again adopts what is there: nothing is lost, nothing is done", async () => {
  await everyHost();
  const { container } = park.host("a");
  const lost = lostPings(container, HOSTS.b.container, { count: 150, gapSec: 0.01 });
  const id = /id (\d+)/.exec(await filters("a", "eth0"))?.[1];
  for (let start = 0; start < 3; start++) {
    expect(await park.converge("a", {}, park.anotherAgent("a"))).toEqual([]);
  }
  expect(await lost).toEqual([]);
  expect(/id (\d+)/.exec(await filters("a", "eth0"))?.[1]).toBe(id ?? "");
});

test("another release of the programs takes over under traffic without losing a packet", async () => {
  await everyHost();
  const { container, space, directory } = park.host("a");
  const object = await park.otherRelease();
  const run = park.runnerOf(space);
  const next = new LinuxFastPath({ runner: run, directory, object: () => Promise.resolve(object) });
  const lost = lostPings(container, HOSTS.b.container, { count: 100, gapSec: 0.01 });
  const done = await park.converge("a", {}, next);
  expect(done.filter(({ kind }) => kind === "attach")).toHaveLength(3);
  expect(await lost).toEqual([]);
  await next.remove();
  await park.host("a").fastPath.remove();
});

test("removed, it leaves no filter, no pin and no mount, and everything still works", async () => {
  await everyHost();
  for (const name of HOST_NAMES) await park.host(name).fastPath.remove();
  for (const device of ["eth0", "apollo-vx0", "veth-ca"]) expect(await filters("a", device)).toBe("");
  expect((await park.host("a").space.runner.run(["tc", "qdisc", "show"])).stdout).not.toContain("clsact");
  expect(isBpf(park.host("a").directory)).toBe(false);
  expect(await pings(park.host("a").container, HOSTS.b.container)).toBe(2);
  await park.host("a").fastPath.remove();
});
