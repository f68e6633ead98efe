import type { Ipv4 } from "../../model/ip.ts";
import type { HostAddress } from "../../model/ip6.ts";

/** Answers a datagram; null drops it. Called once per datagram, must not throw. */
export type DatagramHandler = (
  datagram: Uint8Array,
  peer: { readonly address: string; readonly port: number },
  reply: (bytes: Uint8Array) => void,
) => void;

/** Answers one length-prefixed TCP message (RFC 1035 §4.2.2) after another on a connection. */
export type MessageHandler = (message: Uint8Array, reply: (bytes: Uint8Array) => void) => void;

export interface Binding {
  readonly address: string;
  readonly port: number;
  close(): void;
}

export interface DatagramClient {
  /**
   * Sends a datagram from a port of its own and resolves with the first answer from that address that begins with the
   * same two bytes (the DNS message id), or null at the deadline or when nobody listens there. Never rejects.
   */
  ask(datagram: Uint8Array, server: HostAddress, port: number, timeoutMs: number): Promise<Uint8Array | null>;
  /** The same over TCP with length prefixes (RFC 1035 §4.2.2), for answers that do not fit a datagram. */
  askStream(message: Uint8Array, server: Ipv4, port: number, timeoutMs: number): Promise<Uint8Array | null>;
}

/** Sockets for DNS. @throws AppError `conflict` when the address is taken, `unavailable` when it is not there yet. */
export interface Listener {
  bindUdp(address: string, port: number, handler: DatagramHandler): Promise<Binding>;
  /** Idle connections are closed after 10 s; at most 1,024 at once. */
  bindTcp(address: string, port: number, handler: MessageHandler): Promise<Binding>;
}
