import type { HostId } from "../model/ids.ts";
import type { AgentMessage, ChannelRequest } from "../model/wire.ts";
import type { AgentSession } from "./agent-session.ts";

/** The client's end of a logs or exec stream. */
export interface ChannelClient {
  output(stream: "stdout" | "stderr", bytes: Uint8Array): void;
  end(exitCode: number | null, error: string | null): void;
}

interface OpenChannel {
  readonly session: AgentSession;
  readonly client: ChannelClient;
}

/** Streams between clients and containers, carried by the agents' connections. */
export class ChannelTable {
  readonly #open = new Map<number, OpenChannel>();
  #next = 1;

  /** Starts a stream; what the container says arrives at `client`. */
  open(session: AgentSession, request: ChannelRequest, client: ChannelClient): number {
    const channel = this.#next;
    this.#next += 1;
    this.#open.set(channel, { session, client });
    session.connection.send({ type: "open", channel, request });
    return channel;
  }

  input(channel: number, bytes: Uint8Array): void {
    this.#open
      .get(channel)
      ?.session.connection.send({ type: "data", channel, bytes: Buffer.from(bytes).toString("base64") });
  }

  /** The client's input ended: an empty data message says so. */
  endInput(channel: number): void {
    this.#open.get(channel)?.session.connection.send({ type: "data", channel, bytes: "" });
  }

  resize(channel: number, columns: number, rows: number): void {
    this.#open.get(channel)?.session.connection.send({ type: "resize", channel, columns, rows });
  }

  /** The client went away. */
  abandon(channel: number): void {
    const open = this.#open.get(channel);
    if (open === undefined) return;
    this.#open.delete(channel);
    open.session.connection.send({ type: "close", channel });
  }

  data(hostId: HostId, message: AgentMessage & { type: "data" }): void {
    this.#of(hostId, message.channel)?.client.output(message.stream, Buffer.from(message.bytes, "base64"));
  }

  close(hostId: HostId, message: AgentMessage & { type: "close" }): void {
    const open = this.#of(hostId, message.channel);
    if (open === null) return;
    this.#open.delete(message.channel);
    open.client.end(message.exitCode, message.error);
  }

  closeHost(hostId: HostId): void {
    for (const [channel, open] of this.#open) {
      if (open.session.hostId !== hostId) continue;
      this.#open.delete(channel);
      open.client.end(null, "the connection to the host was lost");
    }
  }

  /** A host may only speak on channels that were opened to it. */
  #of(hostId: HostId, channel: number): OpenChannel | null {
    const open = this.#open.get(channel);
    return open !== undefined && open.session.hostId === hostId ? open : null;
  }
}
