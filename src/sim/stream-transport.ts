import { AppError } from "../model/error.ts";
import type { Transport, TransportConnection, TransportListener } from "../platform/ports/transport.ts";
import type { FakeTransport } from "./fake-transport.ts";
import type { SimProcess } from "./sim-process.ts";

export const SERVER_NODE = "server";

/** The agent's way to the server over the simulated network. A kill takes its streams along; a new one is not opened. */
export class StreamTransport implements Transport {
  readonly #network: FakeTransport;
  readonly #node: string;
  readonly #process: SimProcess;
  readonly #isDenied: () => boolean;

  /** @param isDenied whether the server knows no member with this node's credential */
  constructor(network: FakeTransport, node: string, process: SimProcess, isDenied: () => boolean = () => false) {
    this.#isDenied = isDenied;
    this.#network = network;
    this.#node = node;
    this.#process = process;
  }

  async connect(_url: string, listener: TransportListener): Promise<TransportConnection> {
    const process = this.#process;
    const stream = await this.#network.connect(this.#node, SERVER_NODE);
    if (this.#isDenied()) {
      stream.close();
      throw new AppError("denied", "Cannot connect to the server: it does not take this host's credential");
    }
    // The process was killed meanwhile: its machine answers with a reset.
    if (!process.alive) {
      stream.close();
      return new Promise(() => {});
    }
    stream.onFrame = (frame) => process.enter(() => listener.frame(frame));
    stream.onClose = () => process.enter(() => listener.closed("the connection was lost"));
    return { send: (frame) => stream.send(frame), bufferedBytes: () => 0, close: () => stream.close() };
  }
}
