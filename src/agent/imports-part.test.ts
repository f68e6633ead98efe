import { expect, test } from "bun:test";
import { DEFAULT_SETTINGS } from "../model/cluster.ts";
import type { HostId } from "../model/ids.ts";
import { parseIpv4 } from "../model/ip.ts";
import { EMPTY_NETWORK_CONFIG, parseNetworkObject } from "../model/network-config.ts";
import { chooseImportOwner } from "../network/plan-imports.ts";
import { FakeProber } from "../sim/fake-prober.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import { AgentState } from "./agent-state.ts";
import { createImportsPart } from "./imports-part.ts";

const NAMES = ["h1", "h2", "h3"] as const;
const TARGET = "192.0.2.9:5432";
const IMPORT = parseNetworkObject("import", { name: "db", targets: [{ address: "192.0.2.9", port: 5432 }] });

/** Three agents and a catalog between them that is always up to date. */
class World {
  readonly clock = new VirtualClock();
  readonly prober = new FakeProber(this.clock);
  readonly states = new Map(NAMES.map((name) => [name as string, new AgentState()]));
  readonly down = new Set<string>();
  readonly #end = new AbortController();
  readonly #running: Promise<void>[] = [];
  #revision = 0;

  constructor() {
    for (const [hostName, state] of this.states) {
      const settings = DEFAULT_SETTINGS;
      state.identity = { hostId: hostName as HostId, hostName, settings, blocks: ["10.2.1.0/24"], epoch: "e" };
      // What the registration part does with them.
      state.on("imports", () => {
        state.setLocalEndpoints(state.imports);
        this.publish();
      });
      this.#running.push(createImportsPart({ state, prober: this.prober, clock: this.clock }).run(this.#end.signal));
    }
  }

  publish(): void {
    this.#revision += 1;
    const up = [...this.states].filter(([name]) => !this.down.has(name));
    const hosts = NAMES.map((name) => ({ name, address: parseIpv4("192.0.2.1"), up: !this.down.has(name) }));
    const upsert = up.flatMap(([, state]) => [...state.localEndpoints().values()]);
    for (const [, state] of up) {
      state.receive({ type: "catalog", reset: true, revision: this.#revision, upsert, remove: [], hosts });
    }
  }

  declare(): void {
    const config = { ...EMPTY_NETWORK_CONFIG, imports: [IMPORT] };
    for (const state of this.states.values()) state.receive({ type: "network-config", config });
    this.publish();
  }

  /** What the last host that is up knows. */
  known(): readonly string[] {
    const up = NAMES.filter((name) => !this.down.has(name));
    const state = this.states.get(up.at(-1) ?? "");
    return (state?.endpoints() ?? []).map(({ host, address, port, health }) => `${host} ${address}:${port} ${health}`);
  }

  owner(): string {
    return (
      chooseImportOwner(
        "db",
        NAMES.map((name) => ({ name, address: parseIpv4("192.0.2.1"), up: !this.down.has(name) })),
      ) ?? ""
    );
  }

  async stop(): Promise<void> {
    this.#end.abort();
    await this.clock.advance(3000);
    await Promise.all(this.#running);
  }
}

test("one host looks after an import: critical until it answers, and after two failures", async () => {
  const world = new World();
  world.declare();
  await world.clock.advance(100);
  expect(world.known()).toEqual([`${world.owner()} ${TARGET} critical`]);
  world.prober.answers.set(TARGET, 200);
  await world.clock.advance(5100);
  expect(world.known()).toEqual([`${world.owner()} ${TARGET} passing`]);
  world.prober.answers.clear();
  await world.clock.advance(5100);
  expect(world.known()).toEqual([`${world.owner()} ${TARGET} passing`]);
  await world.clock.advance(5100);
  expect(world.known()).toEqual([`${world.owner()} ${TARGET} critical`]);
  const asked = world.prober.probes.length;
  await world.clock.advance(50_000);
  expect(world.prober.probes.length - asked).toBeLessThanOrEqual(11);
  await world.stop();
});

test("another host takes over at once when the owner dies, with the health that was known, and gives back", async () => {
  const world = new World();
  world.prober.answers.set(TARGET, 200);
  world.declare();
  await world.clock.advance(100);
  const first = world.owner();
  world.down.add(first);
  const seen: string[][] = [];
  for (const [name, state] of world.states) {
    if (name !== first) state.on("catalog", () => seen.push([...world.known()]));
  }
  world.publish();
  await world.clock.advance(100);
  expect(world.owner()).not.toBe(first);
  expect(world.known()).toEqual([`${world.owner()} ${TARGET} passing`]);
  expect(seen.flat().filter((line) => line.endsWith("critical"))).toEqual([]);
  // The former owner comes back: there is no moment without the service.
  seen.length = 0;
  world.down.clear();
  world.publish();
  await world.clock.advance(100);
  expect(world.known()).toEqual([`${first} ${TARGET} passing`]);
  expect(seen.filter((lines) => lines.length === 0)).toEqual([]);
  await world.stop();
});

test("an import that is no more declared leaves the catalog", async () => {
  const world = new World();
  world.prober.answers.set(TARGET, 200);
  world.declare();
  await world.clock.advance(100);
  for (const state of world.states.values()) state.receive({ type: "network-config", config: EMPTY_NETWORK_CONFIG });
  await world.clock.advance(100);
  expect(world.known()).toEqual([]);
  await world.stop();
});
