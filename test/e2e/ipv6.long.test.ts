import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { z } from "zod";
import { downLab } from "../../src/lab/down-lab.ts";
import type { RunningInstance, TourWorld } from "../../src/lab/tour-world.ts";
import { parseIpv4 } from "../../src/model/ip.ts";
import type { Ipv6 } from "../../src/model/ip6.ts";
import { cidr6Contains, parseCidr6, parseIpv6 } from "../../src/model/ip6.ts";
import { address6Of, gateway6Of, host6Of, virtual6Of } from "../../src/network/address6.ts";
import { gatewayOf } from "../../src/network/blocks.ts";
import { WEB_IMAGE } from "../../src/lab/images.ts";
import { LAB_TIMEOUT_MS, clusterUp, deploy, eventually, hostsShape, testLabName, webApp } from "./cluster.fixture.ts";

const name = testLabName("six");
const HOSTS = ["h1", "h2", "h3"] as const;
const PLAIN = "plain-six";
let world: TourWorld;
let range6 = "";
let instances: readonly RunningInstance[] = [];

setDefaultTimeout(60_000);

beforeAll(async () => {
  world = await clusterUp(name, HOSTS.length);
  const status = await world.client.get(z.object({ settings: z.object({ range6: z.string() }) }), "/api/status");
  range6 = status.settings.range6;
  instances = await deploy(world, webApp("six", { instances: 3, constraints: [["hostname", "UNIQUE"]] }));
}, LAB_TIMEOUT_MS);

afterAll(async () => {
  await downLab(name);
}, LAB_TIMEOUT_MS);

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

test("nothing is wrong with the network of any host", async () => {
  const shape = z.object({ conditions: z.array(z.object({ code: z.string(), text: z.string() })) });
  await eventually("no condition", async () => {
    const { conditions } = await world.client.get(shape, "/api/status");
    const wrong = conditions.filter(({ code }) => /6|network|wireguard|address/.test(code));
    if (wrong.length > 0) console.error(wrong);
    return wrong.length === 0;
  });
});
