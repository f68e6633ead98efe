import { expect, test } from "bun:test";
import fc from "fast-check";
import { BunListener } from "./bun-listener.ts";
import { FrameReader, frame } from "./stream-frame.ts";

test("FrameReader gives back what frame() wrapped, however it is cut", () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 700 }), { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 400 })),
      (messages, cuts) => {
        const stream = new Uint8Array(messages.flatMap((message) => [...frame(message)]));
        const reader = new FrameReader();
        const seen: Uint8Array[] = [];
        let offset = 0;
        for (let turn = 0; offset < stream.length; turn++) {
          const end = offset + (cuts[turn % Math.max(1, cuts.length)] ?? 1);
          seen.push(...reader.push(stream.subarray(offset, end)));
          offset = end;
        }
        expect(seen.map((each) => [...each])).toEqual(messages.map((each) => [...each]));
      },
    ),
  );
});

/** 150 datagrams: the kernel holds some 250 small ones for a socket whose program is busy, and drops more. */
test("BunListener answers every datagram of a burst to the one who sent it", async () => {
  const binding = await new BunListener().bindUdp("127.0.0.1", 0, (datagram, _, reply) =>
    reply(new Uint8Array(datagram)),
  );
  const clients = await Promise.all(
    [1, 2, 3].map(async (client) => {
      const answers = new Set<number>();
      const { promise, resolve } = Promise.withResolvers<void>();
      const socket = await Bun.udpSocket({
        connect: { hostname: "127.0.0.1", port: binding.port },
        socket: {
          data: (_, bytes) => {
            expect(bytes[0]).toBe(client);
            answers.add(bytes[1] ?? 0);
            if (answers.size === 50) resolve();
          },
        },
      });
      socket.sendMany(Array.from({ length: 50 }, (_, index) => new Uint8Array([client, index])));
      return { socket, promise };
    }),
  );
  await Promise.all(clients.map(({ promise }) => promise));
  for (const { socket } of clients) socket.close();
  binding.close();
});

test("BunListener answers messages on one connection, also pipelined and cut into bytes", async () => {
  const binding = await new BunListener().bindTcp("127.0.0.1", 0, (message, reply) =>
    reply(new Uint8Array(message.toReversed())),
  );
  const { promise, resolve } = Promise.withResolvers<void>();
  const reader = new FrameReader();
  const answers: string[] = [];
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port: binding.port,
    socket: {
      data: (_, bytes) => {
        answers.push(...reader.push(bytes).map((each) => [...each].join(" ")));
        if (answers.length === 3) resolve();
      },
    },
  });
  socket.write(new Uint8Array([...frame(new Uint8Array([1, 2])), ...frame(new Uint8Array([3, 4]))]));
  for (const byte of frame(new Uint8Array([5, 6]))) socket.write(new Uint8Array([byte]));
  await promise;
  expect(answers).toEqual(["2 1", "4 3", "6 5"]);
  socket.terminate();
  binding.close();
});

test("BunListener gives a client that reads slowly all of a large answer", async () => {
  const large = new Uint8Array(60_000).map((_, index) => index % 251);
  const binding = await new BunListener().bindTcp("127.0.0.1", 0, (_, reply) => reply(large));
  const { promise, resolve } = Promise.withResolvers<void>();
  const reader = new FrameReader();
  let count = 0;
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port: binding.port,
    socket: {
      data: (_, bytes) => {
        for (const answer of reader.push(bytes)) {
          expect(answer).toEqual(large);
          count += 1;
        }
        if (count === 15) resolve();
      },
    },
  });
  socket.pause();
  socket.write(new Uint8Array(Array.from({ length: 15 }, () => [...frame(new Uint8Array([0]))]).flat()));
  setImmediate(() => socket.resume());
  await promise;
  socket.terminate();
  binding.close();
});

test("BunListener cuts off a client that asks and does not read", async () => {
  const large = new Uint8Array(60_000);
  const binding = await new BunListener().bindTcp("127.0.0.1", 0, (_, reply) => reply(large));
  const { promise, resolve } = Promise.withResolvers<void>();
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port: binding.port,
    socket: { data: () => undefined, close: () => resolve(), error: () => resolve() },
  });
  socket.pause();
  const asks = new Uint8Array(Array.from({ length: 500 }, () => [...frame(new Uint8Array([0]))]).flat());
  socket.write(asks);
  setImmediate(() => socket.resume());
  await promise;
  binding.close();
});

test("BunListener closes a connection that sends a part of a message and stalls", async () => {
  const binding = await new BunListener({ idleSeconds: 1 }).bindTcp("127.0.0.1", 0, (message, reply) => reply(message));
  const { promise, resolve } = Promise.withResolvers<void>();
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port: binding.port,
    socket: { data: () => undefined, close: () => resolve(), error: () => resolve() },
  });
  // A byte now and then, as those send who want to hold connections open.
  socket.write(new Uint8Array([0, 40]));
  const drip = setInterval(() => socket.write(new Uint8Array([7])), 300);
  await promise;
  clearInterval(drip);
  binding.close();
});

test("BunListener gives one client 128 connections and takes others after it has closed them", async () => {
  const binding = await new BunListener().bindTcp("127.0.0.1", 0, (message, reply) => reply(message));
  let refused = 0;
  let answered = 0;
  const { promise, resolve } = Promise.withResolvers<void>();
  const settle = (): void => {
    if (refused + answered === 140) resolve();
  };
  const open = (): Promise<Bun.Socket> => {
    let seen = false;
    const once = (count: () => void): void => {
      if (!seen) count();
      seen = true;
      settle();
    };
    return Bun.connect({
      hostname: "127.0.0.1",
      port: binding.port,
      socket: {
        open: (socket) => void socket.write(frame(new Uint8Array([9]))),
        data: () => once(() => (answered += 1)),
        close: () => once(() => (refused += 1)),
        error: () => undefined,
      },
    });
  };
  const sockets = await Promise.all(Array.from({ length: 140 }, open));
  await promise;
  expect([answered, refused]).toEqual([128, 12]);
  for (const socket of sockets) socket.terminate();
  binding.close();
});

test("BunListener serves IPv6", async () => {
  const binding = await new BunListener().bindUdp("::1", 0, (message, _, reply) => reply(new Uint8Array(message)));
  const { promise, resolve } = Promise.withResolvers<number>();
  const socket = await Bun.udpSocket({
    hostname: "::1",
    connect: { hostname: "::1", port: binding.port },
    socket: { data: (_, bytes) => resolve(bytes[0] ?? 0) },
  });
  socket.send(new Uint8Array([42]));
  expect(await promise).toBe(42);
  socket.close();
  binding.close();
});
