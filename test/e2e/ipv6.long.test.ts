import { beforeAll, expect, test } from "bun:test";
import { z } from "zod";
import type { RunningInstance, TourWorld } from "../../src/lab/tour-world.ts";
import { parseIpv4 } from "../../src/model/ip.ts";
import type { Ipv6 } from "../../src/model/ip6.ts";
import { cidr6Contains, parseCidr6, parseIpv6 } from "../../src/model/ip6.ts";
import { address6Of, gateway6Of, host6Of, virtual6Of } from "../../src/network/address6.ts";
import { gatewayOf } from "../../src/network/blocks.ts";
import { WEB_IMAGE } from "../../src/lab/images.ts";
import { clusterUp, deploy, eventually, hostsShape, webApp } from "./cluster.fixture.ts";
import { testLab } from "./test-lab.fixture.ts";

const name = testLab("six");
const HOSTS = ["h1", "h2", "h3"] as const;
const PLAIN = "plain-six";
const IPV4_FORMAT = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
const rowShape = z.object({ address: z.string(), address6: z.string() });
let world: TourWorld;
let range6 = "";
let instances: readonly RunningInstance[] = [];

beforeAll(async () => {
  world = await clusterUp(name, HOSTS.length);
  const status = await world.client.get(z.object({ settings: z.object({ range6: z.string() }) }), "/api/status");
  range6 = status.settings.range6;
  instances = await deploy(world, webApp("six", { instances: 3, constraints: [["hostname", "UNIQUE"]] }));
});

async function gatewayAt(host: string): Promise<ReturnType<typeof gatewayOf>> {
  const hosts = await world.client.get(hostsShape, "/api/hosts");
  return gatewayOf(hosts.find((each) => each.name === host)?.blocks ?? []);
}

async function inspect(host: string, container: string, format: string): Promise<string> {
  return (await world.lab.mustExec(host, ["docker", "inspect", "--format", format, container])).trim();
}

async function address6(host: string, container: string): Promise<Ipv6> {
  return parseIpv6(await inspect(host, container, "{{range .NetworkSettings.Networks}}{{.GlobalIPv6Address}}{{end}}"));
}

/** What goes with an IPv4 address on a host. */
async function derived(host: string, address: string): Promise<Ipv6> {
  return address6Of(host6Of(range6, await gatewayAt(host)), parseIpv4(address));
}

async function runOn(host: string, container: string, network: string): Promise<void> {
  const argv = ["docker", "run", "--detach", "--name", container, "--network", network, WEB_IMAGE];
  await world.lab.mustExec(host, argv, { timeoutMs: 60_000 });
}

/** The container of the instance on a host. */
async function containerAt(host: string): Promise<string> {
  return (await world.lab.mustExec(host, ["docker", "ps", "--quiet", "--filter", "label=apollo.instance"])).trim();
}

/** From the container's network, with the host's own programs. */
async function inContainer(host: string, container: string, argv: readonly string[]): Promise<number> {
  const pid = await inspect(host, container, "{{.State.Pid}}");
  return (await world.lab.exec(host, ["nsenter", "--target", pid, "--net", "--", ...argv])).code;
}

async function dig(host: string, at: string, argv: readonly string[]): Promise<readonly string[]> {
  const text = await world.lab.mustExec(host, ["dig", `@${at}`, "+short", "+time=2", "+tries=2", ...argv]);
  return text.split("\n").filter(Boolean).toSorted();
}

test("a new cluster has a private IPv6 range, and each instance an address that follows from its IPv4 one", async () => {
  expect(cidr6Contains(parseCidr6("fd00::/8"), parseIpv6(range6.replace("/64", "")))).toBe(true);
  expect(instances.map(({ host }) => host).toSorted()).toEqual([...HOSTS]);
  for (const { host, address } of instances) {
    const want = address6Of(host6Of(range6, await gatewayAt(host)), parseIpv4(address));
    expect(await address6(host, await containerAt(host))).toBe(want);
  }
});

test("containers of all hosts reach each other by IPv6, HTTP and ping", async () => {
  const addresses = await Promise.all(HOSTS.map(async (host) => address6(host, await containerAt(host))));
  for (const host of HOSTS) {
    const container = await containerAt(host);
    for (const address of addresses) {
      const curl = ["curl", "-gsf", "-m", "5", "-o", "/dev/null", `http://[${address}]/`];
      expect([host, address, await inContainer(host, container, curl)]).toEqual([host, address, 0]);
      expect(await inContainer(host, container, ["ping", "-6", "-n", "-c", "1", "-W", "5", address])).toBe(0);
    }
  }
});

test("DNS has AAAA records and leads back, asked by either family", async () => {
  const want = (await Promise.all(HOSTS.map(async (host) => address6(host, await containerAt(host))))).toSorted();
  const gateway = await gatewayAt("h1");
  const gateway6 = gateway6Of(range6, gateway);
  await eventually("AAAA of the service", async () => {
    const found = await dig("h1", gateway6, ["six.service.consul", "AAAA"]);
    return JSON.stringify(found) === JSON.stringify(want);
  });
  expect((await dig("h2", await gatewayAt("h2"), ["six.service.consul", "AAAA"])).length).toBe(3);
  expect(await dig("h1", gateway6, ["-x", want[0] ?? ""])).toEqual(["six.service.dc1.consul."]);
});

test("a service's own address has an IPv6 twin, which refuses as soon as nobody serves", async () => {
  const made = await world.client.cliJson(z.object({ address: z.string() }), ["service", "virtual", "six"]);
  const twin = address6Of(virtual6Of(range6, "10.3.0.0/16"), parseIpv4(made.address));
  const curl = ["curl", "-gs", "-m", "5", "-o", "/dev/null", `http://[${twin}]/`];
  for (const host of HOSTS) {
    const gateway = await gatewayAt(host);
    await eventually("its AAAA record", async () => {
      return (await dig(host, gateway, ["six.virtual.consul", "AAAA"]))[0] === twin;
    });
    // From the host itself, and from a container that may be the endpoint.
    await eventually("an answer to the host", async () => (await world.lab.exec(host, curl)).code === 0);
    const container = await containerAt(host);
    await eventually("an answer to a container", async () => (await inContainer(host, container, curl)) === 0);
  }
  await world.client.cli(["service", "virtual", "nobody"]);
  await eventually("a refusal", async () => {
    const [other = ""] = await dig("h1", await gatewayAt("h1"), ["nobody.virtual.consul", "AAAA"]);
    return other !== "" && (await world.lab.exec("h1", ["curl", "-gs", "-m", "5", `http://[${other}]:80/`])).code === 7;
  });
  await world.client.cli(["service", "release", "six"]);
  await world.client.cli(["service", "release", "nobody"]);
});

test("what goes between hosts is counted by link, IPv6 as well, which takes the kernel's own way", async () => {
  const shape = z.array(z.object({ host: z.string(), peer: z.string(), txBytes: z.number().nullable() }));
  const sent = async (): Promise<number> => {
    const links = shape.parse(await world.client.get(z.unknown(), "/api/links"));
    return links.find(({ host, peer }) => host === "h1" && peer === "h2")?.txBytes ?? 0;
  };
  const before = await sent();
  const target = await address6("h2", await containerAt("h2"));
  const ping = ["ping", "-6", "-n", "-q", "-f", "-c", "200", "-s", "1200", target];
  expect(await inContainer("h1", await containerAt("h1"), ping)).toBe(0);
  await eventually("the bytes", async () => (await sent()) - before > 200_000, 60_000);
});

test("a restarted container keeps its address", async () => {
  const container = await containerAt("h2");
  const before = await address6("h2", container);
  await world.lab.mustExec("h2", ["docker", "restart", "--time", "1", container], { timeoutMs: 60_000 });
  expect(await address6("h2", container)).toBe(before);
  const curl = ["curl", "-gsf", "-m", "2", "-o", "/dev/null", `http://[${before}]/`];
  const from = await containerAt("h1");
  await eventually("the restarted container", async () => (await inContainer("h1", from, curl)) === 0);
});

test("a container that was started by hand has an address of the engine's choice, and a name", async () => {
  const argv = ["docker", "run", "--detach", "--name", PLAIN, "--network", "apollo", WEB_IMAGE];
  await world.lab.mustExec("h3", argv, { timeoutMs: 60_000 });
  const address = await address6("h3", PLAIN);
  expect(cidr6Contains(host6Of(range6, await gatewayAt("h3")), address)).toBe(true);
  const gateway = await gatewayAt("h1");
  await eventually("its name", async () => (await dig("h1", gateway, [`${PLAIN}.weave.local`, "AAAA"]))[0] === address);
  const ping = ["ping", "-6", "-n", "-c", "1", "-W", "5", address];
  expect(await inContainer("h1", await containerAt("h1"), ping)).toBe(0);
});

test("what is attached and exposed has both families, with names, before and after a restart", async () => {
  const { lab } = world;
  await lab.mustExec("h1", ["docker", "run", "--detach", "--name", "lone", WEB_IMAGE], { timeoutMs: 60_000 });
  const net = async (...argv: readonly string[]): Promise<z.infer<typeof rowShape>> =>
    rowShape.parse(JSON.parse(await lab.mustExec("h1", ["apollo", "net", ...argv, "--json"])));
  const attached = await net("attach", "lone");
  expect(attached.address6).toBe(await derived("h1", attached.address));
  const exposed = await net("expose", "--name", "legacy");
  expect(exposed.address6).toBe(await derived("h1", exposed.address));
  const from = await containerAt("h2");
  const curl = ["curl", "-gsf", "-m", "2", "-o", "/dev/null", `http://[${attached.address6}]/`];
  await eventually("h2 to reach it", async () => (await inContainer("h2", from, curl)) === 0);
  const ping = ["ping", "-6", "-n", "-c", "1", "-W", "2", exposed.address6];
  await eventually("h2 to reach the host", async () => (await inContainer("h2", from, ping)) === 0);
  for (const [label, { address6: want }] of [["lone", attached] as const, ["legacy", exposed] as const]) {
    const asked = [`${label}.weave.local`, "AAAA"];
    await eventually(label, async () => (await dig("h3", await gatewayAt("h3"), asked)).join() === want);
  }
  await lab.mustExec("h1", ["docker", "restart", "--time", "1", "lone"], { timeoutMs: 60_000 });
  await eventually("it after its restart", async () => (await inContainer("h2", from, curl)) === 0);
  await lab.mustExec("h1", ["apollo", "net", "hide"]);
  await lab.mustExec("h1", ["apollo", "net", "detach", "lone"]);
  expect(await lab.mustExec("h1", ["ip", "-6", "address", "show", "dev", "lo"])).not.toContain(exposed.address6);
  await lab.mustExec("h1", ["docker", "rm", "--force", "lone"]);
});

test("networks of Docker's driver have IPv6 without its asking, and say so when it asks", async () => {
  const { lab } = world;
  const create = ["docker", "network", "create", "-d", "apollo", "--ipam-driver", "apollo", "--subnet", "10.2.0.0/16"];
  for (const extra of [["--ipv6"], ["--ipv6", "--subnet", "fd99::/64"]]) {
    const refused = await lab.exec("h2", [...create, ...extra, "green"]);
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining("Leave --ipv6")]);
  }
  for (const host of ["h1", "h2"]) {
    await lab.mustExec(host, [...create, "green"]);
    await runOn(host, `green-${host}`, "green");
  }
  const [one, two] = [await address6("h1", "green-h1"), await address6("h2", "green-h2")];
  expect(two).toBe(await derived("h2", await inspect("h2", "green-h2", IPV4_FORMAT)));
  const ping = (to: string): readonly string[] => ["ping", "-6", "-n", "-c", "1", "-W", "5", to];
  await eventually("the other host's", async () => (await inContainer("h1", "green-h1", ping(two))) === 0);
  expect(await inContainer("h2", "green-h2", ping(await address6("h3", PLAIN)))).toBe(0);
  expect(await inContainer("h3", PLAIN, ping(one))).toBe(0);
  const asked = ["green-h2.weave.local", "AAAA"];
  await eventually("its name", async () => (await dig("h1", await gatewayAt("h1"), asked)).join() === two);
  for (const host of ["h1", "h2"]) {
    await lab.mustExec(host, ["docker", "rm", "--force", `green-${host}`], { timeoutMs: 60_000 });
    await lab.mustExec(host, ["docker", "network", "rm", "green"]);
  }
});

test("declared networks have IPv6 of their own over hosts; a rule that names both opens the border by both families", async () => {
  const { lab, client } = world;
  const [hosts, members] = [["h1", "h2"] as const, ["blue", "red", "wire"] as const];
  await client.cli(["network", "create", "blue", "--range", "10.50.0.0/16"]);
  await client.cli(["network", "create", "red", "--range", "10.51.0.0/16"]);
  await client.cli(["network", "create", "wire", "--range", "10.9.0.0/24", "--mode", "layer2"]);
  for (const host of hosts) {
    for (const network of members) {
      await eventually(`${network} on ${host}`, async () =>
        (await lab.mustExec(host, ["docker", "network", "ls", "--format", "{{.Name}}"])).split("\n").includes(network),
      );
      await runOn(host, `${network}-${host}`, network);
    }
  }
  const six = (host: string, network: string): Promise<Ipv6> => {
    const format = `{{(index .NetworkSettings.Networks "${network}").GlobalIPv6Address}}`;
    return inspect(host, `${network}-${host}`, format).then(parseIpv6);
  };
  const ping = async (host: string, network: string, to: string): Promise<boolean> =>
    (await inContainer(host, `${network}-${host}`, ["ping", "-6", "-n", "-c", "1", "-W", "2", to])) === 0;
  for (const network of members) {
    await eventually(`${network} over hosts`, async () => ping("h1", network, await six("h2", network)));
    await eventually(`${network} back`, async () => ping("h2", network, await six("h1", network)));
  }
  const asked = ["blue-h2.weave.local", "AAAA"];
  const named = await six("h2", "blue");
  await eventually("its name", async () => (await dig("h1", await gatewayAt("h1"), asked)).join() === named);
  // A host reaches it, as for health checks.
  expect((await lab.exec("h1", ["ping", "-6", "-c", "1", "-W", "2", named])).code).toBe(0);
  const target = await six("h2", "red");
  const four = await inspect("h2", "red-h2", IPV4_FORMAT);
  const curl = async (to: string): Promise<boolean> =>
    (await inContainer("h1", "blue-h1", ["curl", "-gsf", "-m", "2", "-o", "/dev/null", `http://${to}/`])) === 0;
  expect(await Promise.all([ping("h1", "blue", target), curl(`[${target}]`), curl(four)])).toEqual([
    false,
    false,
    false,
  ]);
  expect(await ping("h1", "blue", await address6("h3", PLAIN))).toBe(false);
  const why = await client.cli(["net", "why", "blue-h1", "red-h2:80"]).catch(String);
  expect(why).toContain("different networks");
  const rule = ["--network", "red", "--from", "network=blue", "--port", "80/tcp"];
  await client.cli(["policy", "put", "shop", ...rule]);
  await eventually("the border to open", async () => (await curl(`[${target}]`)) && (await curl(four)));
  expect(await ping("h1", "blue", target)).toBe(false);
  await client.cli(["policy", "delete", "shop"]);
  await eventually("the border to close", async () => !(await curl(`[${target}]`)) && !(await curl(four)));
  for (const host of hosts) {
    const names = members.map((network) => `${network}-${host}`);
    await lab.mustExec(host, ["docker", "rm", "--force", ...names], { timeoutMs: 60_000 });
  }
});

test("nothing is wrong with the network of any host", async () => {
  const shape = z.object({ conditions: z.array(z.object({ code: z.string(), text: z.string() })) });
  await eventually("no condition", async () => {
    const { conditions } = await world.client.get(shape, "/api/status");
    const wrong = conditions.filter(({ code }) => /6|network|wireguard|address/.test(code));
    if (wrong.length > 0) console.error(wrong);
    return wrong.length === 0;
  });
});
