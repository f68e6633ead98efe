import { expect, test } from "bun:test";
import { DEFAULT_SETTINGS } from "../model/cluster.ts";
import { AppError } from "../model/error.ts";
import type { Peer } from "../model/host.ts";
import type { HostId } from "../model/ids.ts";
import type { Ipv4 } from "../model/ip.ts";
import { parseIpv4 } from "../model/ip.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { EngineEvent, EngineNetwork, EngineNetworkSpec } from "../platform/ports/engine.ts";
import { FakeHostNetwork } from "../sim/fake-host-network.ts";
import { AgentState } from "./agent-state.ts";
import type { NetworkPart } from "./network-part.ts";
import { createNetworkPart } from "./network-part.ts";
import type { NetworkEngine } from "./network-subject.ts";

/** Time that moves only by `advance`. */
class ManualClock implements Clock {
  #now = 0;
  #naps: { readonly at: number; readonly wake: () => void }[] = [];

  nowMs = (): number => this.#now;
  monotonicMs = (): number => this.#now;

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#naps.push({ at: this.#now + ms, wake: resolve });
    signal?.addEventListener("abort", () => resolve(), { once: true });
    await promise;
  }

  /** Lets everything run that needs no more time than `ms`. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    await drain();
    for (;;) {
      const next = this.#naps.filter(({ at }) => at <= end).toSorted((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.#naps = this.#naps.filter((nap) => nap !== next);
      this.#now = next.at;
      next.wake();
      await drain();
    }
    this.#now = end;
  }
}

/** Everything that waits for nothing but earlier turns has run after this; fakes answer within a few. */
async function drain(): Promise<void> {
  for (let turn = 0; turn < 200; turn++) await Promise.resolve();
}

class FakeEngine implements NetworkEngine {
  readonly networks = new Map<string, EngineNetwork>();
  up = true;
  /** Why it makes no network; null when it does. */
  refusal: string | null = null;
  #onEvent: (event: EngineEvent) => void = () => {};

  async info(): ReturnType<NetworkEngine["info"]> {
    this.#reach();
    return { version: "20.10.24", apiVersion: "1.41", cpus: 2, memoryBytes: 0 };
  }

  async listNetworks(): Promise<readonly EngineNetwork[]> {
    this.#reach();
    return [...this.networks.values()];
  }

  async createNetwork(spec: EngineNetworkSpec): Promise<string> {
    this.#reach();
    if (this.refusal !== null) throw new AppError("unavailable", this.refusal);
    if (this.networks.has(spec.name)) throw new AppError("conflict", `Cannot create network "${spec.name}": it exists`);
    this.networks.set(spec.name, { id: spec.name, driver: "bridge", containers: {}, ...spec });
    return spec.name;
  }

  async removeNetwork(name: string): Promise<void> {
    this.#reach();
    this.networks.delete(name);
  }

  async watch(onEvent: (event: EngineEvent) => void, signal: AbortSignal): Promise<void> {
    this.#onEvent = onEvent;
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
  }

  emit(event: EngineEvent): void {
    this.#onEvent(event);
  }

  #reach(): void {
    if (!this.up) throw new AppError("unavailable", "Cannot reach the container engine");
  }
}

const ip = parseIpv4;
const OWN = "own" as HostId;

function peer(number: number, address: string): Peer {
  return { id: `h${number}` as HostId, name: `h${number}`, address: ip(address), blocks: [`10.2.${number}.0/24`] };
}

interface Fixture {
  readonly state: AgentState;
  readonly engine: FakeEngine;
  readonly network: FakeHostNetwork;
  readonly clock: ManualClock;
  readonly part: NetworkPart;
  readonly logs: string[];
  readonly join: (blocks: readonly string[]) => void;
  readonly stop: () => Promise<void>;
}

function start(): Fixture {
  const state = new AgentState();
  const engine = new FakeEngine();
  const clock = new ManualClock();
  const uplink = { name: "eth0", address: ip("192.0.2.1"), prefix: 24, router: ip("192.0.2.254") };
  const network = new FakeHostNetwork({ uplinks: [uplink] });
  const logs: string[] = [];
  const write = (level: string) => (text: string) => void logs.push(`${level} ${text}`);
  const log = { debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") };
  const part = createNetworkPart({ state, engine, network, clock, log });
  const stop = new AbortController();
  const running = part.run(stop.signal);
  return {
    state,
    engine,
    network,
    clock,
    part,
    logs,
    join: (blocks) =>
      state.receive({
        type: "welcome",
        wire: 1,
        hostId: OWN,
        hostName: "h1",
        settings: { ...DEFAULT_SETTINGS, encryption: "off" },
        blocks,
        epoch: "e",
      }),
    stop: async () => {
      stop.abort();
      await running;
    },
  };
}

function codes(state: AgentState): readonly string[] {
  return state.conditions().map(({ code }) => code);
}

test("createNetworkPart() waits for a block, then readies kernel and engine without any delay", async () => {
  const { clock, part, engine, join, state, stop, logs } = start();
  await clock.advance(60_000);
  expect([part.gateway(), part.engineNetwork()]).toEqual([null, null]);
  join(["10.2.1.0/24"]);
  await clock.advance(0);
  expect(part.gateway()).toBe(ip("10.2.1.1"));
  expect(part.engineNetwork()).toMatchObject({ name: "apollo", fixedAddresses: true });
  expect([...engine.networks.keys()]).toEqual(["apollo"]);
  expect(codes(state)).toEqual([]);
  expect(logs).toEqual(["info network changed"]);
  await stop();
});

test("createNetworkPart() makes no engine network before the host's resolver is led to its gateway", async () => {
  const { clock, part, engine, network, join, state, stop } = start();
  state.setResolverAt(null);
  join(["10.2.1.0/24"]);
  await clock.advance(60_000);
  expect([part.gateway(), part.engineNetwork(), [...engine.networks.keys()]]).toEqual([ip("10.2.1.1"), null, []]);
  expect(String(network)).toContain("apollo0");
  expect(codes(state)).toEqual([]);
  state.setResolverAt(ip("10.2.1.1"));
  await clock.advance(0);
  expect(part.engineNetwork()).toMatchObject({ name: "apollo" });
  // As after a restart of the agent: what is there is used at once.
  state.setResolverAt(null);
  engine.emit({ kind: "lost" });
  await clock.advance(60_000);
  expect([part.engineNetwork()?.name, [...engine.networks.keys()]]).toEqual(["apollo", ["apollo"]]);
  await stop();
});

test("createNetworkPart() makes a condition of what is refused pass after pass, and logs it once", async () => {
  const { clock, engine, part, join, state, stop, logs } = start();
  engine.refusal = "Cannot create the network: pools are used up";
  join(["10.2.1.0/24"]);
  await clock.advance(500);
  expect(codes(state)).toEqual([]);
  await clock.advance(5000);
  expect(state.conditions()).toMatchObject([{ code: "network-not-applied", severity: "error", text: engine.refusal }]);
  expect(logs.filter((line) => line.startsWith("warn"))).toEqual([`warn ${engine.refusal}`]);
  engine.refusal = null;
  await clock.advance(2000);
  expect(part.engineNetwork()).toMatchObject({ name: "apollo" });
  expect(codes(state)).toEqual([]);
  await stop();
});

test("createNetworkPart() follows peers and explains each link", async () => {
  const { clock, part, network, join, state, stop } = start();
  join(["10.2.1.0/24"]);
  const peers = [peer(2, "192.0.2.2"), peer(3, "198.51.100.3"), { ...peer(1, "192.0.2.1"), id: OWN }];
  state.receive({ type: "peers", peers });
  await clock.advance(0);
  expect(part.linkTable()).toEqual([
    {
      peer: "h2",
      peerId: peers[0]?.id ?? OWN,
      mode: "direct",
      why: "192.0.2.2 is on the same network, at eth0",
      mtu: 1500,
      via: null,
      encryption: "none",
      modes: ["direct", "vxlan"],
      deviceMtu: 1500,
    },
    {
      peer: "h3",
      peerId: peers[1]?.id ?? OWN,
      mode: "vxlan",
      why: "198.51.100.3 is behind the router 192.0.2.254",
      mtu: 1450,
      via: null,
      encryption: "none",
      modes: ["vxlan"],
      deviceMtu: 1500,
    },
  ]);
  expect(String(network)).toContain("route 10.2.3.0/24 via 10.2.3.1 dev apollo-vx0 src 10.2.1.1 mtu 1450 onlink ours");
  state.receive({ type: "peers", peers: [peer(2, "10.2.9.9")] });
  await clock.advance(0);
  expect(String(network)).not.toContain("ours");
  expect(codes(state)).toEqual(["peer-unreachable"]);
  await stop();
});

test("createNetworkPart() says nothing of a peer that came while it looked", async () => {
  const { clock, network, join, state, stop } = start();
  join(["10.2.1.0/24"]);
  const seen: string[] = [];
  state.on("conditions", () => seen.push(...codes(state)));
  const observe = network.observe.bind(network);
  network.observe = async (want) => {
    const observed = await observe(want);
    if (state.peers.size === 0) state.receive({ type: "peers", peers: [peer(2, "192.0.2.2")] });
    return observed;
  };
  await clock.advance(1000);
  expect(seen).toEqual([]);
  expect(String(network)).toContain("route 10.2.2.0/24 via 192.0.2.2 dev eth0");
  await stop();
});

test("createNetworkPart() heals what it is told of within a second", async () => {
  const { clock, network, join, state, stop } = start();
  join(["10.2.1.0/24"]);
  state.receive({ type: "peers", peers: [peer(2, "192.0.2.2"), peer(3, "198.51.100.3")] });
  await clock.advance(1000);
  const good = String(network);
  network.disturb({ kind: "delete-link", name: "apollo0" });
  network.disturb({ kind: "flush-ruleset" });
  expect(String(network)).not.toBe(good);
  await clock.advance(1000);
  expect(String(network)).toBe(good);
  await stop();
});

test("createNetworkPart() keeps the kernel going while the engine is down and finishes when it is back", async () => {
  const { clock, part, engine, network, join, state, stop, logs } = start();
  engine.up = false;
  network.disturb({ kind: "set-engine", up: false });
  join(["10.2.1.0/24"]);
  await clock.advance(5000);
  expect(part.gateway()).toBe(ip("10.2.1.1"));
  expect(part.engineNetwork()).toBeNull();
  expect(codes(state)).toEqual(["engine-down"]);
  expect(logs).toEqual(["warn Cannot reach the container engine"]);
  engine.up = true;
  network.disturb({ kind: "set-engine", up: true });
  engine.emit({ kind: "lost" });
  await clock.advance(1000);
  expect(part.engineNetwork()).toMatchObject({ name: "apollo", fixedAddresses: true });
  expect(codes(state)).toEqual([]);
  expect(String(network)).toContain("allowed 10.2.0.0/16");
  await stop();
});

test("createNetworkPart() makes an unused engine network of another block anew, and leaves a used one", async () => {
  const { clock, part, engine, join, state, stop } = start();
  join(["10.2.1.0/24"]);
  await clock.advance(0);
  join(["10.2.7.0/24"]);
  await clock.advance(0);
  expect(engine.networks.get("apollo")?.ipRange).toBe("10.2.7.0/25");
  expect(part.gateway()).toBe(ip("10.2.7.1"));
  const used = engine.networks.get("apollo");
  if (used === undefined) throw new Error("the network is gone");
  engine.networks.set("apollo", { ...used, containers: { c1: ip("10.2.7.9") } });
  join(["10.2.8.0/24"]);
  await clock.advance(0);
  expect(engine.networks.get("apollo")?.ipRange).toBe("10.2.7.0/25");
  expect(part.engineNetwork()).toBeNull();
  expect(codes(state)).toEqual(["engine-network-wrong"]);
  await stop();
});

test("createNetworkPart() refuses a range that the host uses, but does not take down what runs", async () => {
  const { clock, part, network, join, state, stop } = start();
  const vpn = { destination: "10.0.0.0/8", via: null, device: "eth0", source: null as Ipv4 | null, mtu: null };
  network.disturb({ kind: "put-unmarked-route", route: { ...vpn, onlink: false } });
  join(["10.2.1.0/24"]);
  await clock.advance(1000);
  expect(part.gateway()).toBeNull();
  expect(state.conditions()).toMatchObject([
    { code: "range-clash", hint: expect.stringContaining("a free range such as 172.16.0.0/16") },
  ]);
  expect(String(network)).not.toContain("apollo0");
  await stop();

  const running = start();
  running.join(["10.2.1.0/24"]);
  await running.clock.advance(1000);
  running.network.disturb({ kind: "put-unmarked-route", route: { ...vpn, onlink: false } });
  await running.clock.advance(1000);
  expect(running.part.gateway()).toBe(ip("10.2.1.1"));
  expect(codes(running.state)).toEqual(["range-clash"]);
  await running.stop();
});

test("while no server can tell, the host looks by itself whether another one has changed its key", async () => {
  const key = (name: string): string => `${name.padEnd(43, "0")}=`;
  const { state, network, clock, stop } = start();
  state.setKeys({ publicKey: key("own"), nextPublicKey: key("own2") });
  state.receive({
    type: "welcome",
    wire: 1,
    hostId: OWN,
    hostName: "h1",
    settings: { ...DEFAULT_SETTINGS, encryption: "required" },
    blocks: ["10.2.1.0/24"],
    epoch: "e",
  });
  state.receive({
    type: "peers",
    peers: [{ ...peer(2, "192.0.2.2"), publicKey: key("now"), nextPublicKey: key("next") }],
  });
  await clock.advance(1000);
  expect(String(network)).toContain(`peer ${key("now")} at 192.0.2.2:6785 allows 10.2.2.0/24`);
  network.disturb({ kind: "handshake", publicKey: key("next"), ageMs: 0 });
  await clock.advance(5000);
  expect(String(network)).toContain(`peer ${key("next")} at 192.0.2.2:6785 allows 10.2.2.0/24`);
  await stop();
});
