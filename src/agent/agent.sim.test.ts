import { expect, test } from "bun:test";
import type { InstanceStatus } from "../model/instance.ts";
import { parseIpv4 } from "../model/ip.ts";
import type { InstanceId } from "../model/ids.ts";
import { systemRandom } from "../platform/clock/system-random.ts";
import type { Assignment } from "../model/instance.ts";
import { assignmentOf, IDENTITY, recordingLog } from "../sim/agent-fixtures.ts";
import { FAKE_IMAGE, FakeEngine } from "../sim/fake-engine.ts";
import { FakeProber } from "../sim/fake-prober.ts";
import { FakeTransport } from "../sim/fake-agent-transport.ts";
import { MemoryFile } from "../sim/memory-file.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import { startAgent } from "./agent.ts";
import type { RunningAgent } from "./agent.ts";

const URL = "https://server:8443";
const PORT = { containerPort: 8080, hostPort: null, servicePort: 0, protocol: "tcp", name: null, labels: {} } as const;
const CHECK = {
  kind: "http",
  path: "/",
  portIndex: 0,
  port: null,
  ignoreHttp1xx: false,
  gracePeriodMs: 60_000,
  intervalMs: 5000,
  timeoutMs: 1000,
  maxConsecutiveFailures: 3,
} as const;

/** A host with its engine, disk and a server that wants `assignments`; agents come and go. */
class SimulatedHost {
  readonly clock = new VirtualClock();
  readonly engine: FakeEngine;
  readonly transport: FakeTransport;
  readonly prober: FakeProber;
  readonly file: MemoryFile;
  readonly statuses = new Map<InstanceId, InstanceStatus>();
  wanted: readonly Assignment[] = [];

  constructor() {
    this.engine = new FakeEngine({
      clock: this.clock,
      images: { "web:1": FAKE_IMAGE },
      latencyMs: { create: 20, start: 300 },
    });
    this.transport = new FakeTransport(this.clock);
    this.prober = new FakeProber(this.clock);
    this.file = new MemoryFile("/data/last-known.json", this.clock);
    this.transport.reachable.add(URL);
    this.transport.onMessage = (end, message) => {
      if (message.type === "hello") {
        end.send({ type: "welcome", wire: 1, ...IDENTITY });
        end.send({ type: "assignments", reset: true, upsert: this.wanted, remove: [] });
      }
      if (message.type !== "instances") return;
      if (message.reset) this.statuses.clear();
      for (const { id, status } of message.upsert) this.statuses.set(id, status);
      for (const id of message.remove) this.statuses.delete(id);
    };
    void this.engine.createNetwork({
      name: "apollo",
      subnet: "10.2.0.0/16",
      ipRange: "10.2.1.0/24",
      gateway: parseIpv4("10.2.1.1"),
      reserved: {},
      options: {},
    });
  }

  async startAgent(): Promise<RunningAgent> {
    const { clock, engine, transport, prober, file } = this;
    const starting = startAgent(
      { serverUrls: [URL], agentVersion: "1.0", address: parseIpv4("192.168.0.7"), labels: {} },
      {
        clock,
        engine,
        transport,
        prober,
        checkRunner: null,
        lastKnownFile: file,
        addressFile: new MemoryFile("/data/addresses.json", clock),
        networkFile: new MemoryFile("/data/network-addresses.json", clock),
        random: systemRandom,
        log: recordingLog(),
        resources: () =>
          Promise.resolve({
            cpus: 2,
            memoryMiB: 1e3,
            diskMiB: 1e3,
          }),
      },
      () => ({
        network: {
          name: "network",
          run: () => Promise.resolve(),
          gateway: () => parseIpv4("10.2.1.1"),
          engineNetwork: () => ({
            name: "apollo",
            fixedAddresses: true,
          }),
        },
        others: [],
      }),
    );
    await clock.advance(10);
    return starting;
  }

  async stopAgent(agent: RunningAgent): Promise<void> {
    const stopping = agent.stop();
    await this.clock.advance(5000);
    await stopping;
    expect(this.clock.pending).toBe(0);
  }

  health(uuid: string): string {
    const status = this.statuses.get(assignmentOf(uuid).instance.id);
    return status?.phase === "running" ? status.health : (status?.phase ?? "none");
  }
}

test("an assigned instance is healthy in the server's eyes soon after its port opens", async () => {
  const host = new SimulatedHost();
  host.wanted = [assignmentOf("a", { spec: { ports: [PORT], healthChecks: [CHECK] } })];
  const agent = await host.startAgent();
  await host.clock.advanceUntil("a start", () => host.health("a") === "unknown");
  host.prober.answers.set("10.2.1.2:8080", 200);
  const tookMs = await host.clock.advanceUntil("health", () => host.health("a") === "healthy");
  expect(tookMs).toBeLessThan(200);
  await host.stopAgent(agent);
});

test("agent and server go and come back: nothing is restarted, and health is never unknown again", async () => {
  const host = new SimulatedHost();
  host.wanted = [assignmentOf("a", { spec: { ports: [PORT], healthChecks: [CHECK] } })];
  host.prober.answers.set("10.2.1.2:8080", 200);
  const first = await host.startAgent();
  await host.clock.advanceUntil("health", () => host.health("a") === "healthy");
  await host.clock.advance(1000);
  await host.stopAgent(first);
  host.transport.reachable.clear();
  const second = await host.startAgent();
  await host.clock.advance(30_000);
  expect(second.state.connected).toBe(false);
  expect(second.state.reports.get(assignmentOf("a").instance.id)).toMatchObject({
    phase: "running",
    health: "healthy",
  });
  host.statuses.clear();
  const seen = new Set<string>();
  const report = host.transport.onMessage;
  host.transport.onMessage = (end, message) => {
    report(end, message);
    if (message.type === "instances") seen.add(host.health("a"));
  };
  host.transport.reachable.add(URL);
  await host.clock.advanceUntil("a report", () => seen.size > 0, 10_000);
  await host.clock.advance(10_000);
  expect([...seen]).toEqual(["healthy"]);
  expect(host.engine.starts).toEqual(["web.instance-a"]);
  await host.stopAgent(second);
});

test("with the server gone, a host that reboots has its instances back at their addresses", async () => {
  const host = new SimulatedHost();
  host.wanted = [assignmentOf("a"), assignmentOf("b")];
  const first = await host.startAgent();
  await host.clock.advanceUntil(
    "both",
    () => host.health("a") === "none" && host.statuses.size === 2 && host.health("b") === "none",
  );
  const before = String(host.engine);
  await host.clock.advance(1000);
  host.transport.reachable.clear();
  host.transport.connections.at(-1)?.close("the server is gone");
  host.engine.shutDown();
  await host.stopAgent(first);
  host.engine.comeUp();
  const second = await host.startAgent();
  await host.clock.advance(60_000);
  expect(String(host.engine)).toBe(before);
  expect(second.state.reports.size).toBe(2);
  await host.stopAgent(second);
});
