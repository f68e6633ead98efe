import { isIpv4 } from "../../model/ip.ts";
import type { Clock } from "../ports/clock.ts";
import type { Exchanged, PortExchange } from "../ports/host-examiner.ts";

/** Each peer hears of us several times within the shortest window: single packets get lost anywhere. */
const SEND_EVERY_MS = 300;
const NAME_CHARACTERS_MAX = 253;
const MARK = "apollo-doctor";
const ANY = "0.0.0.0";
const ANY6 = "::";

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
    const senders = { four: await Bun.udpSocket({ hostname: ANY }), six: await bind(ANY6) };
    const word = `${MARK} ${token} ${self}`;
    const endMs = this.#clock.monotonicMs() + forMs;
    while (this.#clock.monotonicMs() < endMs) {
      for (const { address } of peers) {
        const sender = isIpv4(address) ? senders.four : senders.six;
        if (sender !== null) for (const port of ports) send(sender, word, port, address);
      }
      await this.#clock.sleep(SEND_EVERY_MS);
    }
    senders.four.close();
    senders.six?.close();
    for (const { socket } of opened) socket?.close();
    return {
      opened: opened.flatMap(({ port, socket }) => (socket === null ? [] : [port])),
      heard: [...heard.values()].toSorted((a, b) => a.port - b.port || (a.from < b.from ? -1 : 1)),
    };
  }
}

type Socket = Bun.udp.Socket<"buffer">;

/** Of both families, or IPv4's where the kernel has no other. Null when somebody has the port: the kernel for a tunnel of ours, or a program. */
async function open(port: number, hear: (bytes: Uint8Array, port: number) => void): Promise<Socket | null> {
  const socket = { data: (_: unknown, bytes: Uint8Array) => hear(bytes, port) };
  return (await bind(ANY6, port, socket)) ?? bind(ANY, port, socket);
}

async function bind(hostname: string, port = 0, socket: Bun.udp.SocketHandler<"buffer"> = {}): Promise<Socket | null> {
  try {
    return await Bun.udpSocket({ hostname, port, socket });
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
