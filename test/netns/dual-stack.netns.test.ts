import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { parseIpv4 } from "../../src/model/ip.ts";
import { formatCidr6, formatIpv6 } from "../../src/model/ip6.ts";
import { address6Of, gateway6Of, host6Of, linkLocalOf } from "../../src/network/address6.ts";
import { gatewayOf } from "../../src/network/blocks.ts";
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
import { WireguardHost, addSwitch, introduce } from "./wireguard-host.ts";

// Hosts a and b are on one wire; c is behind the router, which has an IPv6 address outside and knows nothing of the range.
const RANGE6 = "fd12:3456:789a::/64";
const OUTSIDE6 = "2001:db8:ffff::1";
const TRANSFER_BYTES = 4_000_000;
const HOSTS = {
  a: { address: "192.0.2.1", block: "10.2.1.0/24" },
  b: { address: "192.0.2.2", block: "10.2.2.0/24" },
  c: { address: "198.51.100.3", block: "10.2.3.0/24" },
} as const;
type Name = keyof typeof HOSTS;
const NAMES = ["a", "b", "c"] as const;
const lab = new NetworkLab("dual");
const hosts = new Map<Name, WireguardHost>();
const containers = new Map<Name, Namespace>();
let router: Namespace | null = null;

function found<T>(value: T | null | undefined, what: string): T {
  if (value === null || value === undefined) throw new Error(`There is no ${what}`);
  return value;
}
const host = (name: Name): WireguardHost => found(hosts.get(name), `host ${name}`);
const container = (name: Name): Namespace => found(containers.get(name), `container of ${name}`);
const gateway6 = (name: Name): string => gateway6Of(RANGE6, gatewayOf([HOSTS[name].block]));
const address6 = (name: Name): string =>
  address6Of(host6Of(RANGE6, gatewayOf([HOSTS[name].block])), parseIpv4(HOSTS[name].block.replace(".0/24", ".5")));

/** As Docker makes it: the host's part of the range on the wire, its gateway for everything else. */
async function addDualContainer(name: Name): Promise<Namespace> {
  const { space } = host(name);
  const made = await lab.addContainer(space, `${name}5`, HOSTS[name].block.replace(".0/24", ".5"));
  await made.runner.run(["ip", "address", "add", `${address6(name)}/96`, "dev", "eth0", "nodad"]);
  await made.runner.run(["ip", "route", "add", "default", "via", gateway6(name)]);
  return made;
}

async function settle(): Promise<void> {
  for (const name of NAMES) await host(name).pass();
  // What a device made in one pass needs comes with the next.
  for (const name of NAMES) await host(name).pass();
}

// A busy machine makes each step slow; what counts is what happens.
setDefaultTimeout(120_000);

beforeAll(async () => {
  router = await addSwitch(lab, "192.0.2.254/24");
  const { runner } = router;
  await runner.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
  await runner.run(["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"]);
  await runner.run(["ip", "address", "add", `${OUTSIDE6}/128`, "dev", "lo"]);
  await runner.run(["ip", "address", "add", "2001:db8:1::254/64", "dev", "lan", "nodad"]);
  for (const name of NAMES) {
    const { address, block } = HOSTS[name];
    const made = new WireguardHost(await lab.addNamespace(name), { name, address: parseIpv4(address), block });
    hosts.set(name, made);
    const routed = name === "c";
    const far = { at: router, device: `to-${name}`, ...(routed ? { address: "198.51.100.254/24" } : {}) };
    await lab.wire({ at: made.space, device: "eth0", address: `${address}/24` }, far);
    if (!routed) await runner.run(["ip", "link", "set", `to-${name}`, "master", "lan"]);
    await made.space.runner.run(["ip", "route", "add", "default", "via", routed ? "198.51.100.254" : "192.0.2.254"]);
    made.encryption = "off";
    made.range6 = RANGE6;
  }
  const a = host("a").space.runner;
  await a.run(["ip", "address", "add", "2001:db8:1::1/64", "dev", "eth0", "nodad"]);
  await a.run(["ip", "route", "add", "default", "via", "2001:db8:1::254"]);
  introduce([...hosts.values()]);
  await settle();
  for (const name of NAMES) {
    const made = await addDualContainer(name);
    containers.set(name, made);
    await serve6(made, 8080, "printenv SOCAT_PEERADDR");
    await serve6(made, 9000, `head -c ${TRANSFER_BYTES} /dev/zero`);
  }
  await serve6(router, 8080, "printenv SOCAT_PEERADDR");
});

/** On both families. */
async function serve6(at: Namespace, port: number, argv: string): Promise<void> {
  lab.start(at, ["socat", `TCP6-LISTEN:${port},reuseaddr,fork,ipv6only=0`, `EXEC:${argv}`]);
  await lab.listens(at, "-Hltn", port);
}

/** The client as a server at `address` sees it, in the short form; null when it cannot be reached. */
async function seen(from: Namespace, address: string, port = 8080): Promise<string | null> {
  const text = await clientSeenBy(from, `[${address}]`, port);
  return text === null ? null : text.replaceAll(/[[\]]/g, "");
}

async function reaches(from: Namespace, address: string): Promise<boolean> {
  return (await pings(from, address)) === 2;
}

afterAll(async () => {
  for (const one of hosts.values()) await one.close();
  await lab.close();
  expect(await lab.leftovers()).toEqual([]);
});

test("a further pass has nothing to do, and no host has a condition", async () => {
  for (const name of NAMES) {
    const { plan, actions } = await host(name).plan();
    expect(actions).toEqual([]);
    expect(plan.conditions.filter(({ code }) => code !== "engine-down")).toEqual([]);
    expect(plan.gateway6 as string).toBe(gateway6(name));
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

/** socat prints all eight groups. */
async function expanded(from: Namespace, address: string): Promise<string | null> {
  const text = await seen(from, address);
  if (text === null) return null;
  const groups = text.split(":").map((group) => BigInt(`0x${group}`));
  return formatIpv6(groups.reduce((sum, group) => (sum << 16n) | group, 0n));
}

test("hosts reach containers, and containers hosts by their gateways", async () => {
  expect(await expanded(host("a").space, address6("b"))).toBe(gateway6("a"));
  expect(await expanded(host("c").space, address6("a"))).toBe(gateway6("c"));
  expect(await reaches(container("a"), gateway6("b"))).toBe(true);
});

test("the outside sees the host's own address, and starts nothing with a container", async () => {
  expect(await expanded(container("a"), OUTSIDE6)).toBe("2001:db8:1::1");
  await found(router, "router").runner.run(["ip", "route", "add", RANGE6, "via", "2001:db8:1::1"]);
  expect(await takesNoConnection(found(router, "router"), `[${address6("a")}]`, 8080)).toBe(true);
});

test("large transfers fit the narrowest part of their way", async () => {
  expect(await bytesFrom(container("a"), `[${address6("b")}]`, 9000)).toBe(TRANSFER_BYTES);
  expect(await bytesFrom(container("a"), `[${address6("c")}]`, 9000)).toBe(TRANSFER_BYTES);
  const { stdout } = await host("a").space.runner.run(["ip", "-6", "route", "show", formatCidr6(host6("c"))]);
  expect(stdout).toContain("dev apollo-vx0");
  expect(stdout).toContain("mtu 1450");
});

const host6 = (name: Name): ReturnType<typeof host6Of> => host6Of(RANGE6, gatewayOf([HOSTS[name].block]));

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
  await settle();
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
