import { expect, test } from "bun:test";
import { AppError } from "../model/error.ts";
import { FakeTransport } from "./fake-transport.ts";
import type { FrameStream } from "./fake-transport.ts";
import { SeededRandom } from "./seeded-random.ts";
import { VirtualClock } from "./virtual-clock.ts";

interface Pair {
  readonly clock: VirtualClock;
  readonly transport: FakeTransport;
  readonly agent: FrameStream;
  /** What the server got, and "closed". */
  readonly atServer: string[];
  readonly atAgent: string[];
  readonly server: () => FrameStream;
}

async function connected(seed = 1): Promise<Pair> {
  const clock = new VirtualClock();
  const transport = new FakeTransport({ clock, random: new SeededRandom(seed) });
  const [atServer, atAgent]: [string[], string[]] = [[], []];
  const accepted: FrameStream[] = [];
  transport.listen("server", (stream) => {
    accepted.push(stream);
    record(stream, atServer);
  });
  const agent = await clock.settle(transport.connect("h1", "server"));
  record(agent, atAgent);
  const server = (): FrameStream => {
    const [stream] = accepted;
    if (stream === undefined) throw new Error("It was accepted");
    return stream;
  };
  return { clock, transport, agent, atServer, atAgent, server };
}

function record(stream: FrameStream, into: string[]): void {
  stream.onFrame = (frame) => into.push(frame);
  stream.onClose = () => into.push("closed");
}

test("FakeTransport delivers frames in order, after a delay of each", async () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const { clock, agent, atServer, server, atAgent } = await connected(seed);
    const frames = Array.from({ length: 20 }, (_, at) => String(at));
    for (const frame of frames) agent.send(frame);
    server().send("hello");
    expect(atServer).toEqual([]);
    await clock.advance(1000);
    expect(atServer).toEqual(frames);
    expect(atAgent).toEqual(["hello"]);
  }
});

test("FakeTransport holds frames back in a cut direction only, until it is mended", async () => {
  const { clock, transport, agent, server, atServer, atAgent } = await connected();
  transport.cut("h1", "server");
  agent.send("1");
  agent.send("2");
  server().send("a");
  await clock.advance(1000);
  expect([atServer, atAgent]).toEqual([[], ["a"]]);
  transport.mend("h1", "server");
  await clock.advance(1000);
  expect(atServer).toEqual(["1", "2"]);
});

test("FakeTransport breaks a stream that stays cut, and each end learns it", async () => {
  const { clock, transport, agent, atServer, atAgent } = await connected();
  transport.partition("h1", "server");
  agent.send("1");
  await clock.advance(30_000);
  expect([atServer, atAgent]).toEqual([["closed"], ["closed"]]);
  transport.mendAll();
  agent.send("2");
  await clock.advance(30_000);
  expect(atServer).toEqual(["closed"]);
});

test("FakeTransport tells the peer of a crash, and resets one that could not be told", async () => {
  const { clock, transport, agent, atAgent, atServer } = await connected();
  transport.crash("server");
  await clock.advance(1000);
  expect([atServer, atAgent]).toEqual([[], ["closed"]]);
  const later = await connected();
  later.transport.cut("server", "h1");
  later.transport.crash("server");
  await later.clock.advance(2000);
  expect(later.atAgent).toEqual([]);
  later.agent.send("is anyone there");
  later.transport.mend("server", "h1");
  await later.clock.advance(2000);
  expect(later.atAgent).toEqual(["closed"]);
  agent.close();
});

test("FakeTransport closes both ends, and refuses to connect where nobody is", async () => {
  const { clock, transport, agent, atServer, atAgent } = await connected();
  agent.send("last");
  await clock.advance(100);
  agent.close();
  await clock.advance(1000);
  expect([atServer, atAgent]).toEqual([["last", "closed"], ["closed"]]);
  const refused = await clock.settle(transport.connect("h1", "nobody").catch((error: unknown) => error));
  expect(refused).toBeInstanceOf(AppError);
  transport.cut("h1", "server");
  expect(await clock.settle(transport.connect("h1", "server").catch((error: unknown) => error))).toBeInstanceOf(AppError);
  expect(() => transport.listen("server", () => {})).toThrow("already");
});
