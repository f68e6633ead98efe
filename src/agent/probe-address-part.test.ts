import { expect, test } from "bun:test";
import { parseIpv4 } from "../model/ip.ts";
import type { ReadyEngineNetwork } from "../network/plan-host.ts";
import { IDENTITY, joinedState, recordingLog } from "../sim/agent-fixtures.ts";
import { MemoryFile } from "../sim/memory-file.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import { AddressBook } from "./address-book.ts";
import { PROBE_OWNER, createProbeAddressPart } from "./probe-address-part.ts";

const OURS: ReadyEngineNetwork = { name: "apollo", fixedAddresses: true, ipRange: "10.2.1.0/25" };
const DEFAULT_BRIDGE: ReadyEngineNetwork = { name: "bridge", fixedAddresses: false, ipRange: "10.2.1.0/24" };

function open(blocks: readonly string[]) {
  const clock = new VirtualClock();
  const file = new MemoryFile("/data/addresses.json", clock);
  const log = recordingLog();
  const start = (book: AddressBook | null = null) => {
    const state = joinedState();
    state.identity = { ...IDENTITY, blocks };
    state.leaseProblem = null;
    state.setConnected(true);
    const world = { state, book: book ?? new AddressBook({ state, file, clock, log }), network: OURS, blocks };
    const engineNetwork = () => world.network;
    const stop = new AbortController();
    const part = createProbeAddressPart({ state, book: world.book, engineNetwork, clock, log });
    return { ...world, stop, set: (network: ReadyEngineNetwork) => (world.network = network), part };
  };
  return { clock, file, log, start };
}

test("an engine that gives out all of the block: the host takes an address of another one, and keeps it", async () => {
  const { clock, file, log, start } = open(["10.2.1.0/24", "10.2.9.0/24"]);
  const { state, book, stop, set, part } = start();
  set(DEFAULT_BRIDGE);
  state.setEngineRange(DEFAULT_BRIDGE.ipRange);
  book.see(new Set([parseIpv4("10.2.1.0")]), new Map());
  const running = part.run(stop.signal);
  await clock.advance(100);
  expect(String(state.probeAddress)).toBe("10.2.9.2");
  // Nobody else gets it.
  expect(String(await clock.settle(book.take("cni/a")))).toBe("10.2.9.3");
  stop.abort();
  await clock.settle(running);
  const next = joinedState();
  next.identity = { ...IDENTITY, blocks: ["10.2.1.0/24", "10.2.9.0/24"] };
  const known = await clock.settle(AddressBook.load({ state: next, file, clock, log }));
  // Known before anything was looked at.
  createProbeAddressPart({ state: next, book: known, engineNetwork: () => null, clock, log });
  expect(String(next.probeAddress)).toBe("10.2.9.2");
});

test("an engine that was told the lower half: the address is of the upper one, without a further block", async () => {
  const { clock, start } = open(["10.2.1.0/24"]);
  const { state, book, stop, set, part } = start();
  set({ ...DEFAULT_BRIDGE, ipRange: "10.2.1.0/25" });
  state.setEngineRange("10.2.1.0/25");
  book.see(new Set(), new Map());
  const running = part.run(stop.signal);
  await clock.advance(100);
  expect(String(state.probeAddress)).toBe("10.2.1.130");
  // The engine is started without our bridge again: the first address of the block is the host's.
  set(OURS);
  state.setEngineRange(OURS.ipRange);
  state.setConditions("network", []);
  await clock.advance(100);
  expect([state.probeAddress, book.addressOf(PROBE_OWNER)]).toEqual([null, null]);
  stop.abort();
  await clock.settle(running);
});

test("an engine that is started with all of the block now: the address is given up for one of another block", async () => {
  const { clock, start } = open(["10.2.1.0/24", "10.2.9.0/24"]);
  const { state, book, stop, set, part } = start();
  set({ ...DEFAULT_BRIDGE, ipRange: "10.2.1.0/25" });
  state.setEngineRange("10.2.1.0/25");
  book.see(new Set(), new Map());
  const running = part.run(stop.signal);
  await clock.advance(100);
  expect(String(state.probeAddress)).toBe("10.2.1.130");
  // What is known of the engine changes in two steps: nothing is taken in between.
  set(DEFAULT_BRIDGE);
  state.setConditions("network", []);
  await clock.advance(100);
  expect(String(state.probeAddress)).toBe("10.2.1.130");
  state.setEngineRange(DEFAULT_BRIDGE.ipRange);
  await clock.advance(100);
  expect(String(state.probeAddress)).toBe("10.2.9.2");
  stop.abort();
  await clock.settle(running);
});

test("no block has room: it is told once, tried again, and taken when a block comes", async () => {
  const { clock, log, start } = open(["10.2.1.0/24"]);
  const { state, book, stop, set, part } = start();
  set(DEFAULT_BRIDGE);
  state.setEngineRange(DEFAULT_BRIDGE.ipRange);
  book.see(new Set(), new Map());
  state.leaseProblem = { text: "All blocks are taken", hint: "" };
  const running = part.run(stop.signal);
  await clock.advance(200_000);
  expect(state.probeAddress).toBeNull();
  expect(log.lines.filter((line) => line.includes("All blocks are taken"))).toHaveLength(1);
  expect(state.conditions().map(({ code }) => code)).toEqual([]);
  state.identity = { ...IDENTITY, blocks: ["10.2.1.0/24", "10.2.9.0/24"] };
  state.leaseProblem = null;
  state.emit("identity");
  await clock.advance(100);
  expect(String(state.probeAddress)).toBe("10.2.9.2");
  stop.abort();
  await clock.settle(running);
});

test("a network that we made keeps the first address out: nothing is taken", async () => {
  const { clock, start } = open(["10.2.1.0/24", "10.2.9.0/24"]);
  const { state, book, stop, part } = start();
  state.setEngineRange(OURS.ipRange);
  book.see(new Set(), new Map());
  const running = part.run(stop.signal);
  await clock.advance(100);
  expect([state.probeAddress, book.owners().size]).toEqual([null, 0]);
  stop.abort();
  await clock.settle(running);
});
