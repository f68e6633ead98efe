import { expect, test } from "bun:test";
import type { Endpoint } from "../model/endpoint.ts";
import type { Holder } from "../model/holder.ts";
import type { HostId, InstanceId } from "../model/ids.ts";
import { parseIpv4 } from "../model/ip.ts";
import type { LinkReport } from "../model/link.ts";
import type { AgentMessage, ServerMessage } from "../model/wire.ts";
import { systemRandom } from "../platform/clock/system-random.ts";
import { assignmentOf, IDENTITY, recordingLog } from "../sim/agent-fixtures.ts";
import { FAKE_IMAGE, FakeEngine } from "../sim/fake-engine.ts";
import { FakeTransport } from "../sim/fake-agent-transport.ts";
import type { FakeServerEnd } from "../sim/fake-agent-transport.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import { AgentState } from "./agent-state.ts";
import { createLinkPart } from "./link-part.ts";
import { endpointOf } from "../model/endpoint.fixture.ts";
import { containerSpec } from "../sim/plain-container.ts";
import { holder } from "../network/policy/policy.fixture.ts";
import type { ContainerSpec } from "../platform/ports/engine.ts";

const A = "https://a:8443";
const B = "https://b:8443";
const WELCOME: ServerMessage = { type: "welcome", wire: 1, ...IDENTITY };
const NOTHING: ServerMessage = { type: "assignments", reset: true, upsert: [], remove: [] };

interface World {
  readonly clock: VirtualClock;
  readonly state: AgentState;
  readonly transport: FakeTransport;
  readonly engine: FakeEngine;
  readonly logged: readonly string[];
  setCpus: (cpus: number) => void;
  setAddress: (address: string) => void;
  readonly stop: () => Promise<void>;
}

function openWorld(serverUrls: readonly string[] = [A]): World {
  const clock = new VirtualClock();
  const state = new AgentState();
  const transport = new FakeTransport(clock);
  const engine = new FakeEngine({ clock, images: { web: FAKE_IMAGE } });
  const log = recordingLog();
  let cpus = 2;
  let address = parseIpv4("192.168.0.7");
  transport.reachable.add(A);
  transport.onMessage = (end, message) => {
    if (message.type !== "hello") return;
    end.send(WELCOME);
    end.send(NOTHING);
  };
  const abort = new AbortController();
  const part = createLinkPart({
    state,
    engine,
    transport,
    clock,
    log,
    serverUrls,
    labels: { disk: "ssd" },
    agentVersion: "1.0",
    address,
    findAddress: () => Promise.resolve(address),
    random: { ...systemRandom, next: () => 0.5 },
    resources: () => Promise.resolve({ cpus, memoryMiB: 100, diskMiB: 10 }),
  });
  const running = part.run(abort.signal);
  return {
    clock,
    state,
    transport,
    engine,
    logged: log.lines,
    setCpus: (value) => {
      cpus = value;
    },
    setAddress: (text) => {
      address = parseIpv4(text);
    },
    stop: async () => {
      abort.abort();
      await clock.advance(100);
      await running;
      expect(clock.pending).toBe(0);
    },
  };
}

function last(transport: FakeTransport): FakeServerEnd {
  const end = transport.connections.at(-1);
  if (end === undefined) throw new Error("no connection");
  return end;
}

function messages<Type extends AgentMessage["type"]>(
  end: FakeServerEnd,
  type: Type,
): readonly (AgentMessage & { type: Type })[] {
  return end.received.filter((message): message is AgentMessage & { type: Type } => message.type === type);
}

/** A container that says something and goes on. */
function talker(name: string): ContainerSpec {
  return containerSpec({ name, image: "web", argv: ["sh", "-c", "echo hi; sleep 9"], cpus: 0, memoryBytes: 0 });
}

function endpoint(id: string): Endpoint {
  return endpointOf({ id, service: "web", address: "10.2.1.5", port: 80, host: "alpha", container: "c" });
}

test("says hello, takes the welcome, counts as connected with the first whole list of assignments", async () => {
  const { clock, state, transport, stop } = openWorld();
  transport.onMessage = () => undefined;
  await clock.advance(5);
  expect(messages(last(transport), "hello")[0]).toMatchObject({
    wireMin: 1,
    address: "192.168.0.7",
    labels: { disk: "ssd" },
  });
  last(transport).send(WELCOME);
  await clock.advance(5);
  expect(state.identity?.hostName).toBe("alpha");
  expect(state.connected).toBe(false);
  last(transport).send(NOTHING);
  await clock.advance(5);
  expect(state.connected).toBe(true);
  await stop();
  expect(state.connected).toBe(false);
});

test("sends the whole once it is known, then only what changed, a burst in one frame", async () => {
  const { clock, state, transport, stop } = openWorld();
  const [a, b] = ["a", "b"].map((uuid) => assignmentOf(uuid).instance.id) as [InstanceId, InstanceId];
  await clock.advance(50);
  expect(messages(last(transport), "instances")).toEqual([]);
  expect(messages(last(transport), "endpoints")).toEqual([]);
  state.setReport(a, { phase: "gone" });
  state.setReportsKnown();
  state.setLocalEndpoints([endpoint("x"), endpoint("y")]);
  await clock.advance(10);
  expect(messages(last(transport), "instances")).toEqual([
    { type: "instances", reset: true, upsert: [{ id: a, status: { phase: "gone" } }], remove: [] },
  ]);
  expect(messages(last(transport), "endpoints")[0]).toMatchObject({ reset: true, upsert: [{ id: "x" }, { id: "y" }] });
  state.setReport(b, { phase: "stopping", sinceMs: 1 });
  state.setReport(b, { phase: "gone" });
  state.setReport(a, null);
  state.setLocalEndpoints([endpoint("x"), endpoint("z")]);
  await clock.advance(10);
  expect(messages(last(transport), "instances").slice(1)).toEqual([
    { type: "instances", reset: false, upsert: [{ id: b, status: { phase: "gone" } }], remove: [a] },
  ]);
  const [, delta, ...rest] = messages(last(transport), "endpoints");
  expect(delta).toMatchObject({ reset: false, upsert: [{ id: "z" }], remove: ["y"] });
  expect(rest).toEqual([]);
  last(transport).close("gone");
  await clock.advanceUntil("a new connection", () => transport.connections.length === 2);
  await clock.advance(20);
  expect(messages(last(transport), "instances")).toEqual([
    { type: "instances", reset: true, upsert: [{ id: b, status: { phase: "gone" } }], remove: [] },
  ]);
  await stop();
});

test("a heartbeat each second, and at once when DNS and HAProxy serve a newer catalog", async () => {
  const { clock, state, transport, stop } = openWorld();
  await clock.advance(5500);
  const beats = messages(last(transport), "heartbeat").length;
  expect(beats).toBeGreaterThanOrEqual(5);
  expect(beats).toBeLessThanOrEqual(7);
  state.setApplied("dns", 0);
  state.setApplied("ingress", 0);
  last(transport).send({ type: "catalog", reset: true, revision: 9, upsert: [], remove: [], hosts: [] });
  await clock.advance(5);
  state.setApplied("dns", 9);
  await clock.advance(5);
  expect(messages(last(transport), "heartbeat").at(-1)?.appliedRevision).toBe(0);
  state.setApplied("ingress", 9);
  await clock.advance(5);
  expect(messages(last(transport), "heartbeat").at(-1)).toMatchObject({ appliedRevision: 9, epoch: "e1" });
  await stop();
});

test("a new server's revisions do not count as applied because an older server's were higher", async () => {
  const { clock, state, transport, stop } = openWorld();
  await clock.advance(20);
  last(transport).send({ type: "catalog", reset: true, revision: 500, upsert: [], remove: [], hosts: [] });
  await clock.advance(5);
  state.setApplied("dns", 500);
  transport.onMessage = (end, message) => {
    if (message.type !== "hello") return;
    end.send({ ...WELCOME, epoch: "e2" });
    end.send(NOTHING);
    end.send({ type: "catalog", reset: true, revision: 7, upsert: [], remove: [], hosts: [] });
  };
  last(transport).close("restart");
  await clock.advanceUntil("a new connection", () => state.identity?.epoch === "e2");
  await clock.advance(1500);
  expect(messages(last(transport), "heartbeat").every(({ appliedRevision }) => appliedRevision === 0)).toBe(true);
  state.setApplied("dns", 7);
  await clock.advance(5);
  expect(messages(last(transport), "heartbeat").at(-1)?.appliedRevision).toBe(7);
  await stop();
});

test("tries the servers in turn with growing waits, and logs a repeated reason once", async () => {
  const { clock, state, transport, logged, stop } = openWorld([B, A]);
  await clock.advanceUntil("connection", () => state.connected);
  expect(transport.attempts.map(({ url }) => url)).toEqual([B, A]);
  transport.reachable.clear();
  last(transport).close("gone");
  await clock.advance(60_000);
  const times = transport.attempts.slice(2).map(({ atMs }) => atMs);
  const waits = times.slice(1).map((atMs, index) => atMs - (times[index] ?? 0));
  expect(waits[0]).toBeLessThan(200);
  // Another server may lead at any moment: both are tried every second.
  expect(Math.max(...waits)).toBeLessThanOrEqual(500);
  expect(waits.at(-1)).toBeGreaterThan(200);
  expect(logged.length).toBeLessThan(10);
  transport.reachable.add(A);
  await clock.advanceUntil("connection", () => state.connected, 12_000);
  await stop();
});

test("a server that is silent after the hello, or speaks nonsense, is left", async () => {
  const { clock, state, transport, stop } = openWorld();
  transport.onMessage = () => undefined;
  await clock.advance(11_000);
  expect(transport.connections[0]?.open).toBe(false);
  transport.onMessage = (end, message) => {
    if (message.type === "hello") end.send("not a message" as unknown as ServerMessage);
  };
  await clock.advance(3000);
  expect(transport.connections.slice(0, -1).every(({ open }) => !open)).toBe(true);
  expect(state.connected).toBe(false);
  await stop();
});

test("an engine that was away at the hello is told of when it is back", async () => {
  const { clock, transport, setCpus, stop } = openWorld();
  await clock.advance(20);
  setCpus(0);
  last(transport).close("again");
  await clock.advanceUntil("hello without cpus", () => messages(last(transport), "hello")[0]?.resources.cpus === 0);
  await clock.advance(20_000);
  expect(transport.connections).toHaveLength(2);
  setCpus(4);
  await clock.advanceUntil("hello with cpus", () => messages(last(transport), "hello")[0]?.resources.cpus === 4, 7000);
  await stop();
});

test("logs and exec come as channels; input may come before the program runs", async () => {
  const { clock, state, transport, engine, stop } = openWorld();
  const { instance } = assignmentOf("a");
  let containerId = "";
  void engine.createContainer(talker(instance.id)).then((id) => engine.startContainer((containerId = id)));
  await clock.advance(50);
  state.setReport(instance.id, {
    phase: "running",
    containerId,
    address: parseIpv4("10.2.1.5"),
    startedAtMs: 0,
    health: "none",
    checks: [],
    condemned: false,
  });
  const end = last(transport);
  end.send({
    type: "open",
    channel: 1,
    request: { kind: "logs", instanceId: instance.id, follow: false, tail: null, sinceMs: null },
  });
  end.send({
    type: "open",
    channel: 2,
    request: { kind: "exec", instanceId: instance.id, argv: ["cat"], tty: false, stdin: true },
  });
  end.send({ type: "data", channel: 2, bytes: Buffer.from("typed").toString("base64") });
  end.send({ type: "data", channel: 2, bytes: "" });
  const unknown = assignmentOf("zz").instance.id;
  end.send({
    type: "open",
    channel: 3,
    request: { kind: "logs", instanceId: unknown, follow: true, tail: 5, sinceMs: null },
  });
  await clock.advance(100);
  const said = (channel: number): string =>
    messages(end, "data")
      .filter((message) => message.channel === channel)
      .map(({ bytes }) => Buffer.from(bytes, "base64").toString())
      .join("");
  expect(said(1)).toBe("hi\n");
  expect(said(2)).toBe("typed");
  const closes = messages(end, "close").toSorted((x, y) => x.channel - y.channel);
  expect(closes.map(({ channel, exitCode }) => [channel, exitCode])).toEqual([
    [1, null],
    [2, 0],
    [3, null],
  ]);
  expect(closes[2]?.error).toContain("does not run on this host");
  await stop();
});

test("output waits while the connection is full", async () => {
  const { clock, state, transport, engine, stop } = openWorld();
  const { instance } = assignmentOf("a");
  void engine.createContainer(talker(instance.id)).then((id) => engine.startContainer(id));
  await clock.advance(50);
  expect(state.connected).toBe(true);
  transport.bufferedBytes = 1024 * 1024;
  last(transport).send({
    type: "open",
    channel: 1,
    request: { kind: "logs", instanceId: instance.id, follow: false, tail: null, sinceMs: null },
  });
  await clock.advance(500);
  expect(messages(last(transport), "data")).toEqual([]);
  transport.bufferedBytes = 0;
  await clock.advance(50);
  expect(messages(last(transport), "data")).toHaveLength(1);
  await stop();
});

test("tells its keys with the hello, and again only when they changed", async () => {
  const { clock, state, transport, stop } = openWorld();
  state.setKeys({ publicKey: "K1", nextPublicKey: "K2" });
  await clock.advance(50);
  expect(messages(last(transport), "hello")[0]).toMatchObject({ publicKey: "K1", nextPublicKey: "K2" });
  expect(messages(last(transport), "keys")).toEqual([]);
  state.setKeys({ publicKey: "K2", nextPublicKey: "K3" });
  await clock.advance(5);
  expect(messages(last(transport), "keys")).toEqual([{ type: "keys", publicKey: "K2", nextPublicKey: "K3" }]);
  await stop();
});

test("a host whose address changed says so over a new connection, within seconds", async () => {
  const { clock, transport, setAddress, stop } = openWorld();
  await clock.advance(20_000);
  expect(transport.connections.length).toBe(1);
  setAddress("192.168.0.8");
  await clock.advance(6000);
  expect(transport.connections.map((end) => messages(end, "hello")[0]?.address)).toEqual([
    "192.168.0.7",
    "192.168.0.8",
  ]);
  await clock.advance(20_000);
  expect(transport.connections.length).toBe(2);
  await stop();
});

test("links are told whole when they changed for somebody, at most every five seconds", async () => {
  const { clock, state, transport, stop } = openWorld();
  const link = { peerId: "h2" as HostId, peer: "beta", mode: "direct", via: null, why: "near", up: true } as const;
  const figures = { rttMs: 1, lossPercent: 0, mtu: 1500, txBytes: null, rxBytes: null } as const;
  const report: LinkReport = { ...link, ...figures, encryption: "none", sinceMs: 1 };
  await clock.advance(10_000);
  expect(messages(last(transport), "links")).toEqual([]);
  state.setLinks([report]);
  await clock.advance(1500);
  state.setLinks([{ ...report, rttMs: 1.1 }]);
  await clock.advance(10_000);
  expect(messages(last(transport), "links")).toEqual([{ type: "links", links: [report] }]);
  for (const mtu of [1400, 1300, 1200]) {
    state.setLinks([{ ...report, mtu }]);
    await clock.advance(2000);
  }
  await clock.advance(6000);
  expect(messages(last(transport), "links").map(({ links }) => links[0]?.mtu)).toEqual([1500, 1400, 1200]);
  await stop();
});

test("a server of wire 2 is told of links that changed, and of all of them by a new connection", async () => {
  const { clock, state, transport, stop } = openWorld();
  transport.onMessage = (end, message) => {
    if (message.type === "hello") end.send({ ...WELCOME, wire: 2 } as ServerMessage);
  };
  const figures = { rttMs: 1, lossPercent: 0, mtu: 1500, txBytes: null, rxBytes: null, encryption: "none" } as const;
  const link = (peer: string, mtu: number): LinkReport => {
    const fixed = { mode: "direct", via: null, why: "near", up: true, sinceMs: 1 } as const;
    return { ...figures, ...fixed, peerId: `id-${peer}` as HostId, peer, mtu };
  };
  await clock.advance(10_000);
  state.setLinks([link("beta", 1500), link("gamma", 1500)]);
  await clock.advance(10_000);
  state.setLinks([link("beta", 1500), link("gamma", 1400), link("iota", 1500)]);
  await clock.advance(10_000);
  state.setLinks([link("beta", 1500), link("iota", 1500)]);
  await clock.advance(10_000);
  expect(messages(last(transport), "links").map(({ links }) => links.length)).toEqual([2]);
  expect(messages(last(transport), "link-changes")).toEqual([
    { type: "link-changes", upsert: [link("gamma", 1400), link("iota", 1500)], remove: [] },
    { type: "link-changes", upsert: [], remove: ["id-gamma" as HostId] },
  ]);
  await stop();
});

test("a probe key is kept when an older server has none to give", async () => {
  const { clock, state, transport, stop } = openWorld();
  transport.onMessage = (end, message) => {
    if (message.type === "hello") end.send({ ...WELCOME, probeKey: "abc" } as ServerMessage);
  };
  await clock.advance(100);
  expect(state.identity?.probeKey).toBe("abc");
  state.receive(WELCOME);
  expect(state.identity?.probeKey).toBe("abc");
  const other = new AgentState();
  other.restore(state.snapshot());
  expect(other.identity?.probeKey).toBe("abc");
  await stop();
});

test("who holds an address goes up once it is known and after each change, and what others say of theirs comes down", async () => {
  const { clock, state, transport, stop } = openWorld();
  await clock.advance(10);
  const of = (host: string): Holder => holder({ host, address: parseIpv4("10.2.1.9"), container: "box" });
  const told = (): readonly AgentMessage[] => last(transport).received.filter(({ type }) => type === "holders");
  expect(told()).toEqual([]);
  state.setLocalEndpoints([]);
  state.setLocalHolders("registration", [of(IDENTITY.hostName)]);
  await clock.advance(10);
  state.setLocalHolders("registration", []);
  await clock.advance(10);
  const id = `${IDENTITY.hostName}:box:apollo`;
  expect(told()).toEqual([
    { type: "holders", reset: true, upsert: [of(IDENTITY.hostName)], remove: [] },
    { type: "holders", reset: false, upsert: [], remove: [id] },
  ]);
  const peer = { id: "other" as HostId, name: "other", address: parseIpv4("192.0.2.9"), blocks: [] };
  last(transport).send({ type: "peers", peers: [peer] });
  last(transport).send({ type: "holders", host: "other", reset: true, upsert: [of("other")], remove: [] });
  await clock.advance(10);
  expect(state.holders()).toEqual([of("other")]);
  // A host that is no member any more holds nothing.
  last(transport).send({ type: "peers", peers: [] });
  await clock.advance(10);
  expect(state.holders()).toEqual([]);
  await stop();
});
