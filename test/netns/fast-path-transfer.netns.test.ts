/** What large transfers and restarts are like on the fast path: bytes compared, not only packets counted. */
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LinuxFastPath } from "../../src/platform/linux/fast-path/linux-fast-path.ts";
import type { FastPathCounters } from "../../src/platform/ports/fast-path.ts";
import { FastPathLab, HOSTS, HOST_NAMES } from "./fast-path-lab.ts";
import type { HostName } from "./fast-path-lab.ts";
import type { Namespace } from "./network-lab.ts";
import { answersNoPing, clientSeenBy, pings, waitFor } from "./network-lab.ts";

const PORT = 7000;
const PACED_PORT = 7001;
const WHO_PORT = 7002;
const BLOCK_BYTES = 65_536;
const FILE_BYTES = 24_000_000;
const SEGMENT_BYTES = 1400;

const park = new FastPathLab("bulk");
const folder = mkdtempSync(join(tmpdir(), "apollo-bulk-"));
const [file, block, stop, script] = ["file", "block", "stop", "paced.sh"].map((name) => join(folder, name)) as [
  string,
  string,
  string,
  string,
];
const NONE: FastPathCounters = {
  sentPackets: 0,
  sentBytes: 0,
  receivedPackets: 0,
  receivedBytes: 0,
  refusedPackets: 0,
};

const digestOf = (bytes: Uint8Array): string => new Bun.CryptoHasher("sha256").update(bytes).digest("hex");

/** What the server at the address sends until it closes. */
async function fetched(from: Namespace, address: string, port: number): Promise<Uint8Array> {
  const path = join(folder, crypto.randomUUID());
  const argv = ["socat", "-u", `TCP:${address}:${port},connect-timeout=10`, `CREATE:${path}`];
  await from.runner.run(argv, { timeoutMs: 55_000 });
  try {
    return await Bun.file(path).bytes();
  } finally {
    rmSync(path);
  }
}

async function countedAt(name: HostName, index?: number): Promise<FastPathCounters> {
  const { fastPath, desired } = park.host(name);
  return (await fastPath.counters()).ports.get(index ?? desired.ports[0]?.index ?? 0) ?? NONE;
}

async function framesInto(name: HostName): Promise<number> {
  const argv = ["cat", "/sys/class/net/eth0/statistics/rx_packets"];
  return Number((await park.host(name).space.runner.run(argv)).stdout);
}

beforeAll(async () => {
  const random = crypto.getRandomValues(new Uint8Array(BLOCK_BYTES));
  await Bun.write(block, random);
  // Every block differs, so that none can stand in another's place.
  const blocks = Array.from({ length: Math.ceil(FILE_BYTES / BLOCK_BYTES) }, (_, at) =>
    random.map((byte, index) => byte ^ (at * 31 + index)),
  );
  await Bun.write(file, Buffer.concat(blocks).subarray(0, FILE_BYTES));
  await Bun.write(script, `#!/bin/sh\nwhile [ ! -e ${stop} ]; do cat ${block}; sleep 0.01; done\n`);
  chmodSync(script, 0o755);
  await park.up();
  for (const name of HOST_NAMES) {
    const { container } = park.host(name);
    await park.lab.serve(container, PORT, `cat ${file}`);
    await park.lab.serve(container, PACED_PORT, script);
    await park.lab.serve(container, WHO_PORT, "printenv SOCAT_PEERADDR");
  }
}, 60_000);

beforeEach(async () => {
  for (const name of HOST_NAMES) await park.converge(name);
});

afterAll(async () => {
  await park.close();
  rmSync(folder, { recursive: true });
  expect(await park.lab.leftovers()).toEqual([]);
}, 60_000);

test.each([
  ["both ends fast", []],
  ["the sender slow", ["c"]],
  ["the receiver slow", ["a"]],
  ["both ends slow", ["a", "c"]],
] as const)(
  "VXLAN, %s: every byte arrives, large packets stay whole, none is lost to its headers",
  async (_, without) => {
    for (const name of without) await park.host(name).fastPath.remove();
    const [a, c] = [park.host("a").container, park.host("c").container];
    const [frames, digest] = [await framesInto("a"), digestOf(await Bun.file(file).bytes())];
    expect(digestOf(await fetched(a, HOSTS.c.container, PORT))).toBe(digest);
    expect((await framesInto("a")) - frames).toBeLessThan(FILE_BYTES / SEGMENT_BYTES / 2);
    expect(digestOf(await fetched(c, HOSTS.a.container, PORT))).toBe(digest);
    expect(await pings(a, HOSTS.c.container, 1450)).toBe(2);
    expect(await answersNoPing(a, HOSTS.c.container, 1451)).toBe(true);
    const errors = await park.host("c").space.runner.run(["nstat", "-asz", "IpInHdrErrors", "UdpInCsumErrors"]);
    expect(errors.stdout).toMatch(/IpInHdrErrors +0 .*\nUdpInCsumErrors +0 /);
  },
);

test.each(["b", "c"] as const)(
  "a transfer from %s goes on, byte for byte, while agents start again and an update replaces the programs",
  async (other) => {
    const state = { done: false };
    const transfer = fetched(park.host("a").container, HOSTS[other].container, PACED_PORT).finally(() => {
      state.done = true;
    });
    const object = await park.otherRelease();
    const updated: LinuxFastPath[] = [];
    try {
      for (const name of ["a", other] as const) {
        const before = await countedAt(name);
        await waitFor("traffic on the fast path", async () => {
          const now = await countedAt(name);
          return now.sentPackets > before.sentPackets && now.receivedPackets > before.receivedPackets;
        });
        expect(await park.converge(name, {}, park.anotherAgent(name))).toEqual([]);
        const { space, directory } = park.host(name);
        const release = { runner: park.runnerOf(space), directory, object: () => Promise.resolve(object) };
        const next = new LinuxFastPath(release);
        updated.push(next);
        expect((await park.converge(name, {}, next)).filter(({ kind }) => kind === "attach")).toHaveLength(3);
        await waitFor("traffic through the new programs", async () => {
          const ports = [...(await next.counters()).ports.values()];
          return ports.some(({ sentPackets, receivedPackets }) => sentPackets > 10 && receivedPackets > 10);
        });
      }
      expect(state.done).toBe(false);
    } finally {
      await Bun.write(stop, "");
    }
    const bytes = await transfer;
    rmSync(stop);
    const blocks = bytes.length / BLOCK_BYTES;
    expect(blocks).toBeGreaterThan(2);
    const expected = await Bun.file(block).bytes();
    expect(digestOf(bytes)).toBe(digestOf(Buffer.concat(Array.from({ length: blocks }, () => expected))));
    for (const each of updated) await each.remove();
    for (const name of HOST_NAMES) await park.host(name).fastPath.remove();
  },
);

test("a container that restarts while no agent runs is reached at once, and fast again when the agent is back", async () => {
  const { space, container, desired } = park.host("b");
  const [port] = desired.ports;
  const mac = (await container.runner.run(["cat", "/sys/class/net/eth0/address"])).stdout.trim();
  await space.runner.run(["ip", "link", "delete", "veth-cb"]);
  const again = await park.lab.addContainer(space, "cb2", HOSTS.b.container);
  await again.runner.run(["ip", "link", "set", "eth0", "address", mac]);
  await park.lab.serve(again, WHO_PORT, "printenv SOCAT_PEERADDR");

  const far = park.host("a").container;
  expect(await clientSeenBy(far, HOSTS.b.container, WHO_PORT)).toBe(HOSTS.a.container);
  expect(await clientSeenBy(again, HOSTS.a.container, WHO_PORT)).toBe(HOSTS.b.container);
  expect(await pings(far, HOSTS.b.container)).toBe(2);

  const index = Number((await space.runner.run(["cat", "/sys/class/net/veth-cb2/ifindex"])).stdout);
  const before = await countedAt("b", index);
  // The new wire has no program yet; what arrives may be fast already, should the kernel have given it the old one's number.
  expect(before.sentPackets).toBe(0);
  const ports = port === undefined ? [] : [{ ...port, device: "veth-cb2", index, container: "cb2" }];
  await park.converge("b", { ports }, park.anotherAgent("b"));
  expect(await pings(far, HOSTS.b.container)).toBe(2);
  const after = await countedAt("b", index);
  expect([after.sentPackets, after.receivedPackets - before.receivedPackets, after.refusedPackets]).toEqual([2, 2, 0]);
});
