import { AppError } from "../model/error.ts";
import type { AgentMessage, ServerMessage } from "../model/wire.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Transport, TransportConnection, TransportListener } from "../platform/ports/transport.ts";

/** One agent's connection as the server sees it. */
export interface FakeServerEnd {
  readonly url: string;
  /** What the agent sent, in order. */
  readonly received: readonly AgentMessage[];
  send(message: ServerMessage): void;
  close(reason: string): void;
  readonly open: boolean;
}

/** A network to servers in memory; frames take `latencyMs` each way and stay in order. */
export class FakeTransport implements Transport {
  readonly #clock: Clock;
  readonly #latencyMs: number;
  /** Servers that answer now. */
  readonly reachable = new Set<string>();
  /** Every connection so far. */
  readonly connections: FakeServerEnd[] = [];
  /** When which server was tried. */
  readonly attempts: { readonly url: string; readonly atMs: number }[] = [];
  onConnect: (end: FakeServerEnd) => void = () => undefined;
  onMessage: (end: FakeServerEnd, message: AgentMessage) => void = () => undefined;
  /** Bytes that the agent is told wait to be sent. */
  bufferedBytes = 0;

  constructor(clock: Clock, latencyMs = 1) {
    this.#clock = clock;
    this.#latencyMs = latencyMs;
  }

  async connect(url: string, listener: TransportListener): Promise<TransportConnection> {
    this.attempts.push({ url, atMs: this.#clock.nowMs() });
    await this.#clock.sleep(this.#latencyMs);
    if (!this.reachable.has(url)) throw new AppError("unavailable", `Cannot connect to server ${url}: connection refused`);
    let open = true;
    const received: AgentMessage[] = [];
    const close = (reason: string): void => {
      if (!open) return;
      open = false;
      listener.closed(reason);
    };
    const end: FakeServerEnd = {
      url,
      received,
      get open() {
        return open;
      },
      send: (message) => {
        const frame = JSON.stringify(message);
        void this.#clock.sleep(this.#latencyMs).then(() => open && listener.frame(frame));
      },
      close,
    };
    this.connections.push(end);
    this.onConnect(end);
    return {
      send: (frame) => {
        if (!open) return;
        const message = JSON.parse(frame) as AgentMessage;
        void this.#clock.sleep(this.#latencyMs).then(() => {
          received.push(message);
          this.onMessage(end, message);
        });
      },
      bufferedBytes: () => this.bufferedBytes,
      close: () => close("closed by the agent"),
    };
  }
}
