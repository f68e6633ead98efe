import type { HostAddress } from "../../model/ip6.ts";

/** What a received datagram came from; bytes belong to the caller. */
export type ProbeReceiver = (bytes: Uint8Array, from: HostAddress) => void;

export interface ProbeSocket {
  /** False when this host could not send it (no route, larger than the device carries): as good as lost on the way. */
  send(bytes: Uint8Array, to: HostAddress): boolean;
  close(): void;
}

/**
 * UDP sockets that send each datagram whole or not at all ("do not fragment"), whatever the kernel believes of the path:
 * what arrives has been carried in one piece (RFC 8899).
 */
export interface ProbeSockets {
  /**
   * All sockets share one port; of several the one bound to exactly the address that a datagram is for receives it, and
   * "0.0.0.0" the rest, of both families. @throws AppError `conflict` when the port is taken, `unavailable` when the address is not there yet.
   */
  open(address: string, receive: ProbeReceiver): Promise<ProbeSocket>;
}
