/** What trace and doctor see of a real kernel: routes, listeners, refusals, silence, black holes, ports. Needs root. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { isIpv4, parseIpv4 } from "../../src/model/ip.ts";
import { parseIpv6 } from "../../src/model/ip6.ts";
import { findDropRules } from "../../src/network/trace/find-drop-rules.ts";
import { LinuxNetInspector } from "../../src/platform/linux/linux-net-inspector.ts";
import { ProcessRunner } from "../../src/platform/linux/process-runner.ts";
import type { ConnectResult } from "../../src/platform/ports/net-inspector.ts";
import { type Namespace, NetworkLab } from "./network-lab.ts";

setDefaultTimeout(30_000);

const A = parseIpv4("10.2.1.5");
const B = parseIpv4("10.2.2.7");
const CLI = `${import.meta.dir}/../../src/cli/main.ts`;
const inspector = new LinuxNetInspector({
  runner: new ProcessRunner(),
  probeArgv: [process.execPath, CLI, "net", "probe"],
});

const lab = new NetworkLab("inspect");
let [a, router, b]: Namespace[] = [];

function at(namespace: Namespace | undefined): string {
  return `/run/netns/${namespace?.name ?? "none"}`;
}

async function run(namespace: Namespace | undefined, argv: readonly string[], stdin?: string): Promise<void> {
  await namespace?.runner.run(argv, stdin === undefined ? {} : { stdin });
}

beforeAll(async () => {
  a = await lab.addNamespace("a");
  router = await lab.addNamespace("r");
  b = await lab.addNamespace("b");
  await lab.wire({ at: a, device: "eth0", address: `${A}/24` }, { at: router, device: "left", address: "10.2.1.1/24" });
  await lab.wire(
    { at: b, device: "eth0", address: `${B}/24` },
    { at: router, device: "right", address: "10.2.2.1/24" },
  );
  await run(router, ["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"]);
  await run(a, ["ip", "route", "add", "default", "via", "10.2.1.1"]);
  await run(b, ["ip", "route", "add", "default", "via", "10.2.2.1"]);
  await lab.serve(b, 80, "echo hello");
  lab.start(b, ["socat", "TCP-LISTEN:81,bind=127.0.0.1,reuseaddr,fork", "EXEC:echo hello"]);
  await lab.listens(b, "-Hltn", 81);
  lab.start(b, ["socat", "UDP-RECV:53", "STDOUT"]);
  await lab.listens(b, "-Hlun", 53);
});
afterAll(async () => {
  await lab.close();
  expect(await lab.leftovers()).toEqual([]);
});

async function connect(port: number, protocol: "tcp" | "udp" = "tcp"): Promise<ConnectResult["outcome"]> {
  return (await inspector.connect(at(a), { address: B, port, protocol, timeoutMs: 700 })).outcome;
}

test("look() gives addresses and the way of a namespace, and no way where there is none", async () => {
  const { addresses, route } = await inspector.look(at(a), B);
  expect(addresses.filter(isIpv4)).toEqual([parseIpv4("127.0.0.1"), A]);
  expect(route).toEqual({ device: "eth0", via: parseIpv4("10.2.1.1"), mtu: 1500 });
  await run(a, ["ip", "route", "del", "default"]);
  expect((await inspector.look(at(a), B)).route).toBeNull();
  expect(await connect(80)).toBe("unreachable");
  await run(a, ["ip", "route", "add", "default", "via", "10.2.1.1"]);
  expect(await inspector.look("/run/netns/apn-nobody", B).catch((error: unknown) => error)).toMatchObject({
    code: "not-found",
  });
});

test("listeners() gives what waits inside, with the address it waits on", async () => {
  const tcp = await inspector.listeners(at(b), "tcp");
  expect(tcp.filter(({ port }) => port === 80 || port === 81).map(({ address, port }) => `${address} ${port}`)).toEqual(
    ["0.0.0.0 80", "127.0.0.1 81"],
  );
  expect(await inspector.listeners(at(b), "udp")).toEqual([{ address: "0.0.0.0", port: 53 }]);
  expect(await inspector.listeners(at(a), "tcp")).toEqual([]);
});

test("connect() from inside a namespace tells open, refused and silent apart, for UDP as far as ICMP tells", async () => {
  expect(await connect(80)).toBe("open");
  expect(await connect(81)).toBe("refused");
  expect(await connect(53, "udp")).toBe("open");
  expect(await connect(54, "udp")).toBe("refused");
  await run(
    router,
    ["nft", "-f", "-"],
    "table ip foreign { chain f { type filter hook forward priority 0; tcp dport 80 drop; }; }\n",
  );
  expect(await connect(80)).toBe("silent");
  const inside = new LinuxNetInspector({ runner: router?.runner ?? new ProcessRunner(), probeArgv: [] });
  const path = {
    hook: "forward",
    inDevice: "left",
    outDevice: "right",
    source: A,
    destination: B,
    protocol: "tcp",
    port: 80,
    bytes: 60,
  } as const;
  const text = (await inside.ruleset()) ?? "";
  expect(findDropRules(text, path)).toMatchObject([{ chain: "ip foreign f", certain: true }]);
  expect(findDropRules(text, { ...path, port: 443 })).toEqual([]);
  await run(router, ["nft", "delete", "table", "ip", "foreign"]);
  expect(await connect(80)).toBe("open");
});

test("ping() tells a black hole from a narrow way that says so", async () => {
  const ping = (bytes: number) => inspector.ping(at(a), { address: B, bytes, timeoutMs: 1000 });
  expect(await ping(1500)).toBe("answered");
  await run(
    router,
    ["nft", "-f", "-"],
    "table ip hole { chain f { type filter hook forward priority 0; meta length > 1400 drop; }; }\n",
  );
  expect([await ping(84), await ping(1400), await ping(1500)]).toEqual(["answered", "answered", "lost"]);
  await run(router, ["nft", "delete", "table", "ip", "hole"]);
  await run(router, ["ip", "link", "set", "right", "mtu", "1400"]);
  expect(await ping(1500)).toBe("too-big");
  await run(router, ["ip", "link", "set", "right", "mtu", "1500"]);
});

test("the same by IPv6: the way, what listens, connections, sizes, rules, neighbours", async () => {
  const [a6, b6] = [parseIpv6("2001:db8:1::5"), parseIpv6("2001:db8:2::7")];
  await run(router, ["sysctl", "-q", "-w", "net.ipv6.conf.all.forwarding=1"]);
  for (const [space, address, gateway, device] of [
    [a, a6, "2001:db8:1::1", "left"],
    [b, b6, "2001:db8:2::1", "right"],
  ] as const) {
    await run(router, ["ip", "address", "add", `${gateway}/64`, "dev", device, "nodad"]);
    await run(space, ["ip", "address", "add", `${address}/64`, "dev", "eth0", "nodad"]);
    await run(space, ["ip", "route", "add", "default", "via", gateway]);
  }
  lab.start(b ?? { name: "none", runner: new ProcessRunner() }, [
    "socat",
    `TCP6-LISTEN:90,bind=[${b6}],reuseaddr,fork`,
    "EXEC:echo hello",
  ]);
  await lab.listens(b ?? { name: "none", runner: new ProcessRunner() }, "-Hltn", 90);
  const seen = await inspector.look(at(a), b6);
  expect(seen.addresses).toContain(a6);
  expect(seen.route).toEqual({ device: "eth0", via: parseIpv6("2001:db8:1::1"), mtu: 1500 });
  expect(await inspector.listeners(at(b), "tcp")).toContainEqual({ address: b6, port: 90 });
  const to = { address: b6, protocol: "tcp", timeoutMs: 700 } as const;
  expect((await inspector.connect(at(a), { ...to, port: 90 })).outcome).toBe("open");
  expect((await inspector.connect(at(a), { ...to, port: 91 })).outcome).toBe("refused");
  const table =
    "table inet foreign6 { chain f { type filter hook forward priority 0; ip6 daddr 2001:db8:2::/64 tcp dport 90 drop; meta length > 1400 drop; }; }\n";
  await run(router, ["nft", "-f", "-"], table);
  expect((await inspector.connect(at(a), { ...to, port: 90 })).outcome).toBe("silent");
  const ping = (bytes: number) => inspector.ping(at(a), { address: b6, bytes, timeoutMs: 1000 });
  expect([await ping(1400), await ping(1500)]).toEqual(["answered", "lost"]);
  const inside = new LinuxNetInspector({ runner: router?.runner ?? new ProcessRunner(), probeArgv: [] });
  const path = { hook: "forward", inDevice: "left", outDevice: "right", source: a6, destination: b6 } as const;
  const text = (await inside.ruleset()) ?? "";
  const chain = [{ chain: "inet foreign6 f", certain: true }];
  expect(findDropRules(text, { ...path, protocol: "tcp", port: 90, bytes: 60 })).toMatchObject(chain);
  expect(findDropRules(text, { ...path, protocol: "icmp", port: null, bytes: 1500 })).toMatchObject(chain);
  expect(findDropRules(text, { ...path, protocol: "tcp", port: 443, bytes: 60 })).toEqual([]);
  // What is about the other family says nothing.
  expect(findDropRules(text, { ...path, source: A, destination: B, protocol: "tcp", port: 90, bytes: 60 })).toEqual([]);
  expect((await inside.neighbour(b6))?.mac).toMatch(/^[0-9a-f:]{17}$/);
  await run(router, ["nft", "delete", "table", "inet", "foreign6"]);
  await run(router, ["ip", "link", "set", "right", "mtu", "1400"]);
  expect(await ping(1500)).toBe("too-big");
});
