import { expect, test } from "bun:test";
import { FakeCluster } from "../../test/console/fake-cluster.ts";
import { FeedClient, RETRY_FIRST_MS, RETRY_MAX_MS, SILENCE_MS, parseFeedMessage, retryWaitMs } from "./feed-client.ts";
import { FeedStore } from "./feed-store.ts";

type Events = { onMessage(data: unknown): void; onClose(): void };

/** Sockets, session and clock under the test's hand. */
class FakeWorld {
  readonly sockets: { readonly events: Events; closed: boolean }[] = [];
  readonly cluster = new FakeCluster({ hosts: 1, apps: [{ id: "/web", instances: 1 }] });
  session: "good" | "refused" | "unreachable" = "good";
  #nowMs = 0;
  #timers: { readonly atMs: number; readonly run: () => void }[] = [];

  client(): { client: FeedClient; store: FeedStore } {
    const store = new FeedStore();
    const client = new FeedClient(store, {
      openSocket: (events) => {
        const socket = { events, closed: false };
        this.sockets.push(socket);
        return { close: () => (socket.closed = true) };
      },
      checkSession: () => Promise.resolve(this.session),
      nowMs: () => this.#nowMs,
      after: (waitMs, run) => {
        const timer = { atMs: this.#nowMs + waitMs, run };
        this.#timers.push(timer);
        return () => (this.#timers = this.#timers.filter((other) => other !== timer));
      },
      random: () => 0.5,
    });
    return { client, store };
  }

  send(message: unknown): void {
    this.sockets.at(-1)?.events.onMessage(JSON.stringify(message));
  }

  advance(milliseconds: number): void {
    this.#nowMs += milliseconds;
    const due = this.#timers.filter((timer) => timer.atMs <= this.#nowMs);
    this.#timers = this.#timers.filter((timer) => timer.atMs > this.#nowMs);
    for (const timer of due) timer.run();
  }
}

test("open() is live from the snapshot on", () => {
  const world = new FakeWorld();
  const { client, store } = world.client();
  client.open();
  expect(client.connection().state).toBe("connecting");
  world.send(world.cluster.snapshot());
  expect(client.connection().state).toBe("live");
  expect(store.view().hosts.length).toBe(1);
});

test("a lost socket is opened again after growing waits, and keeps showing the last state", () => {
  const world = new FakeWorld();
  const { client, store } = world.client();
  client.open();
  world.send(world.cluster.snapshot());
  world.sockets.at(-1)?.events.onClose();
  expect(client.connection()).toEqual({ state: "reconnecting", lostAtMs: 0, retryAtMs: RETRY_FIRST_MS });
  expect(store.view().hosts.length).toBe(1);
  world.advance(RETRY_FIRST_MS);
  expect(world.sockets.length).toBe(2);
  world.sockets.at(-1)?.events.onClose();
  // The time of the loss stays that of the first: it says how old the state is.
  expect(client.connection()).toEqual({ state: "reconnecting", lostAtMs: 0, retryAtMs: 3 * RETRY_FIRST_MS });
  world.advance(2 * RETRY_FIRST_MS);
  world.send(world.cluster.snapshot());
  expect(client.connection().state).toBe("live");
});

test("a sequence gap asks for a new snapshot at once", () => {
  const world = new FakeWorld();
  const { client } = world.client();
  client.open();
  world.send(world.cluster.snapshot());
  world.send({ type: "delta", sequence: 1_000_000, put: {}, drop: {} });
  expect(world.sockets.map((socket) => socket.closed)).toEqual([true, false]);
  world.send(world.cluster.snapshot());
  expect(client.connection().state).toBe("live");
});

test("a refused session ends the tries", async () => {
  const world = new FakeWorld();
  world.session = "refused";
  const { client } = world.client();
  client.open();
  world.sockets.at(-1)?.events.onClose();
  await Promise.resolve();
  expect(client.connection().state).toBe("signed-out");
  world.advance(RETRY_MAX_MS * 2);
  expect(world.sockets.length).toBe(1);
});

test("silence is a loss only where the server sends beats", () => {
  const world = new FakeWorld();
  const { client, store } = world.client();
  client.open();
  world.send(world.cluster.snapshot());
  world.advance(SILENCE_MS * 3);
  expect(client.connection().state).toBe("live");
  world.send({ type: "delta", sequence: (store.view().sequence ?? 0) + 1, put: {}, drop: {} });
  world.advance(SILENCE_MS);
  expect(client.connection().state).toBe("reconnecting");
});

test("what a closed socket still says is not listened to", () => {
  const world = new FakeWorld();
  const { client, store } = world.client();
  client.open();
  const [old] = world.sockets;
  client.open();
  old?.events.onMessage(JSON.stringify(world.cluster.snapshot()));
  old?.events.onClose();
  expect(store.view().sequence).toBeNull();
  expect(client.connection().state).toBe("connecting");
});

test("retryWaitMs() doubles to its limit, a quarter by chance", () => {
  expect([0, 1, 2, 3].map((attempt) => retryWaitMs(attempt, 0.5))).toEqual([500, 1000, 2000, 4000]);
  expect(retryWaitMs(50, 1)).toBe(RETRY_MAX_MS * 1.25);
  expect(retryWaitMs(50, 0)).toBe(RETRY_MAX_MS * 0.75);
});

test("parseFeedMessage() passes over what it does not know", () => {
  for (const data of [null, 7, "", "{", "null", '"x"', "{}", '{"type":"later"}', new ArrayBuffer(2)]) {
    expect(parseFeedMessage(data)).toBeNull();
  }
  expect(parseFeedMessage('{"type":"delta","sequence":1,"put":{},"drop":{}}')?.type).toBe("delta");
});
