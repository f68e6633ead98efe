import { expect, test } from "bun:test";
import { DEFAULT_SETTINGS } from "../model/cluster.ts";
import type { Endpoint } from "../model/endpoint.ts";
import type { HostId } from "../model/ids.ts";
import { parseIpv4 } from "../model/ip.ts";
import type { NetworkConfig } from "../model/network-config.ts";
import { EMPTY_NETWORK_CONFIG, parseNetworkObject } from "../model/network-config.ts";
import { endpointAt } from "../network/outside.fixture.ts";
import type { HostTraffic, UdpFlow } from "../platform/ports/host-traffic.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import { AgentState } from "./agent-state.ts";
import { createOutsidePart } from "./outside-part.ts";
import { SILENT_LOG } from "../sim/silent-log.ts";

const VIP = parseIpv4("10.3.0.7");
const VIRTUAL: Partial<NetworkConfig> = { virtuals: [parseNetworkObject("virtual", { name: "web", address: VIP })] };

class FakeTraffic implements HostTraffic {
  readonly busyPorts = new Set<string>();
  flows: readonly UdpFlow[] = [];
  closed = new Set<string>();

  observe = () => Promise.resolve({ bridgeSeen: true, bridgeSeen6: true, busyPorts: this.busyPorts });
  listUdpFlows = () => Promise.resolve({ flows: this.flows, addresses: new Set([parseIpv4("192.0.2.1")]) });

  endUdpFlows(gone: UdpFlow): Promise<void> {
    this.flows = this.flows.filter((flow) => flow !== gone);
    return Promise.resolve();
  }

  portsWithoutReturn = ({ ports }: { readonly ports: readonly string[] }) =>
    Promise.resolve(ports.filter((port) => this.closed.has(port)));

  allowReturn(port: string): Promise<void> {
    this.closed.delete(port);
    return Promise.resolve();
  }
}

class World {
  readonly clock = new VirtualClock();
  readonly traffic = new FakeTraffic();
  readonly state = new AgentState();
  readonly #end = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(config: Partial<NetworkConfig> = {}, endpoints: readonly Endpoint[] = []) {
    this.state.restore({
      identity: {
        hostId: "1" as HostId,
        hostName: "h1",
        settings: DEFAULT_SETTINGS,
        blocks: ["10.2.1.0/24"],
        epoch: "e",
      },
      assignments: [],
      endpoints,
      hosts: [],
      peers: [],
      revision: 0,
      networkConfig: { ...EMPTY_NETWORK_CONFIG, ...config },
    });
  }

  async start(): Promise<void> {
    const { state, traffic, clock } = this;
    const part = createOutsidePart({ state, traffic, clock, log: SILENT_LOG });
    this.#running = part.run(this.#end.signal);
    await clock.advance(100);
  }

  async declare(
    revision: number,
    endpoints: readonly Endpoint[],
    config: Partial<NetworkConfig> = VIRTUAL,
  ): Promise<void> {
    this.state.receive({ type: "network-config", config: { ...EMPTY_NETWORK_CONFIG, ...config } });
    this.state.receive({ type: "catalog", reset: true, revision, upsert: endpoints, remove: [], hosts: null });
    await this.clock.advance(100);
  }

  /** As the network part does after a pass. */
  async serve(): Promise<void> {
    this.state.setServedRules(this.state.rules());
    await this.clock.advance(100);
  }

  chains(): readonly string[] {
    return Object.values(this.state.rules()[0]?.chains ?? {})
      .flat()
      .filter((rule) => rule.includes("dnat"));
  }

  async stop(): Promise<void> {
    this.#end.abort();
    await this.clock.advance(100);
    await this.#running;
  }
}

const one = endpointAt("web", "h2 10.2.2.5:8080/tcp");
const two = endpointAt("web", "h2 10.2.2.6:8080/tcp");

test("a catalog counts as served when the kernel has its rules, and only while something is declared", async () => {
  const world = new World();
  await world.start();
  await world.serve();
  await world.declare(5, [one, two], {});
  expect([world.state.appliedRevision(), world.state.rules()]).toEqual([5, []]);
  await world.declare(6, [one, two]);
  await world.serve();
  expect(world.state.appliedRevision()).toBe(6);
  await world.declare(7, [one]);
  expect([world.state.appliedRevision(), world.chains().length]).toEqual([6, 1]);
  expect(world.chains()[0]).toContain("dnat ip to 10.2.2.5:8080");
  await world.serve();
  expect(world.state.appliedRevision()).toBe(7);
  // What changes nothing here is served at once.
  await world.declare(8, [one, endpointAt("other", "h2 10.2.2.9:80/tcp")]);
  expect(world.state.appliedRevision()).toBe(8);
  await world.declare(9, [one], {});
  expect(world.state.appliedRevision()).toBe(8);
  await world.serve();
  await world.declare(10, []);
  await world.declare(10, [], {});
  expect(world.state.appliedRevision()).toBe(10);
  await world.stop();
});

test("a restarted agent has the table left alone until it knows its rules, its own endpoints as last known", async () => {
  const own = endpointAt("web", "h1 10.2.1.5:8080/tcp");
  const world = new World(VIRTUAL, [own]);
  const { state } = world;
  const rulesAtOnce: boolean[] = [];
  state.on("rules", () => rulesAtOnce.push(!state.rulesComplete()));
  createOutsidePart({ state, traffic: world.traffic, clock: world.clock, log: SILENT_LOG });
  expect([!state.rulesComplete(), state.appliedRevision()]).toEqual([true, 0]);
  await world.start();
  expect(!state.rulesComplete()).toBe(false);
  expect(world.chains()[0]).toContain("dnat ip to 10.2.1.5:8080");
  state.setLocalEndpoints([]);
  await world.clock.advance(100);
  expect(world.chains()).toEqual([]);
  await world.stop();
});

test("UDP flows to an endpoint that left are ended after the kernel has the new rules, not before", async () => {
  const dns = (address: string): Endpoint => endpointAt("web", `h2 ${address}:53/udp`);
  const world = new World();
  await world.start();
  await world.declare(1, [dns("10.2.2.5")]);
  await world.serve();
  const flow = (answer: string): UdpFlow => ({
    destination: VIP,
    port: 53,
    answerFrom: parseIpv4(answer),
    answerPort: 53,
  });
  world.traffic.flows = [flow("10.2.2.5"), flow("10.2.2.6")];
  await world.declare(2, [dns("10.2.2.6")]);
  expect(world.traffic.flows).toHaveLength(2);
  await world.serve();
  expect(world.traffic.flows).toEqual([flow("10.2.2.6")]);
  await world.stop();
});

test("a port that a program has shows as a condition for as long, and ports of own endpoints may send back", async () => {
  const world = new World();
  world.traffic.busyPorts.add("80/tcp");
  world.traffic.closed = new Set(["veth1", "veth2"]);
  world.state.setPorts("engine", [
    { network: "apollo", device: "veth1", index: 1, mac: "", addresses: [parseIpv4("10.2.1.5")], container: "c" },
    { network: "apollo", device: "veth2", index: 2, mac: "", addresses: [parseIpv4("10.2.1.6")], container: "d" },
  ]);
  await world.start();
  const publications = [parseNetworkObject("publication", { name: "web", service: "web", port: 80 })];
  world.state.setLocalEndpoints([endpointAt("web", "h1 10.2.1.5:8080/tcp")]);
  await world.declare(1, [], { ...VIRTUAL, publications });
  expect(world.state.conditions().map(({ code }) => code)).toEqual(["publication-port-taken"]);
  world.traffic.busyPorts.clear();
  await world.clock.advance(11_000);
  expect(world.state.conditions()).toEqual([]);
  expect(world.chains()).toHaveLength(2);
  await world.clock.advance(11_000);
  expect([...world.traffic.closed]).toEqual(["veth2"]);
  await world.stop();
});
