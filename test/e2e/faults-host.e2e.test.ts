// What breaks on one host or between two, on one lab: each is mended by the agents themselves, and nothing is reset.
import { beforeAll, expect, test } from "bun:test";
import { startEngine } from "../../src/lab/engine.ts";
import { cutLink, endDaemonOf, healLink, narrowLinks } from "../../src/lab/lab-control.ts";
import { PROBE } from "../../src/lab/tour-world.ts";
import type { TourWorld } from "../../src/lab/tour-world.ts";
import { clusterUp, eventually } from "./cluster.fixture.ts";
import { Probes, conditions, hostsOf, linkOf } from "./faults.fixture.ts";
import { testLab } from "./test-lab.fixture.ts";

const name = testLab("fault");
let world: TourWorld;
let probes: Probes;

beforeAll(async () => {
  world = await clusterUp(name, 3);
  probes = await Probes.everywhere(world);
  await probes.healed("the start");
});

interface Fault {
  readonly what: string;
  readonly host: string;
  /** An operator's wrong command. */
  readonly command: readonly string[];
  /** What shows that it was undone: its output has `shows` in it. The fast path hides much of this from containers. */
  readonly look: readonly string[];
  readonly shows: string;
}

const GATEWAY_ROUTE = ["ip", "route", "show", "10.2.0.0/16"];
const FAULTS: readonly Fault[] = [
  {
    what: "all rules flushed",
    host: "h1",
    command: ["nft", "flush", "ruleset"],
    look: ["nft", "list", "ruleset"],
    shows: "table inet apollo",
  },
  {
    what: "routes deleted",
    host: "h1",
    command: ["ip", "route", "flush", "proto", "201"],
    look: ["ip", "route", "show", "proto", "201"],
    shows: "10.2.",
  },
  {
    what: "the range's route deleted",
    host: "h2",
    command: ["ip", "route", "del", "10.2.0.0/16"],
    look: GATEWAY_ROUTE,
    shows: "apollo0",
  },
  {
    what: "the tunnel deleted",
    host: "h3",
    command: ["ip", "link", "delete", "apollo-vx0"],
    look: ["ip", "-br", "link"],
    shows: "apollo-vx0",
  },
  {
    what: "forwarding turned off",
    host: "h2",
    command: ["sysctl", "-qw", "net.ipv4.ip_forward=0"],
    look: ["sysctl", "net.ipv4.ip_forward"],
    shows: "= 1",
  },
  {
    what: "ARP answers turned off",
    host: "h1",
    command: ["sysctl", "-qw", "net.ipv4.conf.apollo0.proxy_arp=0"],
    look: ["sysctl", "net.ipv4.conf.apollo0.proxy_arp"],
    shows: "= 1",
  },
  {
    what: "the bridge down",
    host: "h3",
    command: ["ip", "link", "set", "apollo0", "down"],
    look: ["ip", "link", "show", "apollo0"],
    shows: "state UP",
  },
  {
    what: "the bridge deleted",
    host: "h1",
    command: ["ip", "link", "delete", "apollo0"],
    look: ["ip", "link", "show", "master", "apollo0"],
    shows: "veth",
  },
  {
    what: "the bridge of a tunnel's end deleted",
    host: "h3",
    command: ["ip", "link", "delete", "apollo0"],
    look: ["ip", "link", "show", "master", "apollo0"],
    shows: "veth",
  },
];

for (const { what, host, command, look, shows } of FAULTS) {
  test(`${what} on ${host}: undone by the agent, all is whole, and no container was restarted`, async () => {
    const before = await probes.startedAt(host);
    await world.lab.mustExec(host, command);
    await eventually(`"${look.join(" ")}" to show ${shows}`, async () =>
      (await world.lab.exec(host, look)).stdout.includes(shows),
    );
    await probes.healed(what);
    expect(await probes.startedAt(host)).toBe(before);
  });
}

test("an engine that restarts has its containers on the network again, at their addresses", async () => {
  await endDaemonOf(name, "h1", "dockerd", "SIGTERM");
  await startEngine(name, "h1", { config: {} });
  await probes.healed("a restart of the engine");
  const address = await world.lab.mustExec("h1", [
    "docker",
    "inspect",
    "--format",
    "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
    PROBE,
  ]);
  expect(address.trim()).toBe(probes.address("h1"));
});

/** The old address and all routes by it are gone. */
async function moveHost(host: string, from: string, to: string): Promise<void> {
  const { gateway } = world.lab.node(host);
  const text = [
    `address del ${from}/24 dev eth0`,
    `address add ${to}/24 dev eth0`,
    `route replace default via ${gateway}`,
    "",
  ].join("\n");
  await world.lab.mustExec(host, ["ip", "-batch", "-"], { stdin: text });
}

test("a host that gets another address is reached under it", async () => {
  const { address: old } = world.lab.node("h2");
  const other = "10.77.1.212";
  const known = async () => (await hostsOf(world)).find((each) => each.name === "h2")?.address;
  await moveHost("h2", old, other);
  await eventually("the cluster to know the new address", async () => (await known()) === other, 60_000);
  await probes.healed("another address");
  expect(await world.lab.mustExec("h1", ["ip", "route", "show", "proto", "201"])).toContain(`via ${other}`);
  await moveHost("h2", other, old);
  await eventually("the cluster to know the old address", async () => (await known()) === old, 60_000);
  await probes.healed("the address before");
});

test("large packets vanish without a word: the MTU is found, and a large file passes", async () => {
  const inThere = ["docker", "exec", PROBE, "busybox"];
  await world.lab.mustExec("h2", [...inThere, "dd", "if=/dev/urandom", "of=/www/big", "bs=65536", "count=64"]);
  const sum = (await world.lab.mustExec("h2", [...inThere, "md5sum", "/www/big"])).split(" ")[0] ?? "none";
  await narrowLinks(name, 1400);
  try {
    for (const [from, to] of [
      ["h1", "h2"],
      ["h2", "h1"],
    ] as const) {
      await eventually(`${from} to find the MTU`, async () => (await linkOf(world, from, to))?.mtu === 1400, 60_000);
    }
    await eventually("h1 to find the tunnel's", async () => (await linkOf(world, "h1", "h3"))?.mtu === 1350, 60_000);
    const get = await probes.inside("h1", [
      "curl",
      "-s",
      "-m",
      "20",
      "-o",
      "/tmp/big",
      `http://${probes.address("h2")}/big`,
    ]);
    await world.lab.mustExec("h1", get, { timeoutMs: 30_000 });
    expect(await world.lab.mustExec("h1", ["md5sum", "/tmp/big"])).toContain(sum);
    expect(await linkOf(world, "h1", "h2")).toMatchObject({ mode: "direct", why: expect.stringContaining("1400") });
  } finally {
    await narrowLinks(name, null);
  }
});

test("a cut in one direction: a third host carries the link, its cause and cure are shown, and it is direct again", async () => {
  await cutLink(name, { from: "h1", to: "h2", oneWay: true });
  try {
    const relayed = async (from: string, to: string) => (await linkOf(world, from, to))?.mode === "relay";
    await eventually(
      "both to use the third host",
      async () => (await relayed("h1", "h2")) && (await relayed("h2", "h1")),
    );
    await eventually("all to reach all", async () => (await probes.broken()).length === 0);
    const told = (await conditions(world)).find(({ host, code }) => host === "h1" && code === "link-degraded");
    expect(told?.text).toContain('Host "h2" is reached through host "h3" as relay');
    expect(told?.hint).toContain("firewall");
  } finally {
    await healLink(name, { from: "h1", to: "h2", oneWay: true });
  }
  await eventually("direct again", async () => (await linkOf(world, "h1", "h2"))?.mode === "direct", 60_000);
  await probes.healed("the end of the cut");
});
