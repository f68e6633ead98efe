import { expect, test } from "bun:test";
import type { DeploymentJson, FeedMessage, FeedState } from "../api/native/shapes.ts";
import type { Clock } from "../platform/ports/clock.ts";
import { ConsoleFeed } from "./console-feed.ts";

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

function setUp(): {
  set: (state: FeedState) => void;
  feed: ConsoleFeed;
  messages: FeedMessage[];
  turn: () => Promise<void>;
} {
  let state = stateOf();
  let wake = (): void => undefined;
  const clock: Clock = {
    nowMs: () => 0,
    monotonicMs: () => 0,
    sleep: () => new Promise((resolve) => (wake = resolve)),
  };
  const messages: FeedMessage[] = [];
  const feed = new ConsoleFeed(() => state, clock);
  feed.join({ send: (message) => messages.push(message) });
  const turn = async (): Promise<void> => {
    wake();
    await Promise.resolve();
  };
  return { set: (next) => (state = next), feed, messages, turn };
}

test("ConsoleFeed sends a snapshot, then whole changed objects and the keys that went", async () => {
  const { set, feed, messages, turn } = setUp();
  set(stateOf(deployment("a", 1), deployment("b", 1)));
  feed.poke();
  feed.poke();
  await turn();
  set(stateOf(deployment("b", 2)));
  feed.poke();
  await turn();
  expect(messages).toEqual([
    { type: "snapshot", sequence: 0, state: stateOf() },
    { type: "delta", sequence: 1, put: { deployments: [deployment("a", 1), deployment("b", 1)] }, drop: {} },
    { type: "delta", sequence: 2, put: { deployments: [deployment("b", 2)] }, drop: { deployments: ["a"] } },
  ]);
});

test("ConsoleFeed says nothing when nothing changed", async () => {
  const { feed, messages, turn } = setUp();
  feed.poke();
  await turn();
  expect(messages.length).toBe(1);
});
