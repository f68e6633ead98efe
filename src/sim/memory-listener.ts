import { AppError } from "../model/error.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Binding, DatagramClient, DatagramHandler, Listener, MessageHandler } from "../platform/ports/listener.ts";

const LATENCY_MS = 1;

/** Sockets of one host in memory: what is bound can be asked without a network. */
export class MemoryListener implements Listener {
  readonly #clock: Clock;
  /** Whether an address is the host's own now. */
  readonly #isOwn: (address: string) => boolean;
  readonly #bound = new Map<string, MessageHandler>();

  constructor(clock: Clock, isOwn: (address: string) => boolean) {
    this.#clock = clock;
    this.#isOwn = isOwn;
  }

  /** As `udp ADDRESS:PORT`, sorted. */
  bindings(): readonly string[] {
    return [...this.#bound.keys()].toSorted();
  }

  /** The answer to a TCP message, if it comes at once; null when nobody listens or the answer takes time. */
  ask(address: string, port: number, message: Uint8Array): Uint8Array | null {
    let answer: Uint8Array | null = null;
    this.#bound.get(`tcp ${address}:${port}`)?.(message, (bytes) => {
      answer = bytes;
    });
    return answer;
  }

  bindUdp(address: string, port: number, handler: DatagramHandler): Promise<Binding> {
    const peer = { address: "127.0.0.1", port: 40_000 };
    return this.#bind("udp", { address, port }, (message, reply) => handler(message, peer, reply));
  }

  bindTcp(address: string, port: number, handler: MessageHandler): Promise<Binding> {
    return this.#bind("tcp", { address, port }, handler);
  }

  async #bind(
    protocol: "udp" | "tcp",
    { address, port }: { readonly address: string; readonly port: number },
    handler: MessageHandler,
  ): Promise<Binding> {
    await this.#clock.sleep(LATENCY_MS);
    const key = `${protocol} ${address}:${port}`;
    if (!this.#isOwn(address)) throw new AppError("unavailable", `Cannot bind ${key}: cannot assign requested address`);
    if (this.#bound.has(key)) throw new AppError("conflict", `Cannot bind ${key}: address already in use`);
    this.#bound.set(key, handler);
    return { address, port, close: () => void this.#bound.delete(key) };
  }
}

/** An outside world in which no name server answers. */
export const silentDatagrams: DatagramClient = {
  ask: () => Promise.resolve(null),
  askStream: () => Promise.resolve(null),
};
