import type { Ipv4 } from "../../model/ip.ts";

/** DNS answers that the kernel gives to containers on its own, without asking this process. All of it takes microseconds. */
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
  /** Answers are given at this address, and for 30 s without another call of this: whoever made them is alive. */
  renew(gateway: Ipv4): void;
}
