import { AppError } from "../../../model/error.ts";
import type { Ipv4 } from "../../../model/ip.ts";
import { NO_ADDRESS } from "../../ports/host-network.ts";
import type { HostSeat, KernelAnswers } from "../../ports/kernel-answers.ts";
import type { BpfHandle } from "./bpf-kernel.ts";
import { DNS_SIZES, decodeGeneration, encodeAnswers, encodeDnsState } from "./encode-answers.ts";
import type { OpenPrograms } from "./program-store.ts";

/** As long as a restart of the agent takes, with room; afterwards nobody speaks for one that is dead. */
const VALID_NS = 30_000_000_000n;

/** The maps for DNS of the fast path's programs. */
export class LinuxKernelAnswers implements KernelAnswers {
  readonly #programs: () => OpenPrograms | null;
  /** Those that we have begun a generation in; in others what an agent before us left still counts. */
  #begun: OpenPrograms | null = null;
  #generation = 0;
  #serial = 0;
  #gateway: Ipv4 = NO_ADDRESS;
  #seats: readonly HostSeat[] = [];
  #validUntilNs = 0n;

  /** `programs`: null while the kernel has none. */
  constructor(programs: () => OpenPrograms | null) {
    this.#programs = programs;
  }

  isReady(): boolean {
    return this.#own() !== null;
  }

  forget(): void {
    const programs = this.#own();
    if (programs === null) return;
    this.#generation = (this.#generation + 1) >>> 0;
    this.#write(programs);
  }

  put(question: Uint8Array, answers: readonly Uint8Array[]): void {
    const programs = this.#own();
    if (programs === null) return;
    this.#serial = (this.#serial + 1) >>> 0;
    const entry = encodeAnswers(question, answers, { serial: this.#serial, generation: this.#generation });
    if (entry === null) return;
    try {
      programs.kernel.update(mapOf(programs, "dns_answers"), entry.key, entry.value);
    } catch (error) {
      // No memory now, say. The question then comes again.
      if (!(error instanceof AppError)) throw error;
    }
  }

  renew(gateway: Ipv4, seats: readonly HostSeat[]): void {
    this.#gateway = gateway;
    this.#seats = seats;
    const programs = this.#programs();
    if (programs === null) return;
    if (programs !== this.#begun) this.#begin(programs);
    this.#validUntilNs = programs.kernel.nowNs() + VALID_NS;
    this.#write(programs);
  }

  /** To be called when there are programs: whoever renewed before did so for nobody. */
  opened(): void {
    if (this.#gateway !== NO_ADDRESS) this.renew(this.#gateway, this.#seats);
  }

  #own(): OpenPrograms | null {
    const programs = this.#programs();
    return programs === this.#begun ? programs : null;
  }

  #begin(programs: OpenPrograms): void {
    const [only] = programs.kernel.entries(mapOf(programs, "dns_state"), DNS_SIZES.dns_state);
    const last = only === undefined ? 0 : decodeGeneration(only.value);
    this.#generation = (last + 1) >>> 0;
    // Some number that the process before us has hardly come to.
    this.#serial = Number(programs.kernel.nowNs() & 0xffffffffn);
    this.#begun = programs;
  }

  #write(programs: OpenPrograms): void {
    const { key, value } = encodeDnsState({
      generation: this.#generation,
      validUntilNs: this.#validUntilNs,
      gateway: this.#gateway,
      seats: this.#seats,
    });
    programs.kernel.update(mapOf(programs, "dns_state"), key, value);
  }
}

function mapOf({ maps }: OpenPrograms, name: keyof typeof DNS_SIZES): BpfHandle {
  const handle = maps.get(name);
  if (handle === undefined) throw new Error(`There is no map ${name}`);
  return handle;
}
