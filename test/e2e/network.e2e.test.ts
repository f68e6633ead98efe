import { beforeAll, expect, test } from "bun:test";
import { z } from "zod";
import { cidrContains, parseCidr, parseIpv4 } from "../../src/model/ip.ts";
import { cidr6Contains, formatCidr6, parseIpv6 } from "../../src/model/ip6.ts";
import { host6Of } from "../../src/network/address6.ts";
import { gatewayOf } from "../../src/network/blocks.ts";
import { addressesOf } from "../../src/lab/dig.ts";
import { startEngine } from "../../src/lab/engine.ts";
import { enterFabric } from "../../src/lab/fabric.ts";
import { WEB_IMAGE } from "../../src/lab/images.ts";
import { cutLink, endDaemonOf, healLink, startDaemonOf } from "../../src/lab/lab-control.ts";
import { labPaths } from "../../src/lab/lab-paths.ts";
import { OUTSIDE_ADDRESS } from "../../src/lab/lab-plan.ts";
import { processOf } from "../../src/lab/lab-state.ts";
import { readInNode, startDaemon } from "../../src/lab/node-command.ts";
import { listInNamespace } from "../../src/lab/process-table.ts";
import { LoadClient } from "../../src/lab/load-client.ts";
import { mustRun } from "../../src/lab/run-command.ts";
import { timed } from "../../src/lab/tour-report.ts";
import { NETWORK, PROBE } from "../../src/lab/tour-world.ts";
import type { TourWorld } from "../../src/lab/tour-world.ts";
import { clusterUp, deploy, eventually, hostPhase, hostsShape, runsOn, webApp } from "./cluster.fixture.ts";
import { testLab } from "./test-lab.fixture.ts";

const name = testLab("net");
const RANGE = "10.2.0.0/16";
const ECHO_PORT = 9001;
let world: TourWorld;

/** A web server that logs who asks, on the network and in no catalog. */
async function startProbe(host: string, network: readonly string[]): Promise<void> {
  const argv = ["docker", "run", "--detach", "--name", PROBE, ...network, "--env", "SERVICE_IGNORE=1", WEB_IMAGE];
  await world.lab.mustExec(host, [...argv, "httpd", "-f", "-vv", "-p", "80", "-h", "/www"], { timeoutMs: 60_000 });
}

async function probeAddress(host: string): Promise<string> {
  const format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
  return (await world.lab.mustExec(host, ["docker", "inspect", "--format", format, PROBE])).trim();
}

async function blockOf(host: string): Promise<string> {
  const hosts = await world.client.get(hostsShape, "/api/hosts");
  return hosts.find((each) => each.name === host)?.blocks[0] ?? "none";
}

function inBlock(address: string, block: string): boolean {
  return cidrContains(parseCidr(block), parseIpv4(address));
}

/** From the network of the host's probe container, with the host's curl: busybox's wget knows no deadline. */
/** `patienceSec`: short where silence is what is looked for, before another way is found. */
async function reaches(from: string, address: string, patienceSec = 5): Promise<boolean> {
  const { lab } = world;
  const pid = (await lab.mustExec(from, ["docker", "inspect", "--format", "{{.State.Pid}}", PROBE])).trim();
  const argv = [
    "nsenter",
    "--target",
    pid,
    "--net",
    "--",
    "curl",
    "-s",
    "-m",
    String(patienceSec),
    `http://${address}/`,
  ];
  return (await lab.exec(from, argv)).stdout === "ok\n";
}

beforeAll(async () => {
  world = await clusterUp(name, 3);
  for (const host of world.lab.hosts) {
    const inspect = ["docker", "network", "inspect", NETWORK];
    await eventually(`the network of ${host}`, async () => (await world.lab.exec(host, inspect)).code === 0);
    await startProbe(host, ["--network", NETWORK]);
  }
});

test("a container that starts as soon as there is a network for it asks our DNS", async () => {
  const { lab } = world;
  for (const host of lab.hosts) {
    const found = await lab.exec(host, ["docker", "exec", PROBE, "busybox", "nslookup", `${host}.node.consul`]);
    expect([host, found.stdout]).toEqual([host, expect.stringContaining(lab.node(host).address)]);
  }
});

test("hosts of one network route to each other directly, others by VXLAN with its MTU; both carry megabytes", async () => {
  const { lab } = world;
  const [block2, block3] = [await blockOf("h2"), await blockOf("h3")];
  const routes = (await lab.mustExec("h1", ["ip", "route", "show", "proto", "201"])).split("\n");
  const direct = routes.find((line) => line.startsWith(block2)) ?? "none";
  const tunnel = routes.find((line) => line.startsWith(block3)) ?? "none";
  expect(direct).toContain(`via ${lab.node("h2").address} dev eth0`);
  expect(tunnel).toContain("dev apollo-vx0");
  expect(tunnel).toContain("mtu 1450");
  expect(direct).not.toContain("mtu 1450");

  for (const to of ["h2", "h3"]) {
    const inThere = ["docker", "exec", PROBE, "busybox"];
    await lab.mustExec(to, [...inThere, "dd", "if=/dev/urandom", "of=/www/big", "bs=65536", "count=256"]);
    const sum = (await lab.mustExec(to, [...inThere, "md5sum", "/www/big"])).split(" ")[0] ?? "none";
    const url = `http://${await probeAddress(to)}/big`;
    const { ms } = await timed(() =>
      lab.mustExec("h1", ["docker", "exec", PROBE, "wget", "-q", "-O", "/tmp/big", url]),
    );
    console.log(`16 MiB from ${to} to a container on h1 in ${ms} ms`);
    expect(await lab.mustExec("h1", [...inThere, "md5sum", "/tmp/big"])).toContain(sum);
  }
});

test("inside the range nobody's address changes; towards the outside it is the host's", async () => {
  const { lab } = world;
  const own = await probeAddress("h1");
  for (const to of ["h2", "h3"]) {
    expect(await reaches("h1", await probeAddress(to))).toBe(true);
    const log = await lab.exec(to, ["docker", "logs", PROBE]);
    expect(log.stderr + log.stdout).toContain(own);
  }
  const enter = enterFabric(processOf(name, "fabric"));
  const listen = `TCP-LISTEN:${ECHO_PORT},bind=${OUTSIDE_ADDRESS},reuseaddr,fork`;
  await startDaemon(name, "fabric", { log: "echo", argv: ["socat", listen, "EXEC:/usr/bin/env"], enter });
  const ask = ["docker", "exec", PROBE, "nc", OUTSIDE_ADDRESS, String(ECHO_PORT)];
  await eventually("the outside to see the host's address", async () =>
    (await lab.exec("h1", ask)).stdout.includes(`SOCAT_PEERADDR=${lab.node("h1").address}\n`),
  );
});

test("names that a container asks for again and again are answered by the kernel, also through Docker's own resolver", async () => {
  const answered = async (): Promise<number> => {
    const metrics = await world.client.text("/api/metrics");
    return Number(/apollo_dns_kernel_answers_total\{host="h1"\} (\d+)/.exec(metrics)?.[1] ?? 0);
  };
  const before = await answered();
  await eventually("the kernel of h1 to answer", async () => {
    const found = await world.lab.mustExec("h1", ["docker", "exec", PROBE, "busybox", "nslookup", "h2.node.consul"]);
    expect(found).toContain(world.lab.node("h2").address);
    return (await answered()) > before;
  });
});

test("a link that was cut works again once it is whole, in both modes", async () => {
  for (const to of ["h2", "h3"]) {
    const address = await probeAddress(to);
    await cutLink(name, { from: "h1", to });
    expect(await reaches("h1", address, 1)).toBe(false);
    // The server is reached all the while: nobody takes a host for dead because two others do not see each other.
    expect(await hostPhase(world, to)).toBe("up");
    await healLink(name, { from: "h1", to });
    const { ms } = await timed(() => eventually(`h1 to reach ${to} again`, () => reaches("h1", address)));
    console.log(`h1 reaches ${to} ${ms} ms after the cut is healed`);
  }
});

test("an engine whose default bridge is ours serves plain docker run and apps alike", async () => {
  const { lab } = world;
  const block = await blockOf("h2");
  await endDaemonOf(name, "h2", "apollo", "SIGTERM");
  await lab.mustExec("h2", ["docker", "rm", "--force", PROBE]);
  await lab.mustExec("h2", ["docker", "network", "rm", NETWORK]);
  await endDaemonOf(name, "h2", "dockerd", "SIGTERM");
  const status = await world.client.get(z.object({ settings: z.object({ range6: z.string() }) }), "/api/status");
  const part = host6Of(status.settings.range6, gatewayOf([block]));
  const six = { ipv6: true, "fixed-cidr-v6": formatCidr6(part) };
  await startEngine(name, "h2", { config: { bridge: "apollo0", "fixed-cidr": block, ...six } });
  await startDaemonOf(name, "h2");
  await eventually("h2 to be up", async () => (await hostPhase(world, "h2")) === "up");
  await startProbe("h2", []);

  const run = ["docker", "run", "--detach", "--name", "seed", "--env", "SERVICE_NAME=seed", WEB_IMAGE];
  await lab.mustExec("h2", run);
  const address = (await runsOn(lab, "h2")).find((each) => each.name === "/seed")?.address ?? "none";
  expect(inBlock(address, block)).toBe(true);
  await world.dnsFollows("seed.service.consul", [address]);
  const format = "{{.NetworkSettings.Networks.bridge.GlobalIPv6Address}}";
  const address6 = parseIpv6((await lab.mustExec("h2", ["docker", "inspect", "--format", format, "seed"])).trim());
  expect(cidr6Contains(part, address6)).toBe(true);
  const named = async (): Promise<string> =>
    (await world.dig("h1", "seed.service.consul", "AAAA")).answers.map(({ data }) => data).join();
  await eventually("its AAAA record", async () => (await named()) === address6);
  for (const host of lab.hosts) {
    await eventually(`a container on ${host} to reach it`, () => reaches(host, address));
    expect(await reaches(host, `[${address6}]`)).toBe(true);
    expect(await lab.mustExec(host, ["curl", "-s", "-m", "5", "http://seed.service.consul/"])).toBe("ok\n");
  }
  const own = await probeAddress("h2");
  expect(inBlock(own, block)).toBe(true);
  // Docker masquerades its default bridge; ours decides first.
  expect(await reaches("h2", await probeAddress("h3"))).toBe(true);
  const log = await lab.exec("h3", ["docker", "logs", PROBE]);
  expect(log.stderr + log.stdout).toContain(own);

  const constraints = [["hostname", "CLUSTER", "h2"]];
  const instances = await deploy(world, webApp("on-default", { instances: 2, constraints }));
  for (const instance of instances) {
    expect(inBlock(instance.address, block)).toBe(true);
    expect(await reaches("h3", instance.address)).toBe(true);
  }
  await world.dnsFollows(
    "on-default.service.consul",
    instances.map((instance) => instance.address),
  );
  expect(await lab.mustExec("h2", ["docker", "network", "ls", "--format", "{{.Name}}"])).not.toContain(NETWORK);
  // The engine gives out all of the block, so the host is probed at an address of another one, and the others know it.
  await eventually("an address to be probed at", async () => {
    const shown = await lab.mustExec("h2", ["ip", "-o", "-4", "address", "show", "dev", "apollo0"]);
    const [, probed = ""] = /inet ([0-9.]+)\/32/.exec(shown) ?? [];
    const known = readInNode(name, "h1", "/var/lib/apollo/last-known.json");
    return probed !== "" && !inBlock(probed, block) && known?.includes(`"probeAddress":"${probed}"`) === true;
  });
});

test("a host that leaves has nothing of ours, is known nowhere, and can join again", async () => {
  const { lab } = world;
  const original = `nameserver ${lab.node("h3").gateway}\n`;
  const leave = ["apollo", "agent", "leave", "--data-dir", "/var/lib/apollo"];
  const web = await deploy(world, webApp("web", { instances: 3, constraints: [["hostname", "UNIQUE"]] }));
  await world.dnsFollows(
    "web.service.consul",
    web.map((instance) => instance.address),
  );
  const block = await blockOf("h3");
  expect(readInNode(name, "h3", "/etc/resolv.conf")).not.toBe(original);
  const runs = await lab.exec("h3", leave);
  expect([runs.code, runs.stderr]).toEqual([4, expect.stringContaining("the agent runs")]);

  await endDaemonOf(name, "h3", "apollo", "SIGTERM");
  const busy = await lab.exec("h3", leave);
  expect([busy.code, busy.stderr]).toEqual([4, expect.stringContaining("--containers")]);
  const used = await lab.exec("h3", [...leave, "--containers"]);
  expect([used.code, used.stderr]).toEqual([4, expect.stringContaining(PROBE)]);
  await lab.mustExec("h3", ["docker", "rm", "--force", PROBE]);
  // Whoever calls through another host is not to notice.
  const url = `http://${lab.node("h1").address}/`;
  const load = new LoadClient(name, "h2", { url, hostHeader: "web.example.com", ratePerS: 100 });
  await load.start();
  const { value: said, ms } = await timed(() => lab.mustExec("h3", [...leave, "--containers"], { timeoutMs: 60_000 }));
  console.log(`left in ${ms} ms`);
  const { failures, requests } = await load.stop();
  expect(requests).toBeGreaterThan(20);
  expect(failures).toEqual([]);
  console.log(said.trim());
  expect(said).not.toContain("Warning");

  const list = (argv: readonly string[]): Promise<string> => lab.mustExec("h3", argv);
  expect(await list(["ip", "-o", "link"])).not.toContain("apollo");
  expect(await list(["ip", "route", "show", "table", "all"])).not.toContain("10.2.");
  expect(await list(["ip", "route", "show", "proto", "201"])).toBe("");
  expect(await list(["nft", "list", "tables"])).not.toContain("apollo");
  expect(await list(["iptables", "-S", "DOCKER-USER"])).not.toContain(RANGE);
  expect(await list(["docker", "network", "ls", "--format", "{{.Name}}"])).not.toContain("apollo");
  expect(await list(["docker", "ps", "--all", "--quiet"])).toBe("");
  expect(readInNode(name, "h3", "/etc/resolv.conf")).toBe(original);
  expect(await list(["ls", "/var/lib/apollo"])).toBe("");
  expect(listInNamespace(processOf(name, "h3")).filter(({ argv }) => argv.join(" ").includes("haproxy"))).toEqual([]);
  expect((await lab.exec("h3", ["ls", "/run/apollo"])).code).not.toBe(0);

  expect(await hostPhase(world, "h3")).toBe("none");
  await eventually("h1 to forget the way there", async () => {
    return !(await lab.mustExec("h1", ["ip", "route", "show", "proto", "201"])).includes(block);
  });
  await eventually("DNS to be without it", async () => {
    return !addressesOf(await world.dig("h1", "web.service.consul", "A")).some((each) => inBlock(each, block));
  });
  const again = await lab.exec("h3", leave);
  expect([again.code, again.stderr]).toEqual([3, expect.stringContaining("no membership")]);

  // No agent.json is left: the lab gives the join token again.
  await startDaemonOf(name, "h3");
  await eventually("h3 to be up again", async () => (await hostPhase(world, "h3")) === "up");
  const back = await world.settled("web", 3);
  await world.dnsFollows(
    "web.service.consul",
    back.map((instance) => instance.address),
  );
  expect(new Set(back.map((instance) => instance.host)).size).toBe(3);
  expect((await mustRun(["ls", labPaths(name).node("h3").apollo])).split("\n")).toContain("agent.json");
});
