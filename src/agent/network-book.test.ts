import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseIpv4 } from "../model/ip.ts";
import { EMPTY_NETWORK_CONFIG, parseNetworkObject } from "../model/network-config.ts";
import { IDENTITY, joinedState, recordingLog } from "../sim/agent-fixtures.ts";
import { MemoryFile } from "../sim/memory-file.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import type { AgentState } from "./agent-state.ts";
import { NetworkBook } from "./network-book.ts";

const BLOCK = "10.9.0.0/28";

function open(networks: Readonly<Record<string, readonly string[]>>) {
  const clock = new VirtualClock();
  const file = new MemoryFile("/data/network-addresses.json", clock);
  const start = async (): Promise<{ readonly state: AgentState; readonly book: NetworkBook }> => {
    const state = joinedState();
    state.identity = { ...IDENTITY, networks };
    const declared = ["a", "b"].map((name, at) =>
      parseNetworkObject("network", { name, range: "10.9.0.0/24", mode: "layer2", vni: 1000 + at }),
    );
    state.networkConfig = { ...EMPTY_NETWORK_CONFIG, networks: declared };
    state.setConnected(true);
    return { state, book: await clock.settle(NetworkBook.load({ state, file, clock, log: recordingLog() })) };
  };
  return { clock, file, start };
}

const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "taken",
    (error: unknown) => String((error as { readonly code?: string }).code),
  );

test("networks with the same range have books of their own, on disk; gateway and ends are nobody's", async () => {
  const { clock, start } = open({ a: [BLOCK], b: [BLOCK] });
  const { book } = await start();
  const take = (network: string, owner: string) => clock.settle(book.take(network, owner));
  expect([await take("a", "x"), await take("b", "y")].map(String)).toEqual(["10.9.0.2", "10.9.0.2"]);
  expect(String(await take("a", "x"))).toBe("10.9.0.2");
  expect(String(await take("a", "z"))).toBe("10.9.0.3");
  const wish = (address: string) => clock.settle(codeOf(book.take("a", address, parseIpv4(address))));
  expect(await Promise.all(["10.9.0.0", "10.9.0.1", "10.9.0.3", "10.9.0.9", "10.9.0.99"].map(wish))).toEqual([
    "invalid",
    "conflict",
    "conflict",
    "taken",
    "invalid",
  ]);
  expect(await clock.settle(codeOf(book.take("none", "x")))).toBe("not-found");
  const next = await start();
  expect(Object.fromEntries<string>(next.book.owners())).toEqual({
    x: "10.9.0.2",
    y: "10.9.0.2",
    z: "10.9.0.3",
    "10.9.0.9": "10.9.0.9",
  });
});

test("the first owner asks for a block and waits for it; after the last one it is offered back", async () => {
  const { clock, start } = open({});
  const { state, book } = await start();
  book.publish();
  expect(state.networkUse).toEqual({});
  const taking = book.take("a", "x");
  await clock.advance(10);
  expect(state.networkUse).toMatchObject({ a: { waiting: 1, blocks: [] } });
  state.receive({ type: "blocks", blocks: IDENTITY.blocks, leaseProblem: null, networks: { a: [BLOCK] } });
  expect(String(await clock.settle(taking))).toBe("10.9.0.2");
  expect(state.networkUse).toMatchObject({ a: { waiting: 0, total: 13, free: 12, offered: [] } });
  await clock.settle(book.release("x"));
  await clock.advance(30_000);
  book.publish();
  expect(state.networkUse).toMatchObject({ a: { offered: [BLOCK], total: 0 } });
  state.receive({ type: "blocks", blocks: IDENTITY.blocks, leaseProblem: null });
  expect(state.networkUse).toEqual({});
});

test("a server that has none says why at once, one that says nothing is given three seconds", async () => {
  const { clock, start } = open({});
  const { state, book } = await start();
  const late = book.take("a", "x").catch((error: unknown) => error);
  await clock.advance(3100);
  expect(await late).toMatchObject({ code: "unavailable", hint: "Try again" });
  const networkProblems = { a: { text: "All is leased", hint: "Remove hosts" } };
  state.receive({ type: "blocks", blocks: IDENTITY.blocks, leaseProblem: null, networkProblems });
  expect(await clock.settle(book.take("a", "x").catch((error: unknown) => error))).toMatchObject({
    hint: "Remove hosts",
  });
});

test("no two owners of a network have one address, over any order of takes, releases and restarts", async () => {
  const step = fc.record({
    kind: fc.constantFrom("take", "release", "restart"),
    network: fc.constantFrom("a", "b"),
    owner: fc.constantFrom("1", "2", "3", "4", "5", "6", "7"),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      const { clock, start, file } = open({ a: ["10.9.0.0/29"], b: ["10.9.0.0/29"] });
      let { book } = await start();
      for (const { kind, network, owner } of steps) {
        const name = `${network}/${owner}`;
        if (kind === "take") await clock.settle(codeOf(book.take(network, name)));
        if (kind === "release") await clock.settle(book.release(name));
        if (kind === "restart") ({ book } = await start());
        const held = [...book.owners()].map(([each, address]) => `${each[0]} ${address}`);
        expect(new Set(held).size).toBe(held.length);
      }
      expect(file.text === null || JSON.parse(file.text) !== null).toBe(true);
    }),
    { numRuns: 40 },
  );
});
