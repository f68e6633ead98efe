/**
 * Who is seen as dead, and when: a real server with its hub, and the agents' real links, over the simulated network. All
 * processes stand still again and again, as on machines that are short of processor time; some hosts die without a word.
 */
import { expect, test } from "bun:test";
import { AgentState } from "../agent/agent-state.ts";
import { createLinkPart } from "../agent/link-part.ts";
import { parseIpv4 } from "../model/ip.ts";
import { noEngine } from "../discovery-agent/no-engine.ts";
import { FakeStore } from "./fake-store.ts";
import { FakeTransport } from "./fake-transport.ts";
import { SeededRandom } from "./seeded-random.ts";
import { ServerProcess } from "./server-process.ts";
import { SimProcess } from "./sim-process.ts";
import { StreamTransport } from "./stream-transport.ts";
import { VirtualClock } from "./virtual-clock.ts";
import { SILENT_LOG } from "./silent-log.ts";

/** A host that stands still for less than this is never taken for dead: 2.5 s of silence, less a heartbeat and its way. */
const STALL_MS_MAX = 1400;
/** The server may stand still for as long as it likes. */
const SERVER_STALL_MS_MAX = 8000;
const LIFE_MS = 40_000;
const SEEN_WITHIN_MS = 3000;
const SIZES = [3, 10, 30, 100] as const;

interface Life {
  readonly falseAlarms: readonly string[];
  /** From death to verdict, without the time that the server itself stood still. */
  readonly seenMs: readonly number[];
  readonly unseen: readonly string[];
  readonly stalls: number;
}

class World {
  readonly clock = new VirtualClock();
  readonly random: SeededRandom;
  readonly network: FakeTransport;
  readonly credentials = new Map<string, string>();
  readonly hosts = new Map<string, SimProcess>();
  readonly died = new Map<string, number>();
  readonly seenMs = new Map<string, number>();
  readonly falseAlarms: string[] = [];
  /** When the server stood still. */
  readonly serverStalls: { readonly fromMs: number; readonly untilMs: number }[] = [];
  stalls = 0;
  server: ServerProcess | null = null;
  readonly #end = new AbortController();

  constructor(seed: number) {
    this.random = new SeededRandom(seed);
    this.network = new FakeTransport({ clock: this.clock, random: this.random.fork(), delayMsMax: 30 });
  }

  async open(size: number): Promise<void> {
    const { clock, random } = this;
    const starting = ServerProcess.start({
      clock,
      random: random.fork(),
      store: new FakeStore({ clock, random: random.fork() }),
      network: this.network,
      log: { ...SILENT_LOG, warn: (message, fields) => this.#hear(message, fields) },
      credentialOf: (node) => this.credentials.get(node) ?? null,
      inspect: () => undefined,
    });
    const server = await clock.settle(starting);
    this.server = server;
    for (let at = 1; at <= size; at += 1) {
      const name = `h${at}`;
      const resources = { cpus: 1, memoryMiB: 64, diskMiB: 0 };
      const request = {
        name,
        address: `192.0.2.${at}`,
        labels: {},
        resources,
        hostRanges: [],
        credential: null,
        local: false,
      };
      const { credential } = await clock.settle(server.members.join(request));
      this.credentials.set(name, credential);
      this.#start(name);
    }
    await clock.advanceUntil("all hosts to be up", () => server.cluster.catalog.hosts().every(({ up }) => up));
    await clock.advance(6000);
  }

  #start(name: string): void {
    const process = new SimProcess(this.clock);
    this.hosts.set(name, process);
    const link = createLinkPart({
      state: new AgentState(),
      engine: noEngine,
      transport: process.guard(new StreamTransport(this.network, name, process)),
      clock: process.clock,
      random: this.random.fork(),
      log: SILENT_LOG,
      serverUrls: ["https://server:8443"],
      agentVersion: "sim",
      address: parseIpv4("192.0.2.1"),
      labels: {},
      resources: () => Promise.resolve({ cpus: 1, memoryMiB: 64, diskMiB: 0 }),
    });
    link.run(this.#end.signal).catch((error: unknown) => this.clock.fail(error));
  }

  #hear(message: string, fields: Readonly<Record<string, unknown>> | undefined): void {
    if (message !== "host is down") return;
    const name = String(fields?.["host"]);
    const nowMs = this.clock.monotonicMs();
    const diedMs = this.died.get(name);
    if (diedMs === undefined) this.falseAlarms.push(`${name} at ${Math.round(nowMs)}`);
    else this.seenMs.set(name, nowMs - diedMs - this.#serverStoodStill(diedMs, nowMs));
  }

  #serverStoodStill(fromMs: number, untilMs: number): number {
    const shares = this.serverStalls.map((stall) => Math.min(untilMs, stall.untilMs) - Math.max(fromMs, stall.fromMs));
    return shares.filter((share) => share > 0).reduce((sum, share) => sum + share, 0);
  }

  /** Stands still again and again; how often and for how long the seed says. */
  starve(process: SimProcess, longestMs: number, onStall: (ms: number) => void): void {
    const gapMs = 200 + this.random.next() * 4000;
    const next = (): void => {
      if (!process.alive || this.#end.signal.aborted) return;
      const ms = this.random.next() * longestMs;
      process.pause(ms);
      this.stalls += 1;
      onStall(ms);
      this.clock.after(ms + this.random.next() * gapMs, next);
    };
    this.clock.after(this.random.next() * gapMs, next);
  }

  /** Power is cut: nobody closes its connections. */
  kill(name: string): void {
    this.hosts.get(name)?.kill();
    this.died.set(name, this.clock.monotonicMs());
  }
}

async function live(seed: number): Promise<Life> {
  const world = new World(seed);
  const { random, clock } = world;
  const size = SIZES[seed % SIZES.length] ?? 3;
  await world.open(size);
  for (const process of world.hosts.values())
    if (random.chance(0.7)) world.starve(process, STALL_MS_MAX, () => undefined);
  const { server } = world;
  if (server === null) throw new Error("the world was not opened");
  if (random.chance(0.5)) {
    world.starve(server.process, SERVER_STALL_MS_MAX, (ms) => {
      const fromMs = clock.monotonicMs();
      world.serverStalls.push({ fromMs, untilMs: fromMs + ms });
    });
  }
  const deaths = 1 + random.integer(0, Math.floor(size / 3));
  for (let at = 1; at <= deaths; at += 1) clock.after(random.next() * LIFE_MS * 0.6, () => world.kill(`h${at}`));
  await clock.advance(LIFE_MS);
  const unseen = [...world.died.keys()].filter((name) => !world.seenMs.has(name));
  return { falseAlarms: world.falseAlarms, seenMs: [...world.seenMs.values()], unseen, stalls: world.stalls };
}

test("deaths are seen within 3 s at 3 to 100 hosts, and nobody who only stood still is taken for dead", async () => {
  let [stalls, deaths] = [0, 0];
  for (let seed = 1; seed <= 12; seed += 1) {
    const life = await live(seed);
    expect({ seed, falseAlarms: life.falseAlarms, unseen: life.unseen }).toEqual({ seed, falseAlarms: [], unseen: [] });
    expect(Math.max(...life.seenMs)).toBeLessThan(SEEN_WITHIN_MS);
    stalls += life.stalls;
    deaths += life.seenMs.length;
  }
  // A world in which nothing happens would pass too.
  expect(stalls).toBeGreaterThan(1000);
  expect(deaths).toBeGreaterThan(30);
}, 120_000);
