import { type Ipv4, isIpv4 } from "../../model/ip.ts";
import type { HostAddress } from "../../model/ip6.ts";
import type { Clock } from "../ports/clock.ts";
import type { DatagramClient } from "../ports/listener.ts";
import { FrameReader, frame } from "./stream-frame.ts";

/** Asks other DNS servers. Each question has a socket of its own, so its port is as hard to guess as the kernel makes it. */
export class BunDatagramClient implements DatagramClient {
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  ask(datagram: Uint8Array, server: HostAddress, port: number, timeoutMs: number): Promise<Uint8Array | null> {
    return this.#untilDeadline(timeoutMs, async (settle) => {
      // A connected socket takes datagrams from that peer alone and hears of a closed port at once.
      const socket = await Bun.udpSocket({
        ...(isIpv4(server) ? {} : { hostname: "::" }),
        connect: { hostname: server, port },
        socket: {
          data: (_, answer) => {
            if (answer[0] === datagram[0] && answer[1] === datagram[1]) settle(new Uint8Array(answer));
          },
          error: () => settle(null),
        },
      });
      socket.send(datagram);
      return () => socket.close();
    });
  }

  askStream(message: Uint8Array, server: Ipv4, port: number, timeoutMs: number): Promise<Uint8Array | null> {
    return this.#untilDeadline(timeoutMs, async (settle) => {
      const reader = new FrameReader();
      let rest: Uint8Array = frame(message);
      const write = (socket: Bun.Socket): void => {
        rest = rest.subarray(Math.max(0, socket.write(rest)));
      };
      const socket = await Bun.connect({
        hostname: server,
        port,
        socket: {
          open: write,
          drain: write,
          data: (_, bytes) => {
            const answer = reader.push(bytes)[0];
            if (answer !== undefined) settle(answer);
          },
          close: () => settle(null),
          error: () => settle(null),
          connectError: () => settle(null),
        },
      });
      return () => socket.terminate();
    });
  }

  /** Runs `start` until it settles or the time is over, then calls the clean-up it gave. */
  async #untilDeadline(
    timeoutMs: number,
    start: (settle: (answer: Uint8Array | null) => void) => Promise<() => void>,
  ): Promise<Uint8Array | null> {
    const deadline = new AbortController();
    let found: Uint8Array | null = null;
    const settle = (answer: Uint8Array | null): void => {
      if (deadline.signal.aborted) return;
      found = answer;
      deadline.abort();
    };
    // A connection that is still being made at the deadline is closed as soon as it is there.
    const started = start(settle).then(
      (stop) => {
        if (deadline.signal.aborted) stop();
        else deadline.signal.addEventListener("abort", stop, { once: true });
      },
      () => settle(null),
    );
    await this.#clock.sleep(timeoutMs, deadline.signal);
    deadline.abort();
    void started;
    return found;
  }
}
