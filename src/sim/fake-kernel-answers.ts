import type { Ipv4 } from "../model/ip.ts";
import type { HostSeat, KernelAnswers } from "../platform/ports/kernel-answers.ts";

const ID_BYTES = 2;

/** The kernel's answers in memory. Time does not pass: they are valid once somebody has said so. */
export class FakeKernelAnswers implements KernelAnswers {
  /** Where it answers; null before anyone said so. */
  gateway: Ipv4 | null = null;
  /** Where it answers the host itself. */
  seats: readonly HostSeat[] = [];
  readonly #answers = new Map<string, readonly Uint8Array[]>();

  isReady(): boolean {
    return this.gateway !== null;
  }

  forget(): void {
    this.#answers.clear();
  }

  put(question: Uint8Array, answers: readonly Uint8Array[]): void {
    const [first] = answers;
    if (first === undefined || answers.some(({ length }) => length !== first.length)) return;
    if (this.gateway !== null) this.#answers.set(keyOf(question), answers.map((answer) => answer.slice(ID_BYTES))); // prettier-ignore
  }

  renew(gateway: Ipv4, seats: readonly HostSeat[]): void {
    this.gateway = gateway;
    this.seats = seats;
  }

  /** All that it could say to this question, as its sender would see it; [] when the question goes to the agent. */
  ask(question: Uint8Array): readonly Uint8Array[] {
    const found = this.#answers.get(keyOf(question)) ?? [];
    return found.map((rest) => Uint8Array.of(...question.subarray(0, ID_BYTES), ...rest));
  }
}

function keyOf(question: Uint8Array): string {
  return Buffer.from(question.subarray(ID_BYTES)).toString("hex");
}
