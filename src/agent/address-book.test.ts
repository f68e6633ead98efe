import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Ipv4 } from "../model/ip.ts";
import { parseIpv4 } from "../model/ip.ts";
import { IDENTITY, joinedState, recordingLog } from "../sim/agent-fixtures.ts";
import { MemoryFile } from "../sim/memory-file.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import { AddressBook, QUIET_MS, REST_MS } from "./address-book.ts";
import type { AgentState } from "./agent-state.ts";

const FIRST = "10.2.1.0/28";
const FURTHER = "10.2.9.0/28";

function openWorld(blocks: readonly string[] = [FIRST, FURTHER]) {
  const clock = new VirtualClock();
  const file = new MemoryFile("/data/addresses.json", clock);
  const log = recordingLog();
  const make = (): { state: AgentState; book: AddressBook } => {
    const state = joinedState();
    state.identity = { ...IDENTITY, blocks };
    state.leaseProblem = null;
    state.setConnected(true);
    return { state, book: new AddressBook({ state, file, clock, log }) };
  };
  const reload = async (): Promise<AddressBook> => {
    const state = joinedState();
    state.identity = { ...IDENTITY, blocks };
    return clock.settle(AddressBook.load({ state, file, clock, log }));
  };
  return { clock, file, ...make(), reload };
}

const none: ReadonlySet<Ipv4> = new Set();
const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "taken",
    (error: unknown) => String((error as { readonly code?: string }).code),
  );

test("take() gives each owner an address of a further block, the same one again, also to the next agent", async () => {
  const { clock, book, reload } = openWorld();
  book.see(none, new Map());
  const [a, b] = await clock.settle(Promise.all([book.take("cni/a"), book.take("cni/b")]));
  expect([a, b].map(String)).toEqual(["10.2.9.2", "10.2.9.3"]);
  expect(await clock.settle(book.take("cni/a"))).toBe(a);
  const next = await reload();
  expect(await clock.settle(next.take("cni/b"))).toBe(b);
  expect(next.used()).toEqual(new Set([a, b]));
});

test("take() with a wish: only of a further block, and not what somebody has", async () => {
  const { clock, book } = openWorld();
  book.see(new Set([parseIpv4("10.2.9.7")]), new Map([["web", parseIpv4("10.2.9.8")]]));
  const take = (owner: string, wanted: string) => clock.settle(codeOf(book.take(owner, parseIpv4(wanted))));
  expect(await take("a", "10.2.9.5")).toBe("taken");
  expect(await take("b", "10.2.9.5")).toBe("conflict");
  expect(await take("b", "10.2.9.7")).toBe("conflict");
  expect(await take("b", "10.2.9.8")).toBe("conflict");
  expect(await take("b", "10.2.1.5")).toBe("invalid");
  expect(await take("b", "10.9.9.9")).toBe("invalid");
  expect(await take("a", "10.2.9.6")).toBe("conflict");
});

test("a released address rests before another owner gets it", async () => {
  const { clock, book } = openWorld([FIRST, "10.2.9.0/29"]);
  book.see(none, new Map());
  const all: Ipv4[] = [];
  for (const owner of ["a", "b", "c", "d"]) all.push(await clock.settle(book.take(owner)));
  await clock.settle(book.release("b"));
  // The fifth and last address was never used.
  expect(await clock.settle(book.take("e"))).toBe(parseIpv4("10.2.9.6"));
  await clock.settle(book.release("a"));
  // b rested longer, and nothing else is left.
  expect(await clock.settle(book.take("f"))).toBe(all[1] ?? parseIpv4("0.0.0.0"));
  await clock.advance(REST_MS);
  expect(await clock.settle(book.take("g"))).toBe(all[0] ?? parseIpv4("0.0.0.0"));
});

test("without room take() tells the server, waits for a further block, and gives up with the reason", async () => {
  const { clock, state, book } = openWorld([FIRST]);
  book.see(none, new Map());
  const taking = book.take("a");
  await clock.advance(10);
  expect(state.addressUse).toMatchObject({ waiting: 1, free: 13 });
  state.receive({ type: "blocks", blocks: [FIRST, FURTHER], leaseProblem: null });
  expect(String(await clock.settle(taking))).toBe("10.2.9.2");
  expect(state.addressUse).toMatchObject({ waiting: 0 });

  state.receive({ type: "blocks", blocks: [FIRST], leaseProblem: { text: "All is leased", hint: "Remove hosts" } });
  const failed = await clock.settle(book.take("b").catch((error: unknown) => error));
  expect(failed).toMatchObject({ code: "unavailable", hint: "Remove hosts" });
  expect(book.addressOf("a")).toBeNull();
});

test("before containers were seen nothing is handed out, and nothing by a host that was removed", async () => {
  const { clock, state, book } = openWorld();
  const early = codeOf(book.take("a"));
  await clock.advance(4000);
  expect(await early).toBe("unavailable");
  book.see(none, new Map());
  state.refuse({ code: "host-removed", text: "removed", hint: "join again" });
  expect(await clock.settle(codeOf(book.take("a")))).toBe("unavailable");
});

test("an address that cannot be noted on disk is not handed out", async () => {
  const { clock, file, book } = openWorld();
  book.see(none, new Map());
  file.full = true;
  expect(await clock.settle(codeOf(book.take("a")))).toBe("unavailable");
  expect(book.used().size).toBe(0);
});

test("a quiet further block is offered, is not used from then on, and is forgotten when the server has it", async () => {
  const { clock, state, book } = openWorld([FIRST, "10.2.9.0/27", FURTHER.replace("9.0", "9.32")]);
  const look = (): void => book.see(none, new Map());
  look();
  await clock.advance(QUIET_MS - 1);
  look();
  expect(state.addressUse?.offered).toEqual([]);
  await clock.advance(1);
  look();
  expect(state.addressUse).toMatchObject({ offered: ["10.2.9.32/28"], total: 13 + 30 });
  expect(book.openBlocks()).toEqual([FIRST, "10.2.9.0/27"]);
  state.receive({ type: "blocks", blocks: [FIRST, "10.2.9.0/27"], leaseProblem: null });
  // The first alone would be short of spare ones: the other stays.
  expect(state.addressUse?.offered).toEqual([]);
});

test("a full first block is told with an address that works, an exhausted host with the reason", () => {
  const { state, book } = openWorld();
  const all = Array.from({ length: 13 }, (_, at) => parseIpv4(`10.2.1.${at + 2}`));
  book.see(new Set(all), new Map());
  expect(state.conditions()).toMatchObject([
    { code: "first-block-full", hint: expect.stringContaining("--ip 10.2.9.2") },
  ]);
  state.receive({ type: "blocks", blocks: [FIRST], leaseProblem: { text: "All is leased", hint: "Remove hosts" } });
  expect(state.conditions()).toMatchObject([{ code: "addresses-exhausted", hint: "Remove hosts" }]);
  book.see(none, new Map());
  expect(state.conditions()).toEqual([]);
});

test("no two owners ever have one address, over any order of takes, releases, restarts and containers", async () => {
  const step = fc.record({
    kind: fc.constantFrom("take", "release", "restart", "containers"),
    owner: fc.constantFrom("a", "b", "c", "d", "e"),
    at: fc.nat({ max: 13 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      const { clock, book: first, reload } = openWorld([FIRST, "10.2.9.0/29"]);
      let book = first;
      let engine: ReadonlySet<Ipv4> = none;
      book.see(engine, new Map());
      for (const { kind, owner, at } of steps) {
        if (kind === "take") await clock.settle(codeOf(book.take(owner)));
        if (kind === "release") await clock.settle(book.release(owner));
        if (kind === "restart") book = await reload();
        // The engine hands out of the first block alone.
        if (kind === "containers") engine = new Set([parseIpv4(`10.2.1.${at}`)]);
        book.see(engine, new Map());
        const held = [...book.owners().values(), ...engine];
        expect(new Set(held).size).toBe(held.length);
      }
    }),
    { numRuns: 50 },
  );
});

test("the half of the first block that the engine was not told to hand out comes before further blocks", async () => {
  const { clock, state, book } = openWorld(["10.2.1.0/24", FURTHER]);
  state.setEngineRange("10.2.1.0/25");
  book.see(none, new Map());
  const take = (owner: string, wanted: string) => clock.settle(codeOf(book.take(owner, parseIpv4(wanted))));
  expect(String(await clock.settle(book.take("a")))).toBe("10.2.1.130");
  expect(await take("b", "10.2.1.200")).toBe("taken");
  expect(await take("c", "10.2.1.77")).toBe("invalid");
  expect(await take("c", "10.2.1.255")).toBe("invalid");
  const upper = Array.from({ length: 125 }, (_, at) => parseIpv4(`10.2.1.${at + 130}`));
  book.see(new Set(upper), new Map());
  expect(String(await clock.settle(book.take("d")))).toBe("10.2.9.1");
});
