import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import type { Ipv4 } from "../../src/model/ip.ts";
import { parseIpv4 } from "../../src/model/ip.ts";
import type { Ipv6 } from "../../src/model/ip6.ts";
import { parseIpv6 } from "../../src/model/ip6.ts";
import { LinuxProbeSockets } from "../../src/platform/udp/probe-sockets.ts";
import type { Namespace } from "./network-lab.ts";
import { NetworkLab, bytesFrom, clientSeenBy, pings, waitFor } from "./network-lab.ts";
import type { WireguardHost } from "./wireguard-host.ts";
import { Capture } from "./wireguard-host.ts";
import { WireguardHosts } from "./wireguard-hosts.fixture.ts";

// No host has an IPv4 address of its own. Hosts a and b are on one wire; c is behind a router that knows IPv6 alone.
const RANGE6 = "fd12:3456:789a::/64";
const TRANSFER_BYTES = 4_000_000;
const HOSTS = {
  a: { address: parseIpv6("2001:db8:1::1"), block: "10.2.1.0/24" },
  b: { address: parseIpv6("2001:db8:1::2"), block: "10.2.2.0/24" },
  c: { address: parseIpv6("2001:db8:2::3"), block: "10.2.3.0/24" },
} as const;
type Name = keyof typeof HOSTS;
const NAMES = ["a", "b", "c"] as const;
const lab = new NetworkLab("six");
const hosts = new WireguardHosts(NAMES, { lab, places: HOSTS, range6: RANGE6 });

const host = (name: Name): WireguardHost => hosts.get(name);
const container = (name: Name): Namespace => lab.space(`${name}5`);
const address4 = (name: Name): Ipv4 => parseIpv4(HOSTS[name].block.replace(".0/24", ".5"));
const address6 = (name: Name): Ipv6 => hosts.address6(name, address4(name));

async function route(name: Name, destination: string): Promise<string> {
  const family = destination.includes(":") ? "-6" : "-4";
  return (await host(name).space.runner.run(["ip", family, "route", "show", destination])).stdout;
}

/** Every container reaches every other by both families, and is seen as itself. */
async function everyoneReachesEveryone(): Promise<void> {
  for (const from of NAMES) {
    for (const to of NAMES) {
      if (from === to) continue;
      // The first packet over a new link waits for neighbours to be found, which a client may not outwait.
      let seen = null as string | null;
      await waitFor(`an answer to ${from} from ${to}`, async () => {
        seen = await clientSeenBy(container(from), address4(to), 8080);
        return seen !== null;
      });
      expect([from, to, seen]).toEqual([from, to, address4(from)]);
      expect([from, to, await pings(container(from), address6(to))]).toEqual([from, to, 2]);
    }
  }
}

// A busy machine makes each step slow; what counts is what happens.
setDefaultTimeout(120_000);

beforeAll(async () => {
  const router = await lab.addNamespace("router");
  const { runner } = router;
  await runner.run(["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"]);
  await runner.run(["ip", "link", "add", "lan", "type", "bridge"]);
  await runner.run(["ip", "address", "add", "2001:db8:1::254/64", "dev", "lan", "nodad"]);
  await runner.run(["ip", "link", "set", "lan", "up"]);
  for (const name of NAMES) {
    const { address } = HOSTS[name];
    const made = await hosts.add(name);
    await lab.wire({ at: made.space, device: "eth0" }, { at: router, device: `to-${name}` });
    if (name !== "c") await runner.run(["ip", "link", "set", `to-${name}`, "master", "lan"]);
    else await runner.run(["ip", "address", "add", "2001:db8:2::254/64", "dev", "to-c", "nodad"]);
    await made.space.runner.run(["ip", "address", "add", `${address}/64`, "dev", "eth0", "nodad"]);
    const next = name === "c" ? "2001:db8:2::254" : "2001:db8:1::254";
    await made.space.runner.run(["ip", "route", "add", "default", "via", next]);
  }
  hosts.introduce();
  await hosts.settle();
  for (const name of NAMES) {
    const made = await hosts.addContainer(name, `${name}5`, address4(name));
    await lab.serve(made, 8080, "printenv SOCAT_PEERADDR");
    await lab.serve(made, 9000, `head -c ${TRANSFER_BYTES} /dev/zero`);
  }
});

afterAll(async () => {
  await hosts.close();
  await lab.close();
  expect(await lab.leftovers()).toEqual([]);
});

test("pathTo() sees the shared wire and the router", async () => {
  const network = host("a").network();
  const source = HOSTS.a.address;
  expect(await network.pathTo(HOSTS.b.address)).toEqual({ device: "eth0", via: null, source, mtu: 1500 });
  expect(await network.pathTo(HOSTS.c.address)).toEqual({
    device: "eth0",
    via: parseIpv6("2001:db8:1::254"),
    source,
    mtu: 1500,
  });
});

test("a further pass has nothing to do, and no host has a condition", async () => {
  for (const name of NAMES) {
    const { plan, actions } = await host(name).plan();
    expect(actions).toEqual([]);
    expect(plan.conditions.filter(({ code }) => code !== "engine-down")).toEqual([]);
  }
});

test("containers of both families reach each other over hosts that have IPv6 alone", async () => {
  expect(await route("a", HOSTS.b.block)).toContain(`via inet6 ${HOSTS.b.address} dev eth0`);
  expect(await route("a", HOSTS.c.block)).toContain("dev apollo-vx0");
  // 40 outer IPv6, 8 UDP, 8 VXLAN, 14 inner Ethernet.
  expect(await route("a", HOSTS.c.block)).toContain("mtu 1430");
  await everyoneReachesEveryone();
  expect(await bytesFrom(container("a"), address4("b"), 9000)).toBe(TRANSFER_BYTES);
  expect(await bytesFrom(container("a"), address4("c"), 9000)).toBe(TRANSFER_BYTES);
  expect(await pings(container("a"), address4("c"), 1430)).toBe(2);
});

test("a deleted route, tunnel and forwarding entry come back", async () => {
  const { runner } = host("a").space;
  await runner.run(["ip", "route", "delete", HOSTS.b.block]);
  await runner.run(["ip", "link", "delete", "apollo-vx0"]);
  await host("a").pass();
  await host("a").pass();
  expect(await host("a").pass()).toEqual([]);
  expect(await clientSeenBy(container("a"), address4("b"), 8080)).toBe(address4("a"));
  expect(await clientSeenBy(container("a"), address4("c"), 8080)).toBe(address4("a"));
});

test("encrypted links go over IPv6, and the wire shows nothing else", async () => {
  for (const name of NAMES) host(name).encryption = "required";
  await hosts.settle();
  for (const name of NAMES) expect(await host(name).pass()).toEqual([]);
  expect(await route("a", HOSTS.c.block)).toContain("dev apollo-wg0");
  // 40 outer IPv6, 8 UDP, 32 WireGuard.
  expect(await route("a", HOSTS.c.block)).toContain("mtu 1420");
  for (const [from, to] of [
    ["a", "c"],
    ["a", "b"],
    ["b", "c"],
  ] as const) {
    const asked = async (): Promise<boolean> => (await pings(container(from), address4(to))) === 2;
    await waitFor(`the handshake of ${from} and ${to}`, asked);
  }
  const at = lab.space("router");
  const capture = await Capture.start(at, {
    filter: "ip or ip6",
    marker: async () => {
      await at.runner.run(["ping", "-n", "-c", "1", "-W", "0.2", HOSTS.b.address], { okCodes: [0, 1] });
    },
    isMarker: (line) => line.includes("echo request") && line.includes(`> ${HOSTS.b.address}`),
  });
  try {
    await everyoneReachesEveryone();
    expect(await bytesFrom(container("b"), address4("c"), 9000)).toBe(TRANSFER_BYTES);
    const marker = (line: string): boolean => line.includes(`> ${HOSTS.b.address}`) && line.includes("echo request");
    const clear = await capture.linesWith(marker, (line) => / 10\.2\.|fd12:3456|\.6784[ :]/.test(line));
    expect(clear).toEqual([]);
    expect(capture.lines.some((line) => line.includes(".6785"))).toBe(true);
  } finally {
    await capture.stop();
  }
});

test("the kernel's own socket of the probes finds what an IPv6 path carries, byte for byte", async () => {
  const sockets = new LinuxProbeSockets(46_783);
  const socket = await sockets.open("0.0.0.0", () => undefined);
  // Sockets of this process are in the machine's own namespace: the loopback device stands for a path here.
  expect(socket.send(new Uint8Array(65_536 - 48), parseIpv6("::1"))).toBe(true);
  expect(socket.send(new Uint8Array(65_536 - 47), parseIpv6("::1"))).toBe(false);
  socket.close();
});
