import type { Ipv4 } from "../../model/ip.ts";
import type { HostAddress } from "../../model/ip6.ts";

/** Where programs of the host itself ask us. */
export interface HostSeat {
  readonly address: HostAddress;
  readonly port: number;
  /** Nobody's questions but our own, which are no use of the kernel's answers. */
  readonly uncounted?: boolean;
}

/**
 * DNS answers that the kernel gives to containers and to the host itself on its own, without asking this process. All of it takes
 * microseconds.
 */
export interface KernelAnswers {
  /** Whether anything that is put has a place. */
  isReady(): boolean;
  /**
   * Nothing that was put before is given any more once this returns: to be called after every change of what the answers
   * were made from, before anyone is told of the change. While the kernel has no place for answers this does nothing.
   */
  forget(): void;
  /**
   * From now on these are given to the same question, one at random each time; of several ones every few hundredth question comes here
   * nevertheless, so that new ones are drawn. Bytes as they go over the network; all answers have the same length. What does
   * not fit is left out.
   */
  put(question: Uint8Array, answers: readonly Uint8Array[]): void;
  /**
   * Answers are given to containers at port 53 of this address, and to the host at these few seats, for 30 s without another
   * call of this: whoever made them is alive.
   */
  renew(gateway: Ipv4, seats: readonly HostSeat[]): void;
}
