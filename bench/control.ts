import { DEFAULT_SETTINGS } from "../src/model/cluster.ts";
import type { Host } from "../src/model/host.ts";
import type { HostId } from "../src/model/ids.ts";
import { formatIpv4, parseIpv4, ipv4ToNumber } from "../src/model/ip.ts";
import type { ServerMessage } from "../src/model/wire.ts";
import { WIRE_VERSION, WIRE_VERSION_MIN } from "../src/model/wire.ts";
import type { StoreWrite } from "../src/platform/ports/store.ts";
import { type AgentSession, frameOf } from "../src/server/agent-session.ts";
import { ClusterServer } from "../src/server/cluster-server.ts";
import { keyOf } from "../src/server/cluster-state.ts";
import { AgentState } from "../src/agent/agent-state.ts";
import { FakeStore } from "../src/sim/fake-store.ts";
import { SeededRandom } from "../src/sim/seeded-random.ts";
import { VirtualClock } from "../src/sim/virtual-clock.ts";
import { type Bench, median } from "./bench.ts";
import { SILENT_LOG } from "../src/sim/silent-log.ts";
import { parseServerMessage } from "../src/model/parse-message.ts";

const HOSTS = 1000;
const QUICK_HOSTS = 200;
const ROUNDS = 3;
const FIRST_ADDRESS = ipv4ToNumber(parseIpv4("10.64.0.1"));
const FIRST_BLOCK = ipv4ToNumber(parseIpv4("10.128.0.0"));
const RESOURCES = { cpus: 4, memoryMiB: 4000, diskMiB: 4000 };

/** What it costs the server and each host when one of a thousand hosts joins, gets a further block, is silent, or leaves. */
export const benchControl: Bench = async ({ rounds: wanted, quick, progress }) => {
  const rounds = wanted ?? ROUNDS;
  const count = quick ? QUICK_HOSTS : HOSTS;
  const figures = new Map<string, number[]>();
  const note = (key: string, value: number): void => void figures.set(key, [...(figures.get(key) ?? []), value]);
  for (let round = 0; round < rounds; round += 1) {
    progress(`control: round ${round + 1} of ${rounds}, ${count} hosts`);
    const cluster = await Cluster.open(count);
    for (const [what, change] of cluster.changes()) {
      const { serverMs, agentUs, bytes } = await cluster.measure(change);
      note(`${what}, bytes to a host`, bytes / count);
      note(`${what}, server, ms`, serverMs);
      note(`${what}, a host, µs`, agentUs);
    }
  }
  return {
    rounds,
    figures: Object.fromEntries([...figures].map(([key, values]) => [key, median(values)])),
    ratios: {},
    notes: [
      `${count} hosts on one server, in one process: the real server and what agents keep, without sockets and TLS`,
      "server: the change stored, planned and written as JSON for every host; a host: its messages read and taken over",
    ],
  };
};

interface Measured {
  readonly serverMs: number;
  readonly agentUs: number;
  readonly bytes: number;
}

class Cluster {
  readonly #clock = new VirtualClock();
  readonly #count: number;
  readonly #sessions = new Map<HostId, AgentSession>();
  /** Frames since the last look, of all hosts. */
  #frames: string[] = [];
  /** The frames of one of them, to see what taking them over costs. */
  #seen: string[] = [];
  readonly #agent = new AgentState();
  #server: ClusterServer | null = null;

  private constructor(count: number) {
    this.#count = count;
  }

  static async open(count: number): Promise<Cluster> {
    const cluster = new Cluster(count);
    await cluster.#open();
    return cluster;
  }

  async #open(): Promise<void> {
    const clock = this.#clock;
    const random = new SeededRandom(1);
    const store = new FakeStore({ clock, random });
    const hosts = Array.from({ length: this.#count }, (_, number) => member(number));
    await clock.settle(
      store.commit(hosts.map((value): StoreWrite => ({ kind: "put", key: keyOf.host(value.id), value }))),
    );
    const deps = { store, clock, random, log: SILENT_LOG, initial: DEFAULT_SETTINGS };
    this.#server = await clock.settle(ClusterServer.open(deps));
    for (const host of hosts) await this.#connect(host);
    await this.#settle();
    for (const frame of this.#seen) take(this.#agent, frame);
    [this.#frames, this.#seen] = [[], []];
  }

  get #cluster(): ClusterServer {
    if (this.#server === null) throw new Error("The server is not open");
    return this.#server;
  }

  /** Those that a cluster sees every day. */
  changes(): readonly (readonly [what: string, change: () => Promise<void>])[] {
    const late = member(this.#count);
    const { state } = this.#cluster;
    return [
      [
        "a host joins",
        async () => {
          await this.#clock.settle(state.commit([{ kind: "put", key: keyOf.host(late.id), value: late }]));
          await this.#connect(late);
        },
      ],
      [
        "a block is leased",
        async () => {
          const blocks = [...late.blocks, "10.250.0.0/24"];
          await this.#clock.settle(state.update<Host>(keyOf.host(late.id), (host) => ({ ...host, blocks })));
        },
      ],
      ["a host is down", () => Promise.resolve(this.#silence(late))],
      [
        "a host leaves",
        async () => {
          await this.#clock.settle(state.commit([{ kind: "delete", key: keyOf.host(late.id) }]));
        },
      ],
    ];
  }

  async measure(change: () => Promise<void>): Promise<Measured> {
    const startMs = performance.now();
    await change();
    await this.#settle();
    const serverMs = performance.now() - startMs;
    const bytes = this.#frames.reduce((sum, frame) => sum + Buffer.byteLength(frame), 0);
    const takeMs = performance.now();
    for (const frame of this.#seen) take(this.#agent, frame);
    const agentUs = (performance.now() - takeMs) * 1000;
    [this.#frames, this.#seen] = [[], []];
    return { serverMs, agentUs, bytes };
  }

  #silence(host: Host): void {
    const { catalog } = this.#cluster;
    catalog.putHost({ name: host.name, address: host.address, up: false });
  }

  async #connect(host: Host): Promise<void> {
    const isWatched = host.id === member(0).id;
    const send = (message: ServerMessage): void => {
      const frame = frameOf(message);
      this.#frames.push(frame);
      if (isWatched) this.#seen.push(frame);
    };
    const { hub } = this.#cluster;
    const session = hub.open(host.id, { send, close: () => undefined });
    this.#sessions.set(host.id, session);
    const { address, resources, labels, publicKey, nextPublicKey } = host;
    const hello = {
      type: "hello",
      wireMin: WIRE_VERSION_MIN,
      wireMax: WIRE_VERSION,
      agentVersion: "1",
      address,
      labels,
      resources,
      publicKey,
      nextPublicKey,
    };
    await this.#clock.settle(hub.receive(session, JSON.stringify(hello)));
    await this.#clock.settle(
      hub.receive(session, JSON.stringify({ type: "endpoints", reset: true, upsert: [], remove: [] })),
    );
    // What the others were told of this one is measured after all are there.
    if (host.id !== member(this.#count).id && !isWatched) this.#frames = [];
  }

  /** Messages of one turn fold: they are out after it. */
  async #settle(): Promise<void> {
    await this.#clock.advance(1);
  }
}

function take(agent: AgentState, frame: string): void {
  const message = parseServerMessage(frame);
  if (message !== null) agent.receive(message);
}

function member(number: number): Host {
  return {
    id: `5b7f2c1e-0000-4000-8000-${String(number).padStart(12, "0")}` as HostId,
    name: `host-${number}`,
    address: formatIpv4(FIRST_ADDRESS + number),
    credentialHash: "",
    blocks: [`${formatIpv4(FIRST_BLOCK + number * 256)}/24`],
    resources: RESOURCES,
    labels: {},
    joinedAtMs: 0,
    cordoned: false,
    publicKey: `${"A".repeat(43)}=`,
    nextPublicKey: `${"A".repeat(42)}E=`,
  };
}
