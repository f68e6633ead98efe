import { expect, test } from "bun:test";
import type { DeploymentJson, FeedMessage, FeedState } from "../api/native/shapes.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import { BEAT_MS, ConsoleFeed, type FeedClient } from "./console-feed.ts";

const deployment = (id: string, step: number): DeploymentJson => ({
  id,
  version: "v",
  apps: [],
  step,
  steps: 2,
  actions: [],
  startedAtMs: 0,
});
const stateOf = (...deployments: DeploymentJson[]): FeedState => ({
  hosts: [],
  apps: [],
  instances: [],
  services: [],
  deployments,
});

function setUp(costMs = 0) {
  let state = stateOf();
  let reads = 0;
  const time = new VirtualClock();
  // Reading the state takes time of the server's thread, which the virtual clock does not see by itself.
  const clock = {
    nowMs: () => time.nowMs(),
    monotonicMs: () => time.monotonicMs() + reads * costMs,
    sleep: (ms: number, signal?: AbortSignal) => time.sleep(ms, signal),
  };
  const source = (): FeedState => {
    reads += 1;
    return state;
  };
  const feed = new ConsoleFeed(source, clock);
  const join = (): { client: FeedClient; messages: FeedMessage[] } => {
    const messages: FeedMessage[] = [];
    const client = { send: (text: string): void => void messages.push(JSON.parse(text)) };
    feed.join(client);
    return { client, messages };
  };
  return { set: (next: FeedState) => (state = next), reads: () => reads, feed, time, join };
}

test("ConsoleFeed sends a snapshot, then whole changed objects and the keys that went", async () => {
  const { set, feed, time, join, reads } = setUp();
  const { messages } = join();
  set(stateOf(deployment("a", 1), deployment("b", 1)));
  feed.poke();
  feed.poke();
  await time.advance(60);
  set(stateOf(deployment("b", 2)));
  feed.poke();
  await time.advance(60);
  expect(messages).toEqual([
    { type: "snapshot", sequence: 0, state: stateOf() },
    { type: "delta", sequence: 1, put: { deployments: [deployment("a", 1), deployment("b", 1)] }, drop: {} },
    { type: "delta", sequence: 2, put: { deployments: [deployment("b", 2)] }, drop: { deployments: ["a"] } },
  ]);
  expect(reads()).toBe(3);
});

test("ConsoleFeed says nothing when nothing changed", async () => {
  const { feed, time, join } = setUp();
  const { messages } = join();
  feed.poke();
  await time.advance(BEAT_MS - 1);
  expect(messages.length).toBe(1);
});

test("ConsoleFeed gives a later client the state, and the earlier one what it did not have yet", () => {
  const { set, join } = setUp();
  const first = join();
  set(stateOf(deployment("a", 1)));
  const second = join();
  expect(first.messages.at(-1)).toMatchObject({ type: "delta", sequence: 1 });
  expect(second.messages).toEqual([{ type: "snapshot", sequence: 1, state: stateOf(deployment("a", 1)) }]);
});

test("ConsoleFeed beats while somebody listens, and tells then what nobody told it of", async () => {
  const { set, feed, time, join, reads } = setUp();
  const { client, messages } = join();
  const beat = (sequence: number): FeedMessage => ({ type: "delta", sequence, put: {}, drop: {} });
  await time.advance(2 * BEAT_MS);
  expect(messages.slice(1)).toEqual([beat(1), beat(2)]);
  set(stateOf(deployment("a", 1)));
  await time.advance(BEAT_MS);
  expect(messages.slice(3)).toEqual([
    { type: "delta", sequence: 3, put: { deployments: [deployment("a", 1)] }, drop: {} },
    beat(4),
  ]);
  feed.leave(client);
  const before = reads();
  feed.poke();
  await time.advance(5 * BEAT_MS);
  expect([messages.length, reads() - before, time.pending]).toEqual([5, 0, 0]);
  const again = join();
  await time.advance(BEAT_MS);
  expect(again.messages.map((message) => message.type)).toEqual(["snapshot", "delta"]);
});

test("ConsoleFeed waits longer between folds that cost more, and never longer than two seconds", async () => {
  for (const [costMs, waitMs] of [
    [1, 60],
    [30, 270],
    [5000, 2000],
  ] as const) {
    const { set, feed, time, join } = setUp(costMs);
    const { messages } = join();
    feed.flush();
    set(stateOf(deployment("a", costMs)));
    feed.poke();
    await time.advance(waitMs - 1);
    expect(messages.length).toBe(1);
    await time.advance(1);
    expect(messages.length).toBe(2);
  }
});
