import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Endpoint } from "../../src/model/endpoint.ts";
import { parseIpv4 } from "../../src/model/ip.ts";
import { parseNetworkObject } from "../../src/model/network-config.ts";
import type { Publication, VirtualService } from "../../src/model/network-config.ts";
import type { Namespace } from "./network-lab.ts";
import { NetworkLab, waitFor } from "./network-lab.ts";
import { OutsideHosts, endpointOf } from "./outside.fixture.ts";

// Hosts a and b share a wire with the client outside, which knows nothing of the container range.
const PLACES = [
  { name: "a", address: parseIpv4("192.0.2.1"), block: "10.2.1.0/24" },
  { name: "b", address: parseIpv4("192.0.2.2"), block: "10.2.2.0/24" },
] as const;
const OUTSIDE = "192.0.2.254";
const VIP = parseIpv4("10.3.0.7");
const CONTAINERS = { a5: "10.2.1.5", a6: "10.2.1.6", b5: "10.2.2.5" } as const;
const lab = new NetworkLab("outside");
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

function virtual(more: Partial<VirtualService> = {}): VirtualService {
  return parseNetworkObject("virtual", { name: "web", address: VIP, ...more });
}

function publication(more: Partial<Publication> = {}): Publication {
  return parseNetworkObject("publication", { name: "web", service: "web", port: 80, ...more });
}

const web = (name: keyof typeof CONTAINERS, more: Partial<Endpoint> = {}): Endpoint =>
  endpointOf("web", name.slice(0, 1), CONTAINERS[name], 8080, more);
const dns = (name: keyof typeof CONTAINERS): Endpoint =>
  endpointOf("dns", name.slice(0, 1), CONTAINERS[name], 5353, { protocol: "udp" });

/** What the server says of the connection: which client it sees, and which address it has itself. Null: refused or silent. */
async function ask(from: string, address: string, port: number): Promise<{ client: string; server: string } | null> {
  const argv = ["socat", "-u", "-T10", `TCP:${address}:${port},connect-timeout=10`, "STDOUT"];
  const { code, stdout } = await space(from).runner.run(argv, { okCodes: [0, 1] });
  const [client = "", server = ""] = stdout.trim().split("\n");
  return code === 0 && client !== "" ? { client, server } : null;
}

async function askMany(from: string, address: string, port: number, times: number): Promise<ReadonlySet<string>> {
  const answers = new Set<string>();
  for (let turn = 0; turn < times; turn++) answers.add((await ask(from, address, port))?.server ?? "nobody");
  return answers;
}

/** Always from the same port, so that the kernel takes it for the same flow. It ends with the answer, a name of two letters. */
async function askUdp(from: string, address: string, port: number): Promise<string> {
  const argv = ["socat", "-t1", "-T1", "-", `UDP:${address}:${port},sourceport=4000,reuseaddr,readbytes=3`];
  const { stdout } = await space(from).runner.run(argv, { stdin: "?\n", okCodes: [0, 1] });
  return stdout.trim();
}

async function refusal(from: string, address: string, port: number): Promise<string> {
  const argv = ["socat", "-", `TCP:${address}:${port},connect-timeout=5`];
  const result = await space(from).runner.run(argv, { okCodes: [0, 1] });
  return /Connection refused|timed out|No route/.exec(result.stderr)?.[0] ?? "";
}

beforeAll(async () => {
  const client = await lab.addNamespace("client");
  spaces.set("client", client);
  await client.runner.run(["ip", "link", "add", "lan", "type", "bridge"]);
  await client.runner.run(["ip", "address", "add", `${OUTSIDE}/24`, "dev", "lan"]);
  await client.runner.run(["ip", "link", "set", "lan", "up"]);
  for (const { name, address } of PLACES) {
    const host = await lab.addNamespace(name);
    spaces.set(name, host);
    await lab.wire({ at: host, device: "eth0", address: `${address}/24` }, { at: client, device: `to-${name}` });
    await client.runner.run(["ip", "link", "set", `to-${name}`, "master", "lan"]);
    await host.runner.run(["ip", "route", "add", "default", "via", OUTSIDE]);
  }
  hosts = new OutsideHosts(PLACES, spaces);
  for (const { name } of PLACES) {
    await waitFor(`bridge of ${name}`, async () => {
      const { code } = await space(name).runner.run(["ip", "link", "show", "apollo0"], { okCodes: [0, 1] });
      return code === 0;
    });
  }
  for (const [name, address] of Object.entries(CONTAINERS)) {
    const container = await lab.addContainer(space(name.slice(0, 1)), name, address);
    spaces.set(name, container);
    await lab.serve(container, 8080, "printenv SOCAT_PEERADDR SOCAT_SOCKADDR");
    await lab.serve(container, 9000, "stdbuf -oL ping -c 100 -i 0.2 127.0.0.1");
    // A program that does not read what it is asked may have ended before socat writes that, and its answer is lost then.
    const answer = `EXEC:sed -u s/.*/${name}/;q`;
    lab.start(container, ["socat", "-t5", "UDP-RECVFROM:5353,fork,reuseaddr", answer]);
    await waitFor(`UDP port of ${name}`, async () => {
      const { stdout } = await container.runner.run(["ss", "-Hlun", "sport = :5353"]);
      return stdout.includes(":5353");
    });
  }
  for (const [host, state] of cluster().states) {
    state.setPorts(
      "engine",
      Object.entries(CONTAINERS)
        .filter(([name]) => name.startsWith(host))
        .map(([name, address], index) => ({
          network: "apollo",
          device: `veth-${name}`,
          index,
          mac: "",
          addresses: [parseIpv4(address)],
          container: name,
        })),
    );
  }
}, 60_000);

afterAll(async () => {
  await hosts?.close();
  await lab.close();
  expect(await lab.leftovers()).toEqual([]);
}, 60_000);

test("a virtual address leads containers and hosts to endpoints on every host, and keeps the client's address", async () => {
  await cluster().declare([web("a6"), web("b5")], { virtuals: [virtual()] });
  for (const [from, client] of [
    ["a5", CONTAINERS.a5],
    ["a", "10.2.1.1"],
    ["b", "10.2.2.1"],
  ] as const) {
    expect(await askMany(from, VIP, 8080, 12)).toEqual(new Set([CONTAINERS.a6, CONTAINERS.b5]));
    expect((await ask(from, VIP, 8080))?.client).toBe(client);
  }
}, 60_000);

test("an endpoint that leaves gets no more connections once the host says that it serves so", async () => {
  await cluster().declare([web("a6"), web("b5")], { virtuals: [virtual()] });
  await cluster().declare([web("a6", { health: "critical" }), web("b5")], { virtuals: [virtual()] });
  expect(await askMany("a5", VIP, 8080, 10)).toEqual(new Set([CONTAINERS.b5]));
}, 60_000);

test("without an endpoint, and on a port that it has not, a virtual address refuses at once", async () => {
  await cluster().declare([], { virtuals: [virtual()] });
  expect(await Promise.all(["a5", "a"].map((from) => refusal(from, VIP, 8080)))).toEqual([
    "Connection refused",
    "Connection refused",
  ]);
  await cluster().declare([web("a6")], { virtuals: [virtual()] });
  expect(await Promise.all(["a5", "a"].map((from) => refusal(from, VIP, 8081)))).toEqual([
    "Connection refused",
    "Connection refused",
  ]);
  expect(await ask("a", VIP, 8080)).not.toBeNull();
}, 60_000);

test("a container reaches itself and its neighbour by a virtual address; br_netfilter that was switched off is on again", async () => {
  const key = "net.bridge.bridge-nf-call-iptables";
  await space("a").runner.run(["sysctl", "-qw", `${key}=0`]);
  // No event tells of the switch: what wakes the parts does.
  await cluster().declare([], { virtuals: [virtual()] });
  await waitFor("the switch to be on", async () => {
    return (await space("a").runner.run(["sysctl", "-n", key])).stdout.trim() === "1";
  });
  await cluster().declare([web("a6")], { virtuals: [virtual()] });
  await waitFor("the way back to the same port", async () => (await ask("a6", VIP, 8080)) !== null);
  expect(await ask("a6", VIP, 8080)).toEqual({ client: "10.2.1.1", server: CONTAINERS.a6 });
  expect(await ask("a5", VIP, 8080)).toEqual({ client: CONTAINERS.a5, server: CONTAINERS.a6 });
}, 60_000);

test("a UDP client that goes on asking is moved when its endpoint leaves, refused without one, and served again", async () => {
  const virtuals = [virtual({ name: "dns" })];
  await cluster().declare([dns("a6")], { virtuals });
  await waitFor("an endpoint", async () => (await askUdp("a5", VIP, 5353)) === "a6");
  await cluster().declare([dns("b5")], { virtuals });
  await waitFor("the other endpoint", async () => (await askUdp("a5", VIP, 5353)) === "b5");
  await cluster().declare([], { virtuals });
  await waitFor("nobody", async () => (await askUdp("a5", VIP, 5353)) === "");
  await cluster().declare([dns("a6")], { virtuals });
  await waitFor("the first endpoint", async () => (await askUdp("a5", VIP, 5353)) === "a6");
}, 60_000);

test("a published port keeps the client's address on a host with an endpoint, and works on one without", async () => {
  await cluster().declare([web("a6")], { publications: [publication()] });
  expect(await ask("client", "192.0.2.1", 80)).toEqual({ client: OUTSIDE, server: CONTAINERS.a6 });
  expect(await ask("client", "192.0.2.2", 80)).toEqual({ client: "10.2.2.1", server: CONTAINERS.a6 });
  // From the host itself, and from a container by its host's own address.
  expect((await ask("a", "192.0.2.1", 80))?.server).toBe(CONTAINERS.a6);
  expect((await ask("b", "192.0.2.2", 80))?.server).toBe(CONTAINERS.a6);
  expect((await ask("a5", "192.0.2.1", 80))?.client).toBe(CONTAINERS.a5);
  // An endpoint on the host itself is preferred: its answers go straight.
  await cluster().declare([web("a6"), web("b5")], { publications: [publication()] });
  expect(await askMany("client", "192.0.2.2", 80, 8)).toEqual(new Set([CONTAINERS.b5]));
  await cluster().declare([web("a6")], {});
  expect(await ask("client", "192.0.2.1", 80)).toBeNull();
}, 60_000);

test("a published UDP port answers a client that asked before, and no more when it is unpublished", async () => {
  const publications = [publication({ name: "dns", service: "dns", protocol: "udp", port: 53 })];
  await cluster().declare([dns("a6")], {});
  expect(await askUdp("client", "192.0.2.1", 53)).toBe("");
  await cluster().declare([dns("a6")], { publications });
  await waitFor("an answer", async () => (await askUdp("client", "192.0.2.1", 53)) === "a6");
  await cluster().declare([dns("a6")], {});
  await waitFor("no answer", async () => (await askUdp("client", "192.0.2.1", 53)) === "");
}, 60_000);

test("a port that a program of the host listens on stays its own, with a condition", async () => {
  await lab.serve(space("a"), 2222, "printenv SOCAT_PEERADDR SOCAT_SOCKADDR");
  await cluster().declare([web("a6")], { publications: [publication({ port: 2222 })] });
  expect((await ask("client", "192.0.2.1", 2222))?.server).toBe("192.0.2.1");
  expect((await ask("client", "192.0.2.2", 2222))?.server).toBe(CONTAINERS.a6);
  const codes = (name: string): readonly string[] =>
    (cluster().states.get(name)?.conditions() ?? []).map(({ code }) => code);
  expect([codes("a"), codes("b")].map((each) => each.includes("publication-port-taken"))).toEqual([true, false]);
}, 60_000);

test("binding to another service moves new connections at once and leaves old ones where they are", async () => {
  const old = endpointOf("old", "a", CONTAINERS.a6, 9000);
  const fresh = endpointOf("fresh", "b", CONTAINERS.b5, 8080);
  const bind = (service: string) => ({
    virtuals: [virtual({ service, port: 7000 })],
    publications: [publication({ service, port: 7001 })],
  });
  await cluster().declare([old, fresh], bind("old"));
  const end = new AbortController();
  const counts = { virtual: 0, published: 0 };
  const follow = (from: string, address: string, port: number, what: keyof typeof counts): Promise<unknown> =>
    space(from).runner.follow(
      ["socat", "-u", `TCP:${address}:${port}`, "STDOUT"],
      () => (counts[what] += 1),
      end.signal,
    );
  const following = [follow("a5", VIP, 7000, "virtual"), follow("client", "192.0.2.2", 7001, "published")];
  await waitFor("lines of the old service", () => Promise.resolve(counts.virtual > 1 && counts.published > 1));
  await cluster().declare([old, fresh], bind("fresh"));
  const before = { ...counts };
  expect((await ask("a5", VIP, 7000))?.server).toBe(CONTAINERS.b5);
  expect((await ask("client", "192.0.2.2", 7001))?.server).toBe(CONTAINERS.b5);
  await waitFor("more lines on the old connections", () =>
    Promise.resolve(counts.virtual > before.virtual + 2 && counts.published > before.published + 2),
  );
  end.abort();
  await Promise.all(following);
}, 60_000);

test("weights share connections, and affinity keeps a client with one endpoint", async () => {
  const heavy = web("a6", { meta: { weight: "99" } });
  await cluster().declare([heavy, web("b5")], { virtuals: [virtual()] });
  const answers = new Map<string, number>();
  for (let turn = 0; turn < 20; turn++) {
    const server = (await ask("a5", VIP, 8080))?.server ?? "nobody";
    answers.set(server, (answers.get(server) ?? 0) + 1);
  }
  expect(answers.get(CONTAINERS.a6) ?? 0).toBeGreaterThan(15);
  await cluster().declare([web("a6"), web("b5")], { virtuals: [virtual({ affinity: "source" })] });
  expect((await askMany("a5", VIP, 8080, 10)).size).toBe(1);
}, 60_000);
