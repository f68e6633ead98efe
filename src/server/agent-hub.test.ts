import { expect, test } from "bun:test";
import { DEFAULT_SETTINGS } from "../model/cluster.ts";
import type { Endpoint } from "../model/endpoint.ts";
import type { Host } from "../model/host.ts";
import type { HostId, InstanceId, ServiceName, Version } from "../model/ids.ts";
import type { Instance } from "../model/instance.ts";
import { parseIpv4 } from "../model/ip.ts";
import { checkRangeClash, chooseBlock } from "../network/blocks.ts";
import { nodeDigest } from "../platform/digest/node-digest.ts";
import type { LinkReport } from "../model/link.ts";
import type { AgentMessage, ServerMessage } from "../model/wire.ts";
import { AgentState } from "../agent/agent-state.ts";
import { appSpec, recordingLog } from "../sim/agent-fixtures.ts";
import { FakeStore } from "../sim/fake-store.ts";
import { SeededRandom } from "../sim/seeded-random.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import { ClusterServer } from "./cluster-server.ts";
import { keyOf } from "./cluster-state.ts";
import { HostMembers } from "./host-members.ts";
import { holder } from "../network/policy/policy.fixture.ts";

const SPEC = appSpec({ instances: 1 });
const VERSION = "2026-01-01T00:00:00.000Z" as Version;
const APP = { version: VERSION, spec: SPEC, lastScalingAt: VERSION, lastConfigChangeAt: VERSION };
const WEB = "web.instance-1" as InstanceId;

function member(number: number): Host {
  return {
    id: `id${number}` as HostId,
    name: `h${number}`,
    address: parseIpv4(`192.0.2.${number}`),
    credentialHash: "",
    blocks: [`10.2.${number}.0/24`],
    resources: { cpus: 4, memoryMiB: 4000, diskMiB: 4000 },
    labels: {},
    joinedAtMs: 0,
    cordoned: false,
  };
}

function instance(change: Partial<Instance> = {}): Instance {
  const base = { id: WEB, appId: SPEC.id, version: VERSION, hostId: member(1).id, createdAtMs: 0 };
  return { ...base, goal: "running", ...change };
}

const ENDPOINT: Endpoint = {
  id: "h1:web:80",
  service: "web" as ServiceName,
  address: parseIpv4("10.2.1.2"),
  port: 80,
  protocol: "tcp",
  tags: [],
  meta: {},
  host: "h1",
  container: "web",
  instanceId: WEB,
  appId: SPEC.id,
  health: "passing",
};

/** A server over a store with two members, whose agents are here. */
class Fixture {
  readonly clock = new VirtualClock();
  readonly random = new SeededRandom(1);
  store = new FakeStore({ clock: this.clock, random: this.random });

  async startServer(records: readonly Instance[] = []): Promise<ClusterServer> {
    const { clock, random, store } = this;
    await clock.settle(
      store.commit([
        ...[member(1), member(2)].map((value) => ({ kind: "put", key: keyOf.host(value.id), value }) as const),
        { kind: "put", key: keyOf.app(SPEC.id), value: APP },
        { kind: "put", key: keyOf.version(SPEC.id, VERSION), value: APP },
        ...records.map((value) => ({ kind: "put", key: keyOf.instance(value.id), value }) as const),
      ]),
    );
    const deps = { store, clock, random, log: recordingLog(), initial: DEFAULT_SETTINGS };
    return clock.settle(ClusterServer.open(deps));
  }

  /** An agent that has said hello; what it is sent is in `sent`. */
  async connect(server: ClusterServer, number: number, wireMax = 1) {
    const sent: ServerMessage[] = [];
    const connection = { send: (message: ServerMessage) => void sent.push(message), close: () => undefined };
    const session = server.hub.open(member(number).id, connection);
    const say = (message: AgentMessage) => this.clock.settle(server.hub.receive(session, JSON.stringify(message)));
    const { address, resources } = member(number);
    await say({ type: "hello", wireMin: 1, wireMax, agentVersion: "1", address, labels: {}, resources });
    const serve = (appliedRevision: number) =>
      say({ type: "heartbeat", appliedRevision, epoch: epochOf(sent), conditions: [] });
    const report = (...upsert: readonly Endpoint[]) => say({ type: "endpoints", reset: true, upsert, remove: [] });
    const tell = (links: readonly LinkReport[]) => say({ type: "links", links });
    return { sent, say, serve, report, tell, hear: () => this.clock.advance(1) };
  }
}

function epochOf(sent: readonly ServerMessage[]): string {
  return sent.flatMap((message) => (message.type === "welcome" ? [message.epoch] : []))[0] ?? "";
}

function typesOf(sent: readonly ServerMessage[]): readonly string[] {
  return sent.map(({ type }) => type);
}

test("a drain that an earlier server began waits until hosts serve a catalog of this one", async () => {
  const world = new Fixture();
  const server = await world.startServer([instance({ goal: "draining", drainRevision: 40, drainSinceMs: 0 })]);
  expect(server.hub.drainedBy(40)).toBe(false);
  const [first, second] = [await world.connect(server, 1), await world.connect(server, 2)];
  expect(server.hub.drainedBy(40)).toBe(false);
  await first.report(ENDPOINT);
  await second.report();
  expect(server.catalog.list()).toEqual([]);
  expect(server.catalog.revision).toBeGreaterThan(40);
  await first.serve(server.catalog.revision);
  expect(server.hub.drainedBy(40)).toBe(false);
  await second.serve(server.catalog.revision);
  expect(server.hub.drainedBy(40)).toBe(true);
});

test("drainedBy() waits for a host whose agent is away, and not for one that is down", async () => {
  const world = new Fixture();
  const server = await world.startServer();
  const first = await world.connect(server, 1);
  await first.serve(5);
  expect(server.hub.drainedBy(5)).toBe(false);
  for (let tick = 0; tick < 30; tick += 1) {
    await first.serve(5);
    server.liveness.tick(world.clock.nowMs());
  }
  expect(server.liveness.presenceOf(member(2).id).phase).toBe("down");
  expect(server.hub.drainedBy(5)).toBe(true);
});

test("a host hears that its instance drains no later than it gets the catalog without it", async () => {
  const world = new Fixture();
  const server = await world.startServer([instance()]);
  const [first, second] = [await world.connect(server, 1), await world.connect(server, 2)];
  await first.report(ENDPOINT);
  await second.report();
  await first.hear();
  first.sent.length = 0;
  const action = { kind: "drain-instance", id: WEB, reason: "a test" } as const;
  await world.clock.settle(server.rollout.apply([action]));
  await first.hear();
  expect(typesOf(first.sent)).toEqual(["assignments", "catalog"]);
  expect(first.sent[1]).toMatchObject({ remove: [ENDPOINT.id] });
});

test("a drain of what no host has reported yet is confirmed by the catalog that follows it", async () => {
  const world = new Fixture();
  const server = await world.startServer([instance()]);
  const [first, second] = [await world.connect(server, 1), await world.connect(server, 2)];
  for (const each of [first, second]) {
    await each.report();
    await each.serve(server.catalog.revision);
  }
  await world.clock.settle(server.rollout.apply([{ kind: "drain-instance", id: WEB, reason: "a test" }]));
  const { drainRevision = 0 } = server.state.instances.get(WEB) ?? {};
  expect(server.hub.drainedBy(drainRevision)).toBe(false);
  for (const each of [first, second]) await each.serve(drainRevision);
  expect(server.hub.drainedBy(drainRevision)).toBe(true);
});

test("a host that was down serves nothing until its agent has reported again", async () => {
  const world = new Fixture();
  const server = await world.startServer([instance()]);
  const first = await world.connect(server, 1);
  await first.report(ENDPOINT);
  expect(server.catalog.list()).toHaveLength(1);
  const down = new AbortController();
  const running = server.run(down.signal);
  await world.clock.advance(4000);
  expect(server.liveness.presenceOf(member(1).id).phase).toBe("down");
  const again = await world.connect(server, 1);
  expect(server.liveness.presenceOf(member(1).id).phase).toBe("up");
  expect(server.catalog.list()).toEqual([]);
  await again.report(ENDPOINT);
  expect(server.catalog.list()).toHaveLength(1);
  down.abort();
  await world.clock.settle(running);
});

test("a host that leaves stays a peer of the others until none of them leads anyone to its instances", async () => {
  const world = new Fixture();
  const server = await world.startServer([instance()]);
  const { clock, random } = world;
  const members = new HostMembers({ server, clock, random, digest: nodeDigest, chooseBlock, checkRangeClash });
  const [first, second] = [await world.connect(server, 1), await world.connect(server, 2, 2)];
  await first.report(ENDPOINT);
  await second.report();
  const peersGone = () => second.sent.flatMap((message) => (message.type === "peer-changes" ? message.remove : []));
  const left = members.leave(member(1).id);
  await clock.advance(100);
  expect(second.sent.at(-1)).toMatchObject({ type: "catalog", remove: [ENDPOINT.id] });
  expect(peersGone()).toEqual([]);
  await second.serve(server.catalog.revision);
  await clock.advance(900);
  expect(peersGone()).toEqual([]);
  await clock.advance(1000);
  expect(await clock.settle(left)).toBe("h1");
  expect(peersGone()).toEqual([member(1).id]);
});

test("a cordon and an agent's hello at the same moment both count", async () => {
  const world = new Fixture();
  const server = await world.startServer();
  const { clock, random } = world;
  const members = new HostMembers({ server, clock, random, digest: nodeDigest, chooseBlock, checkRangeClash });
  const session = server.hub.open(member(1).id, { send: () => undefined, close: () => undefined });
  const resources = { cpus: 8, memoryMiB: 8000, diskMiB: 8000 };
  const hello = {
    type: "hello",
    wireMin: 1,
    wireMax: 1,
    agentVersion: "1",
    address: "192.0.2.9",
    labels: {},
    resources,
  };
  for (const cordoned of [true, false]) {
    const both = [members.setCordoned("h1", cordoned), server.hub.receive(session, JSON.stringify(hello))];
    await clock.settle(Promise.all(both));
    expect(server.state.hostByName("h1")).toMatchObject({ cordoned, resources });
  }
});

test("the keys that an agent tells are stored, once, and handed to the others; older agents have none", async () => {
  const world = new Fixture();
  const server = await world.startServer();
  const [first, second] = [await world.connect(server, 1), await world.connect(server, 2)];
  const peersSeen = () => second.sent.flatMap((message) => (message.type === "peers" ? [message.peers] : []));
  expect(Object.keys(peersSeen()[0]?.[0] ?? {})).toEqual(["id", "name", "address", "blocks"]);
  const keys = { publicKey: `${"A".repeat(43)}=`, nextPublicKey: `${"A".repeat(42)}E=` };
  await first.say({ type: "keys", ...keys });
  await second.hear();
  expect(peersSeen().at(-1)?.[0]).toMatchObject({ name: "h1", ...keys });
  const count = peersSeen().length;
  await first.say({ type: "keys", ...keys });
  await second.hear();
  expect(peersSeen().length).toBe(count);
  expect(server.state.hosts.get(member(1).id)).toMatchObject(keys);
  // A host that says hello without keys (an older agent came back) keeps those that it told.
  await world.connect(server, 1);
  expect(server.state.hosts.get(member(1).id)).toMatchObject(keys);
  expect(first.say({ type: "keys", ...keys, publicKey: "not a key" })).rejects.toThrow(/publicKey/);
});

test("a host's own probe address is told to the others, as long as it lies in its blocks", async () => {
  const world = new Fixture();
  const server = await world.startServer();
  const [first, second] = [await world.connect(server, 1), await world.connect(server, 2)];
  const told = async (probeAddress?: string) => {
    const said = probeAddress === undefined ? {} : { probeAddress: parseIpv4(probeAddress) };
    await first.say({ type: "heartbeat", appliedRevision: 0, epoch: epochOf(first.sent), conditions: [], ...said });
    await second.hear();
    const peers = second.sent.flatMap((message) => (message.type === "peers" ? [message.peers] : []));
    return peers.at(-1)?.[0]?.probeAddress;
  };
  expect(await told()).toBeUndefined();
  expect(String(await told("10.2.1.130"))).toBe("10.2.1.130");
  // Another host's: what was known stays.
  expect(String(await told("10.2.2.130"))).toBe("10.2.1.130");
  // An agent of before came back, or the engine is started otherwise.
  expect(await told()).toBeUndefined();
});

test("every agent of a cluster gets the same probe key, also from a server that started again", async () => {
  const world = new Fixture();
  const keyOfHost = async (server: ClusterServer, number: number): Promise<string | undefined> => {
    const { sent } = await world.connect(server, number);
    return sent.flatMap((message) => (message.type === "welcome" ? [message.probeKey] : []))[0];
  };
  const server = await world.startServer();
  const key = await keyOfHost(server, 1);
  expect(Buffer.from(key ?? "", "base64url").length).toBe(32);
  expect(await keyOfHost(server, 2)).toBe(key);
  const { clock, random, store } = world;
  const deps = { store, clock, random, log: recordingLog(), initial: DEFAULT_SETTINGS };
  const again = await clock.settle(ClusterServer.open(deps));
  expect(await keyOfHost(again, 1)).toBe(key);
});

test("links of a host replace what it said before, and go with it", async () => {
  const world = new Fixture();
  const server = await world.startServer();
  const agent = await world.connect(server, 1);
  const link = { peerId: member(2).id, peer: "h2", mode: "direct", via: null, why: "near", up: true } as const;
  const figures = { rttMs: 1, lossPercent: 0, mtu: 1500, txBytes: null, rxBytes: null } as const;
  await agent.tell([{ ...link, ...figures, encryption: "none", sinceMs: 1 }]);
  expect(server.hub.observed.get(member(1).id)?.links).toMatchObject([{ peer: "h2", mode: "direct" }]);
  const other: LinkReport = { ...link, ...figures, peerId: member(3).id, peer: "h3", encryption: "none", sinceMs: 1 };
  await agent.say({ type: "link-changes", upsert: [other], remove: [] });
  expect(server.hub.observed.get(member(1).id)?.links.map(({ peer }) => peer)).toEqual(["h2", "h3"]);
  await agent.say({ type: "link-changes", upsert: [{ ...other, mtu: 1400 }], remove: [member(2).id] });
  expect(server.hub.observed.get(member(1).id)?.links).toMatchObject([{ peer: "h3", mtu: 1400 }]);
  await agent.tell([]);
  expect(server.hub.observed.get(member(1).id)?.links).toEqual([]);
});

function holdersIn(sent: readonly ServerMessage[]) {
  return sent.flatMap((message) =>
    message.type === "holders"
      ? [
          {
            host: message.host,
            reset: message.reset,
            upsert: message.upsert.map(({ id }) => id),
            remove: message.remove,
          },
        ]
      : [],
  );
}

test("who holds an address is passed on as it was told, kept for agents that come later, and gone with its host", async () => {
  const cluster = new Fixture();
  const server = await cluster.startServer();
  const [first, second] = [await cluster.connect(server, 1), await cluster.connect(server, 2)];
  const box = (host: string) => holder({ host, address: parseIpv4("10.2.1.9"), container: "box" });
  // Nobody speaks for another host.
  await first.say({ type: "holders", reset: true, upsert: [box("h1"), box("h2")], remove: [] });
  const told = { host: "h1", reset: true, upsert: ["h1:box:apollo"], remove: [] };
  expect([holdersIn(first.sent), holdersIn(second.sent)]).toEqual([[], [told]]);
  const later = await cluster.connect(server, 2);
  expect(holdersIn(later.sent)).toEqual([told]);
  await first.say({ type: "holders", reset: false, upsert: [], remove: ["h1:box:apollo"] });
  expect(holdersIn(later.sent).at(-1)).toEqual({ host: "h1", reset: false, upsert: [], remove: ["h1:box:apollo"] });
  server.hub.dropHost(member(1).id, "h1");
  expect(holdersIn(later.sent).at(-1)).toEqual({ host: "h1", reset: true, upsert: [], remove: [] });
});

test("agents of wire 2 are told of a change of the hosts alone, older ones of all hosts; both know the same then", async () => {
  const world = new Fixture();
  const server = await world.startServer();
  const [older, newer] = [await world.connect(server, 1, 1), await world.connect(server, 2, 2)];
  for (const agent of [older, newer]) await agent.report();
  const states = [older, newer].map(() => new AgentState());
  const take = () => {
    for (const [at, { sent }] of [older, newer].entries()) for (const message of sent) states[at]?.receive(message);
    const types = [typesOf(older.sent), typesOf(newer.sent)];
    for (const { sent } of [older, newer]) sent.length = 0;
    return types;
  };
  const names = () => states.map(({ peers, hosts }) => [[...peers.values()].map(({ name }) => name), hosts.length]);
  take();
  await world.clock.settle(server.state.commit([{ kind: "put", key: keyOf.host(member(3).id), value: member(3) }]));
  await newer.hear();
  expect(take()).toEqual([
    ["peers", "catalog"],
    ["peer-changes", "catalog"],
  ]);
  expect(names()).toEqual([
    [["h2", "h3"], 3],
    [["h1", "h3"], 3],
  ]);
  // What is stored of a host beyond that, such as its labels, is told nobody.
  await world.clock.settle(
    server.state.update<Host>(keyOf.host(member(3).id), (host) => ({ ...host, cordoned: true })),
  );
  await newer.hear();
  expect(take()).toEqual([[], []]);
  // Nor is a host told of itself.
  const blocks = ["10.2.2.0/24", "10.2.9.0/24"];
  await world.clock.settle(server.state.update<Host>(keyOf.host(member(2).id), (host) => ({ ...host, blocks })));
  await newer.hear();
  expect(take()).toEqual([["peers"], ["blocks"]]);
  await world.clock.settle(server.state.commit([{ kind: "delete", key: keyOf.host(member(3).id) }]));
  await newer.hear();
  expect(take()).toEqual([
    ["peers", "catalog"],
    ["peer-changes", "catalog"],
  ]);
  expect(names()).toEqual([
    [["h2"], 2],
    [["h1"], 2],
  ]);
});
