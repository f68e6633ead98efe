import { expect, test } from "bun:test";
import { readLeases } from "../cluster/leases.ts";
import { DEFAULT_SETTINGS } from "../model/cluster.ts";
import { AppError } from "../model/error.ts";
import type { Host } from "../model/host.ts";
import type { HostId } from "../model/ids.ts";
import { parseIpv4 } from "../model/ip.ts";
import type { AddressUse } from "../model/lease.ts";
import type { AgentMessage, ServerMessage } from "../model/wire.ts";
import { checkRangeClash, chooseBlock } from "../network/blocks.ts";
import { nodeDigest } from "../platform/digest/node-digest.ts";
import type { Store } from "../platform/ports/store.ts";
import { recordingLog } from "../sim/agent-fixtures.ts";
import { FakeStore } from "../sim/fake-store.ts";
import { SeededRandom } from "../sim/seeded-random.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import { ClusterServer } from "./cluster-server.ts";
import { keyOf } from "./cluster-state.ts";
import { HostMembers } from "./host-members.ts";

const FIRST = "10.2.0.16/28";
const RESOURCES = { cpus: 4, memoryMiB: 4000, diskMiB: 4000 };

/** A server with one member from before leases had epochs, whose agents come and go. */
class Fixture {
  readonly clock = new VirtualClock();
  readonly random = new SeededRandom(1);
  readonly store = new FakeStore({ clock: this.clock, random: this.random });
  storeFault: string | null = null;
  readonly member: Host = {
    id: "id1" as HostId,
    name: "h1",
    address: parseIpv4("192.0.2.1"),
    credentialHash: "",
    blocks: [FIRST],
    resources: RESOURCES,
    labels: {},
    joinedAtMs: 0,
    cordoned: false,
  };

  async start(): Promise<{ readonly server: ClusterServer; readonly stop: () => Promise<void> }> {
    const { clock, random, member } = this;
    await clock.settle(
      this.store.commit([
        { kind: "put", key: keyOf.host(member.id), value: member },
        { kind: "put", key: "host-name/h1", value: { hostId: member.id } },
        { kind: "put", key: `block/${FIRST.replace("/", "_")}`, value: { hostId: member.id } },
      ]),
    );
    const store = new Proxy<Store>(this.store, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== "function") return value;
        return (...args: readonly unknown[]): unknown =>
          name !== "commit" || this.storeFault === null
            ? Reflect.apply(value, target, args)
            : Promise.reject(new AppError("unavailable", this.storeFault));
      },
    });
    const initial = { ...DEFAULT_SETTINGS, blockPrefix: 28 };
    const server = await clock.settle(ClusterServer.open({ store, clock, random, log: recordingLog(), initial }));
    const abort = new AbortController();
    const done = server.run(abort.signal);
    const stop = async (): Promise<void> => {
      abort.abort();
      await clock.settle(done);
    };
    return { server, stop };
  }

  /** An agent's connection; `say` does not wait for what comes of it. */
  connect(server: ClusterServer, runId: string, address = "192.0.2.1") {
    const sent: ServerMessage[] = [];
    const ends: string[] = [];
    const session = server.hub.open(this.member.id, {
      send: (message) => void sent.push(message),
      close: (reason) => {
        ends.push(reason);
        server.hub.closed(session);
      },
    });
    const say = (message: AgentMessage): void => {
      server.hub.receive(session, JSON.stringify(message)).catch((error: unknown) => this.clock.fail(error));
    };
    const hello = {
      type: "hello",
      wireMin: 1,
      wireMax: 1,
      agentVersion: "1",
      labels: {},
      resources: RESOURCES,
    } as const;
    say({ ...hello, address, runId });
    const beat = (addresses?: AddressUse): void =>
      say({
        type: "heartbeat",
        appliedRevision: 0,
        epoch: "",
        conditions: [],
        ...(addresses === undefined ? {} : { addresses }),
      });
    const types = (): string => sent.map(({ type }) => type).join(" ");
    const last = (type: ServerMessage["type"]) => sent.findLast((message) => message.type === type);
    return { sent, ends, beat, types, last };
  }
}

const short = (blocks: readonly string[], change: Partial<AddressUse> = {}): AddressUse => {
  return { blocks, total: 13, free: 3, waiting: 0, offered: [], ...change };
};

test("a host that runs short gets a further block with a larger epoch; one that it offers is taken back", async () => {
  const world = new Fixture();
  const { server, stop } = await world.start();
  const agent = world.connect(server, "run-1");
  await world.clock.advance(100);
  expect(agent.last("welcome")).toMatchObject({ blocks: [FIRST], leaseProblem: null });
  agent.beat(short([FIRST]));
  await world.clock.advance(100);
  const both = [FIRST, "10.2.0.32/28"];
  expect(agent.last("blocks")).toEqual({ type: "blocks", blocks: both, leaseProblem: null });
  const { leases } = await world.clock.settle(readLeases(world.store));
  expect(leases.map(({ block, epoch }) => `${block} ${epoch}`)).toEqual([`${FIRST} 0`, "10.2.0.32/28 1"]);
  // The same words again are from before the lease.
  agent.beat(short([FIRST]));
  await world.clock.advance(100);
  expect(server.state.hostByName("h1")?.blocks).toEqual(both);

  agent.beat(short(both, { free: 13, offered: ["10.2.0.32/28"] }));
  await world.clock.advance(100);
  expect(agent.last("blocks")).toMatchObject({ blocks: [FIRST] });
  agent.beat(short([FIRST]));
  await world.clock.advance(100);
  expect((await world.clock.settle(readLeases(world.store))).leases.at(-1)).toMatchObject({
    block: "10.2.0.32/28",
    epoch: 2,
  });
  await stop();
});

test("while the store does not answer the host is told why, and gets its block when it does", async () => {
  const world = new Fixture();
  const { server, stop } = await world.start();
  const agent = world.connect(server, "run-1");
  await world.clock.advance(100);
  world.storeFault = "Cannot write the store: disk is full";
  agent.beat(short([FIRST], { waiting: 2 }));
  await world.clock.advance(100);
  expect(agent.last("blocks")).toMatchObject({
    blocks: [FIRST],
    leaseProblem: { text: expect.stringContaining("disk is full") },
  });
  world.storeFault = null;
  await world.clock.advance(2000);
  expect(agent.last("blocks")).toMatchObject({ blocks: [FIRST, "10.2.0.32/28"], leaseProblem: null });
  await stop();
});

test("a removed host's blocks are free at once, and it is told why it is no member any more", async () => {
  const world = new Fixture();
  const { server, stop } = await world.start();
  const agent = world.connect(server, "run-1");
  await world.clock.advance(100);
  agent.beat(short([FIRST]));
  await world.clock.advance(100);
  const { clock, random } = world;
  const members = new HostMembers({ server, clock, random, digest: nodeDigest, chooseBlock, checkRangeClash });
  await clock.settle(members.remove("h1", true));
  expect((await clock.settle(readLeases(world.store))).leases).toEqual([]);
  expect(agent.last("refused")).toMatchObject({ refusal: { code: "host-removed" } });
  expect(agent.ends).toEqual(["this host was removed from the cluster"]);
  const request = { labels: {}, resources: RESOURCES, hostRanges: [], credential: null, local: false };
  const grant = await clock.settle(members.join({ ...request, name: "h2", address: "192.0.2.2" }));
  expect(grant.block).toBe(FIRST);
  const inside = members.join({ ...request, name: "h3", address: "10.2.9.9" }).catch((error: unknown) => error);
  expect(await clock.settle(inside)).toMatchObject({ code: "conflict", message: expect.stringContaining("10.2.9.9") });
  await stop();
});

test("a copy of a host is refused while the host lives, naming both addresses; it may follow when the host is silent", async () => {
  const world = new Fixture();
  const { server, stop } = await world.start();
  const host = world.connect(server, "run-1");
  await world.clock.advance(100);
  host.beat();
  const copy = world.connect(server, "run-2", "192.0.2.66");
  for (let second = 0; second < 3; second += 1) {
    await world.clock.advance(1000);
    host.beat();
  }
  expect(copy.types()).toBe("refused");
  expect(copy.last("refused")).toMatchObject({
    refusal: { code: "host-doubled", text: expect.stringMatching(/192\.0\.2\.1 .*192\.0\.2\.66/) },
  });
  expect(host.ends).toEqual([]);
  expect(server.state.hostByName("h1")?.address).toBe(parseIpv4("192.0.2.1"));

  // The machine lost its power: nobody has closed the stream, and nothing comes over it.
  const next = world.connect(server, "run-3");
  await world.clock.advance(2400);
  expect(next.types()).toBe("");
  await world.clock.advance(200);
  expect(next.types()).toStartWith("welcome");
  expect(host.ends).toEqual(["another agent joined as this host"]);
  // The same run that connects anew waits for nothing.
  const again = world.connect(server, "run-3");
  await world.clock.advance(50);
  expect(again.types()).toStartWith("welcome");
  await stop();
});
