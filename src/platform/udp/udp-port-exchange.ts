import type { Clock } from "../ports/clock.ts";
import type { Exchanged, PortExchange } from "../ports/host-examiner.ts";

/** Each peer hears of us several times within the shortest window: single packets get lost anywhere. */
const SEND_EVERY_MS = 300;
const NAME_CHARACTERS_MAX = 253;
const MARK = "apollo-doctor";

/** By plain UDP sockets on all addresses of the network namespace that this process is in. */
export class UdpPortExchange implements PortExchange {
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async exchange(want: Parameters<PortExchange["exchange"]>[0]): Promise<Exchanged> {
    const { token, self, peers, ports, forMs } = want;
    const heard = new Map<string, { readonly from: string; readonly port: number }>();
    const hear = (bytes: Uint8Array, port: number): void => {
      const [mark, secret, from = ""] = new TextDecoder().decode(bytes).split(" ");
      if (mark !== MARK || secret !== token || from.length > NAME_CHARACTERS_MAX) return;
      if (peers.some(({ name }) => name === from)) heard.set(`${from} ${port}`, { from, port });
    };
    const opened = await Promise.all(ports.map(async (port) => ({ port, socket: await open(port, hear) })));
    const sender = await Bun.udpSocket({});
    const word = `${MARK} ${token} ${self}`;
    const endMs = this.#clock.monotonicMs() + forMs;
    while (this.#clock.monotonicMs() < endMs) {
      for (const { address } of peers) for (const port of ports) send(sender, word, port, address);
      await this.#clock.sleep(SEND_EVERY_MS);
    }
    sender.close();
    for (const { socket } of opened) socket?.close();
    return {
      opened: opened.flatMap(({ port, socket }) => (socket === null ? [] : [port])),
      heard: [...heard.values()].toSorted((a, b) => a.port - b.port || (a.from < b.from ? -1 : 1)),
    };
  }
}

type Socket = Bun.udp.Socket<"buffer">;

/** Null when somebody has the port: the kernel for a tunnel of ours, or a program. */
async function open(port: number, hear: (bytes: Uint8Array, port: number) => void): Promise<Socket | null> {
  try {
    return await Bun.udpSocket({ hostname: "0.0.0.0", port, socket: { data: (_, bytes) => hear(bytes, port) } });
  } catch {
    return null;
  }
}

/** A way that the kernel knows to be closed is as good as a packet that is lost. */
function send(socket: Socket, word: string, port: number, address: string): void {
  try {
    socket.send(word, port, address);
  } catch {
    return;
  }
}
