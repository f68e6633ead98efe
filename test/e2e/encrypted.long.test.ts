// A cluster whose encryption is required, with containers, Docker and the built agent: what the wire shows, and what breaks.
import { beforeAll, expect, test } from "bun:test";
import { enterFabric } from "../../src/lab/fabric.ts";
import { endDaemonOf, startDaemonOf } from "../../src/lab/lab-control.ts";
import { labPaths } from "../../src/lab/lab-paths.ts";
import { processOf } from "../../src/lab/lab-state.ts";
import { startDaemon } from "../../src/lab/node-command.ts";
import type { TourWorld } from "../../src/lab/tour-world.ts";
import { clusterUp, eventually } from "./cluster.fixture.ts";
import { Probes, Stream, linkOf } from "./faults.fixture.ts";
import { testLab } from "./test-lab.fixture.ts";

const name = testLab("enc");
const WIREGUARD = "apollo-wg0";
let world: TourWorld;
let probes: Probes;

beforeAll(async () => {
  world = await clusterUp(name, 3, ["--encryption", "required"]);
  await capture("start");
  probes = await Probes.everywhere(world);
  await probes.healed("the start");
});

/** Looks at all wires of the lab: what is WireGuard's, and what should not be there. */
async function capture(what: string): Promise<void> {
  const argv = ["tcpdump", "-i", "any", "-nn", "-l", "net 10.2.0.0/16 or udp port 6784 or udp port 6785"];
  await startDaemon(name, "fabric", { log: `wire-${what}`, argv, enter: enterFabric(processOf(name, "fabric")) });
  await eventually("the capture to listen", async () => (await captured(what)).includes("listening on"));
}

function captured(what: string): Promise<string> {
  return Bun.file(`${labPaths(name).logs}/fabric-wire-${what}.log`).text();
}

/** Ends the capture: how many packets were encrypted, and all that were not. */
async function endCapture(what: string): Promise<{ readonly encrypted: number; readonly clear: readonly string[] }> {
  await endDaemonOf(name, "fabric", "tcpdump", "SIGINT");
  const packets = (await captured(what)).split("\n").filter((line) => / IP |ARP/.test(line));
  const clear = packets.filter((line) => !line.includes(".6785"));
  return { encrypted: packets.length - clear.length, clear };
}

const keyOf = async (host: string): Promise<string> =>
  (await world.lab.mustExec(host, ["wg", "show", WIREGUARD, "public-key"])).trim();

test("containers reach each other from the first packet on, and no wire shows a clear one or VXLAN", async () => {
  for (const [from, to] of [
    ["h1", "h2"],
    ["h1", "h3"],
    ["h3", "h2"],
  ] as const) {
    expect(await linkOf(world, from, to)).toMatchObject({ mode: "wireguard", encryption: "wireguard" });
  }
  const stream = await Stream.start(world, probes, "h1", "h3");
  expect(await stream.end()).toBeGreaterThan(500_000);
  const { encrypted, clear } = await endCapture("start");
  expect(encrypted).toBeGreaterThan(100);
  expect(clear).toEqual([]);
});

test("keys are changed under a transfer, an agent is killed, and its program too: the connection lives and nothing leaks", async () => {
  await capture("faults");
  const stream = await Stream.start(world, probes, "h1", "h2");
  const before = await Promise.all(world.lab.hosts.map(keyOf));
  await world.client.cli(["net", "rotate-keys"]);
  await eventually("other keys on every host", async () => {
    const now = await Promise.all(world.lab.hosts.map(keyOf));
    return now.every((key, at) => key !== before[at]);
  });
  await stream.goesOn();
  await probes.healed("a change of keys");

  const key = await keyOf("h1");
  await endDaemonOf(name, "h1", "apollo", "SIGKILL");
  await stream.goesOn();
  await startDaemonOf(name, "h1");
  await probes.healed("a killed agent");
  expect(await keyOf("h1")).toBe(key);

  expect(await endDaemonOf(name, "h2", "wireguard-go", "SIGKILL")).toBe(1);
  await probes.healed("a killed wireguard-go");
  await world.lab.mustExec("h3", ["nft", "flush", "ruleset"]);
  await probes.healed("flushed rules");
  await world.lab.mustExec("h1", ["ip", "link", "delete", "apollo0"]);
  await probes.healed("a deleted bridge");
  await stream.goesOn();
  await stream.end();
  const { encrypted, clear } = await endCapture("faults");
  expect(encrypted).toBeGreaterThan(100);
  expect(clear).toEqual([]);
});
