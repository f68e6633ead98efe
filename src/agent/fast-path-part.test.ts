import { expect, test } from "bun:test";
import { AppError } from "../model/error.ts";
import type { HostId } from "../model/ids.ts";
import { DEFAULT_SETTINGS } from "../model/cluster.ts";
import { parseIpv4 } from "../model/ip.ts";
import { FakeBridgePorts } from "../sim/fake-bridge-ports.ts";
import { FakeFastPath } from "../sim/fake-fast-path.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import { parseContainer } from "../platform/docker/parse-container.ts";
import { AgentState } from "./agent-state.ts";
import { createFastPathPart } from "./fast-path-part.ts";
import { createPortsPart } from "./ports-part.ts";
import { SILENT_LOG } from "../sim/silent-log.ts";

const PEER = {
  gateway: parseIpv4("10.2.2.1"),
  underlay: parseIpv4("192.0.2.2"),
  blocks: ["10.2.2.0/24"],
  mode: "direct",
  device: "eth0",
  mtu: 1500,
} as const;

/** One container on the bridge of a host with one peer. */
class Host {
  readonly clock = new VirtualClock();
  readonly state = new AgentState();
  readonly kernel = new FakeFastPath();
  readonly bridge = new FakeBridgePorts();
  readonly abort = new AbortController();
  engineUp = true;

  constructor() {
    this.state.identity = {
      hostId: "h1" as HostId,
      hostName: "alpha",
      settings: DEFAULT_SETTINGS,
      blocks: ["10.2.1.0/24"],
      epoch: "e",
    };
    this.kernel.devices.set("eth0", { index: 2, ethernet: true });
    this.kernel.devices.set("veth1", { index: 7, ethernet: true });
    this.bridge.ports.push({ device: "veth1", index: 7, farIndex: 6 });
    this.bridge.indexes.set(100, [1, 6]);
  }

  start({ enabled = true } = {}): ReturnType<typeof createFastPathPart> {
    const { state, clock } = this;
    const part = createFastPathPart({ state, fastPath: this.kernel, clock, log: SILENT_LOG, enabled });
    const ports = createPortsPart({ state, engine: this.#engine(), ports: this.bridge, clock, log: SILENT_LOG });
    void part.run(this.abort.signal);
    void ports.run(this.abort.signal);
    return part;
  }

  async advance(ms: number): Promise<void> {
    await this.clock.settle(this.clock.sleep(ms));
  }

  #engine(): Parameters<typeof createPortsPart>[0]["engine"] {
    const network = { apollo: { IPAddress: "10.2.1.5", MacAddress: "02:42:0a:02:01:05" } };
    return {
      listContainers: () =>
        this.engineUp
          ? Promise.resolve([
              parseContainer({
                Id: "c1",
                State: { Status: "running", Pid: 100 },
                NetworkSettings: { Networks: network },
              }),
            ])
          : Promise.reject(new AppError("unavailable", "Cannot reach the engine")),
      watch: () => Promise.resolve(),
    };
  }
}

test("createFastPathPart() waits until ways and ports are known, then has both and says that it is on", async () => {
  const host = new Host();
  const part = host.start();
  await host.advance(10);
  expect(String(host.kernel)).toBe("");
  host.state.setWays([PEER]);
  await host.advance(500);
  expect(String(host.kernel).split("\n")).toEqual([
    "eth0 from_uplink",
    "veth1 from_container",
    "endpoints 10.2.1.5 7 02:42:0a:02:01:05 0a:71:0a:02:01:01 false false",
    "routes 10.2.1.0/24 local 0 0.0.0.0 0 0.0.0.0 0.0.0.0",
    "routes 10.2.2.0/24 direct 2 192.0.2.2 1500 192.0.2.2 0.0.0.0",
    "settings 0",
    "sources 7 10.2.1.5 02:42:0a:02:01:05 false",
  ]);
  expect([part.mode(), host.state.conditions()]).toEqual([{ on: true }, []]);
  host.abort.abort();
});

test("createFastPathPart() follows policy at once and gives a port up with its wire", async () => {
  const host = new Host();
  host.start();
  host.state.setWays([PEER]);
  await host.advance(500);
  host.state.setSlowRanges("policy", { policy: ["10.2.2.9/32"], virtual: [] });
  await host.advance(10);
  expect(String(host.kernel)).toContain("routes 10.2.2.9/32 slow");
  host.kernel.devices.delete("veth1");
  host.bridge.ports.length = 0;
  host.bridge.change();
  await host.advance(500);
  expect(String(host.kernel)).not.toMatch(/veth1|10\.2\.1\.5/);
  host.abort.abort();
});

test("createFastPathPart() of a new agent leaves what is in the kernel while the engine does not answer", async () => {
  const host = new Host();
  host.start();
  host.state.setWays([PEER]);
  await host.advance(500);
  const before = String(host.kernel);
  host.abort.abort();
  const next = Object.assign(new Host(), { kernel: host.kernel, engineUp: false });
  next.start();
  next.state.setWays([PEER]);
  await next.advance(5000);
  expect(String(host.kernel)).toBe(before);
  next.abort.abort();
});

test("createFastPathPart() says why it is off, and goes on when that has changed", async () => {
  const host = new Host();
  host.kernel.broken = new AppError("unavailable", "Cannot make map: this kernel has no BPF", { hint: "Update it" });
  const part = host.start();
  host.state.setWays([PEER]);
  await host.advance(500);
  expect(host.state.conditions()).toEqual([
    {
      code: "fast-path-off",
      severity: "info",
      text: "Fast path off: Cannot make map: this kernel has no BPF; packets between hosts take the kernel's own way, and all DNS questions come to the agent",
      hint: "Update it",
    },
  ]);
  host.kernel.broken = null;
  await host.advance(60_000);
  expect([part.mode(), host.state.conditions()]).toEqual([{ on: true }, []]);
  host.abort.abort();
});

test("createFastPathPart() that is not wanted takes away what an earlier agent left", async () => {
  const host = new Host();
  await host.kernel.open();
  const part = host.start({ enabled: false });
  await host.advance(500);
  expect(host.kernel.installed).toBe(false);
  expect(part.mode()).toMatchObject({ on: false, why: "it was turned off" });
  expect(host.state.conditions()).toMatchObject([{ code: "fast-path-off", severity: "info" }]);
  host.abort.abort();
});

test("createPortsPart() plugs a running container into a bridge that was made anew, and leaves other wires alone", async () => {
  const host = new Host();
  host.start();
  host.state.setWays([PEER]);
  await host.advance(500);
  expect(host.state.ports.length).toBe(1);
  const { bridge } = host;
  bridge.looseWires.push({ device: "eth0", index: 2, farIndex: 6 }, ...bridge.ports.splice(0));
  bridge.inside.set(100, [{ index: 6, nearIndex: 7, mac: "02:42:0A:02:01:05" }]);
  bridge.bridge = null;
  bridge.change();
  await host.advance(500);
  expect([host.state.ports, bridge.looseWires.length]).toEqual([[], 2]);
  bridge.bridge = "apollo0";
  bridge.change();
  await host.advance(500);
  bridge.change();
  await host.advance(500);
  expect(bridge.looseWires.map(({ device }) => device)).toEqual(["eth0"]);
  expect(host.state.ports.map(({ device }) => device)).toEqual(["veth1"]);
  host.abort.abort();
});

test("createFastPathPart() tells what was counted while it is on, and nothing else", async () => {
  const host = new Host();
  const counted = { sentPackets: 1, sentBytes: 70, receivedPackets: 2, receivedBytes: 90, refusedPackets: 0 };
  host.kernel.seen.set(PEER.underlay, counted);
  host.kernel.questions = { answered: 40, passed: 2 };
  host.start();
  host.state.setWays([PEER]);
  await host.advance(6000);
  expect(host.state.dnsCounts).toEqual({ answered: 40, passed: 2 });
  expect(host.state.linkBytes?.get(PEER.underlay)).toEqual(counted);
  host.abort.abort();

  const off = new Host();
  off.start({ enabled: false });
  off.state.setWays([PEER]);
  await off.advance(6000);
  expect([off.state.linkBytes, off.state.dnsCounts]).toEqual([null, null]);
  off.abort.abort();
});
