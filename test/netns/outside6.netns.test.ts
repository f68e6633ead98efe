import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import type { Endpoint } from "../../src/model/endpoint.ts";
import { parseIpv4 } from "../../src/model/ip.ts";
import { formatEndpoint, parseIpv6 } from "../../src/model/ip6.ts";
import type { Ipv6 } from "../../src/model/ip6.ts";
import { parseNetworkObject } from "../../src/model/network-config.ts";
import { address6Of, gateway6Of, host6Of, virtual6Of } from "../../src/network/address6.ts";
import { gatewayOf } from "../../src/network/blocks.ts";
import type { Namespace } from "./network-lab.ts";
import { NetworkLab, waitFor } from "./network-lab.ts";
import { OutsideHosts, endpointOf } from "./outside.fixture.ts";

// As outside.netns.test.ts, by IPv6: hosts a and b share a wire with the client outside.
const RANGE6 = "fd12:3456:789a::/64";
const PLACES = [
  { name: "a", address: parseIpv4("192.0.2.1"), block: "10.2.1.0/24" },
  { name: "b", address: parseIpv4("192.0.2.2"), block: "10.2.2.0/24" },
] as const;
const HOST6 = { a: "2001:db8:1::1", b: "2001:db8:1::2" } as const;
const CLIENT6 = "2001:db8:1::254";
const CONTAINERS = { a5: "10.2.1.5", a6: "10.2.1.6", b5: "10.2.2.5" } as const;
type Name = keyof typeof CONTAINERS;
const VIP = parseIpv4("10.3.0.7");
const VIP6 = address6Of(virtual6Of(RANGE6, "10.3.0.0/16"), VIP);
const lab = new NetworkLab("out6");
const spaces = new Map<string, Namespace>();
let hosts: OutsideHosts | null = null;

function space(name: string): Namespace {
  const found = spaces.get(name);
  if (found === undefined) throw new Error(`There is no namespace ${name}`);
  return found;
}

function cluster(): OutsideHosts {
  if (hosts === null) throw new Error("The hosts do not run");
  return hosts;
}

const blockOf = (name: Name): string => (name.startsWith("a") ? PLACES[0].block : PLACES[1].block);
const gateway6 = (block: string): Ipv6 => gateway6Of(RANGE6, gatewayOf([block]));
const address6 = (name: Name): Ipv6 =>
  address6Of(host6Of(RANGE6, gatewayOf([blockOf(name)])), parseIpv4(CONTAINERS[name]));

const web = (name: Name, more: Partial<Endpoint> = {}): Endpoint =>
  endpointOf("web", name.slice(0, 1), CONTAINERS[name], 8080, { address6: address6(name), ...more });
const dns = (name: Name): Endpoint =>
  endpointOf("dns", name.slice(0, 1), CONTAINERS[name], 5353, { address6: address6(name), protocol: "udp" });
const virtuals = [parseNetworkObject("virtual", { name: "web", address: VIP })];

/** Which client the server sees, and which address it has itself. Null: refused or silent. */
async function ask(from: string, address: string, port: number): Promise<{ client: string; server: string } | null> {
  const argv = ["socat", "-u", "-T10", `TCP:${formatEndpoint(address, port)},connect-timeout=10`, "STDOUT"];
  const { code, stdout } = await space(from).runner.run(argv, { okCodes: [0, 1] });
  const [client = "", server = ""] = stdout.trim().split("\n");
  // socat prints all eight groups, in brackets.
  const short = (text: string): string => parseIpv6(text.replaceAll(/[[\]]/g, ""));
  return code === 0 && client !== "" ? { client: short(client), server: short(server) } : null;
}

async function askMany(from: string, address: string, port: number, times: number): Promise<ReadonlySet<string>> {
  const answers = new Set<string>();
  for (let turn = 0; turn < times; turn++) answers.add((await ask(from, address, port))?.server ?? "nobody");
  return answers;
}

async function refusal(from: string, address: string, port: number): Promise<string> {
  const argv = ["socat", "-", `TCP:${formatEndpoint(address, port)},connect-timeout=5`];
  const result = await space(from).runner.run(argv, { okCodes: [0, 1] });
  return /Connection refused|timed out|No route/.exec(result.stderr)?.[0] ?? "";
}

/** Always from the same port, so that the kernel takes it for the same flow. */
async function askUdp(from: string, address: string, port: number): Promise<string> {
  const argv = ["socat", "-t1", "-T1", "-", `UDP:${formatEndpoint(address, port)},sourceport=4000,reuseaddr`];
  const { stdout } = await space(from).runner.run(argv, { stdin: "?\n", okCodes: [0, 1] });
  return stdout.trim();
}

// A busy machine makes each step slow; what counts is what happens.
setDefaultTimeout(120_000);

beforeAll(async () => {
  const client = await lab.addNamespace("client");
  spaces.set("client", client);
  await client.runner.run(["ip", "link", "add", "lan", "type", "bridge"]);
  await client.runner.run(["ip", "address", "add", "192.0.2.254/24", "dev", "lan"]);
  await client.runner.run(["ip", "address", "add", `${CLIENT6}/64`, "dev", "lan", "nodad"]);
  await client.runner.run(["ip", "link", "set", "lan", "up"]);
  for (const { name, address } of PLACES) {
    const host = await lab.addNamespace(name);
    spaces.set(name, host);
    await lab.wire({ at: host, device: "eth0", address: `${address}/24` }, { at: client, device: `to-${name}` });
    await client.runner.run(["ip", "link", "set", `to-${name}`, "master", "lan"]);
    await host.runner.run(["ip", "address", "add", `${HOST6[name]}/64`, "dev", "eth0", "nodad"]);
    await host.runner.run(["ip", "route", "add", "default", "via", "192.0.2.254"]);
    await host.runner.run(["ip", "route", "add", "default", "via", CLIENT6]);
  }
  hosts = new OutsideHosts(PLACES, spaces, RANGE6);
  for (const { name, block } of PLACES) {
    await waitFor(`IPv6 gateway of ${name}`, async () => {
      const argv = ["ip", "-6", "address", "show", "dev", "apollo0", "to", gateway6(block)];
      const { code, stdout } = await space(name).runner.run(argv, { okCodes: [0, 1] });
      return code === 0 && stdout.includes(gateway6(block));
    });
  }
  for (const name of ["a5", "a6", "b5"] as const) {
    const container = await lab.addContainer(space(name.slice(0, 1)), name, CONTAINERS[name]);
    spaces.set(name, container);
    await container.runner.run(["ip", "address", "add", `${address6(name)}/96`, "dev", "eth0", "nodad"]);
    await container.runner.run(["ip", "route", "add", "default", "via", gateway6(blockOf(name))]);
    const serve = "EXEC:printenv SOCAT_PEERADDR SOCAT_SOCKADDR";
    lab.start(container, ["socat", "TCP6-LISTEN:8080,reuseaddr,fork", serve]);
    await lab.listens(container, "-Hltn", 8080);
    // A program that does not read what it is asked may have ended before socat writes that, and its answer is lost then.
    lab.start(container, ["socat", "-t5", "UDP6-RECVFROM:5353,fork,reuseaddr", `EXEC:sed -u s/.*/${name}/;q`]);
    await lab.listens(container, "-Hlun", 5353);
  }
  // As the part for ports sees them.
  for (const [host, state] of cluster().states) {
    const mine = Object.entries(CONTAINERS).filter(([name]) => name.startsWith(host));
    const ports = mine.map(([name, address], index) => {
      return {
        network: "apollo",
        device: `veth-${name}`,
        index,
        mac: "",
        addresses: [parseIpv4(address)],
        container: name,
      };
    });
    state.setPorts("engine", ports);
  }
});

afterAll(async () => {
  await hosts?.close();
  await lab.close();
  expect(await lab.leftovers()).toEqual([]);
});

test("a virtual address has an IPv6 twin: containers and hosts reach healthy endpoints everywhere, seen as themselves", async () => {
  await cluster().declare([web("a6"), web("b5")], { virtuals });
  for (const [from, client] of [
    ["a5", address6("a5")],
    ["a", gateway6(PLACES[0].block)],
    ["b", gateway6(PLACES[1].block)],
  ] as const) {
    expect(await askMany(from, VIP6, 8080, 12)).toEqual(new Set([address6("a6"), address6("b5")]));
    expect((await ask(from, VIP6, 8080))?.client).toBe(client);
  }
  await cluster().declare([web("a6", { health: "critical" }), web("b5")], { virtuals });
  expect(await askMany("a5", VIP6, 8080, 8)).toEqual(new Set([address6("b5")]));
});

test("a container reaches itself and its neighbour by the twin", async () => {
  await cluster().declare([web("a6")], { virtuals });
  await waitFor("the way back to the same port", async () => (await ask("a6", VIP6, 8080)) !== null);
  expect(await ask("a6", VIP6, 8080)).toEqual({ client: gateway6(PLACES[0].block), server: address6("a6") });
  expect(await ask("a5", VIP6, 8080)).toEqual({ client: address6("a5"), server: address6("a6") });
});

test("without an endpoint of that family the twin refuses at once, and IPv4 goes on", async () => {
  const { address6: _, ...four } = web("a6");
  await cluster().declare([four], { virtuals });
  expect(await Promise.all(["a5", "a"].map((from) => refusal(from, VIP6, 8080)))).toEqual([
    "Connection refused",
    "Connection refused",
  ]);
  await cluster().declare([], {});
  const route = await space("a").runner.run(["ip", "-6", "route", "show", "dev", "apollo0"]);
  expect(route.stdout).not.toContain("a03::/96");
});

test("a published port answers by IPv6, keeps the client's address where the endpoint is, and works elsewhere", async () => {
  const publications = [parseNetworkObject("publication", { name: "web", service: "web", port: 80 })];
  await cluster().declare([web("a6")], { publications });
  expect(await ask("client", HOST6.a, 80)).toEqual({ client: CLIENT6, server: address6("a6") });
  expect(await ask("client", HOST6.b, 80)).toEqual({ client: gateway6(PLACES[1].block), server: address6("a6") });
  // From the host itself, and from a container by its host's own address.
  expect((await ask("a", HOST6.a, 80))?.server).toBe(address6("a6"));
  expect((await ask("b", HOST6.b, 80))?.server).toBe(address6("a6"));
  expect((await ask("a5", HOST6.a, 80))?.client).toBe(address6("a5"));
  await cluster().declare([web("a6"), web("b5")], { publications });
  expect(await askMany("client", HOST6.b, 80, 6)).toEqual(new Set([address6("b5")]));
  await cluster().declare([web("a6")], {});
  expect(await ask("client", HOST6.a, 80)).toBeNull();
});

test("an imported IPv6 target is reached by virtual address and published port; it sees the host's own address", async () => {
  lab.start(space("client"), [
    "socat",
    "TCP6-LISTEN:9100,reuseaddr,fork",
    "EXEC:printenv SOCAT_PEERADDR SOCAT_SOCKADDR",
  ]);
  await lab.listens(space("client"), "-Hltn", 9100);
  const target = { ...web("a6"), id: "a:import:web:x", address: CLIENT6, port: 9100 };
  const { address6: _, ...imported } = target;
  const publications = [parseNetworkObject("publication", { name: "web", service: "web", port: 80 })];
  await cluster().declare([imported], { virtuals, publications });
  expect(await ask("a5", VIP6, 9100)).toEqual({ client: HOST6.a, server: CLIENT6 });
  expect(await ask("b5", HOST6.b, 80)).toEqual({ client: HOST6.b, server: CLIENT6 });
});

test("a UDP client that goes on asking by IPv6 is moved, and is answered by a published port", async () => {
  const named = [parseNetworkObject("virtual", { name: "dns", address: VIP })];
  const publications = [parseNetworkObject("publication", { name: "dns", service: "dns", protocol: "udp", port: 53 })];
  await cluster().declare([dns("a6")], { virtuals: named, publications });
  await waitFor("an endpoint", async () => (await askUdp("a5", VIP6, 5353)) === "a6");
  await waitFor("the published port", async () => (await askUdp("client", HOST6.a, 53)) === "a6");
  await cluster().declare([dns("b5")], { virtuals: named, publications });
  await waitFor("the other endpoint", async () => (await askUdp("a5", VIP6, 5353)) === "b5");
  await waitFor("the other one by the port", async () => (await askUdp("client", HOST6.a, 53)) === "b5");
  await cluster().declare([], {});
  await waitFor("nobody", async () => (await askUdp("client", HOST6.a, 53)) === "");
});
