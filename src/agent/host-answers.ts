/**
 * Whether the kernel may answer the host's own questions. Its answer is the packet of the question, written over: to the host's
 * connection table it is still the question, so rules that let in what belongs to a connection and nothing else drop it, where the
 * agent's own answer would pass. Nobody can read that out of the rules; so the agent asks itself, where only the kernel can answer, and
 * the kernel gets those addresses at which that came back.
 */
import { CLASS_IN, FLAG_RESPONSE, TYPE_A } from "../discovery/dns/wire-format.ts";
import type { HostAddress } from "../model/ip6.ts";
import type { HostSeat, KernelAnswers } from "../platform/ports/kernel-answers.ts";
import type { DatagramClient } from "../platform/ports/listener.ts";
import type { Log } from "../platform/ports/log.ts";

export interface HostAnswersOptions {
  readonly kernel: KernelAnswers | null;
  readonly datagrams: Pick<DatagramClient, "ask">;
  readonly log: Log;
}

/** The discard port (RFC 863): whatever came by there to somebody would be thrown away. */
const PROBE_PORT = 9;
const PROBE_TIMEOUT_MS = 500;
/** The programs come when they come, some seconds after a start at most. */
const EARLY_LOOKS = 20;
/** Whatever changes the zone takes all answers back, and may do so between putting this one and asking for it. */
const TRIES = 2;
/** No name of anybody's (RFC 6761 §6.4). */
const NAME = ["apollo-probe", "invalid"];
const QUESTION = probeMessage(0);
const ANSWER = probeMessage(FLAG_RESPONSE);

export class HostAnswers {
  readonly #options: HostAnswersOptions;
  #arrives: ReadonlySet<HostAddress> = new Set();
  #looks = 0;

  constructor(options: HostAnswersOptions) {
    this.#options = options;
  }

  /** Whether answers of the kernel come back from there. */
  arrivesAt(address: HostAddress): boolean {
    return this.#arrives.has(address);
  }

  /** False while another look is worth it soon. */
  isSettled(): boolean {
    return this.#options.kernel === null || this.#arrives.size > 0 || this.#looks >= EARLY_LOOKS;
  }

  /** What the kernel is to answer for when these are served: those found good, and where to find that out of all. */
  seats(served: readonly HostSeat[]): readonly HostSeat[] {
    const probes = served.map(({ address }) => ({ address, port: PROBE_PORT, uncounted: true }));
    return [...probes, ...served.filter(({ address }) => this.#arrives.has(address))];
  }

  /** Asks at each; `seats` must be in force. True when the outcome is another than the last time. */
  async look(served: readonly HostSeat[]): Promise<boolean> {
    const { log } = this.#options;
    this.#looks += 1;
    const found = await Promise.all(
      served.map(async ({ address }) => ((await this.#answers(address)) ? [address] : [])),
    );
    const arrives = new Set(found.flat());
    const before = this.#arrives;
    const same = before.size === arrives.size && [...arrives].every((address) => before.has(address));
    this.#arrives = arrives;
    if (!same) log.info("the kernel answers the host's own DNS questions", { at: [...arrives] });
    return !same;
  }

  async #answers(address: HostAddress): Promise<boolean> {
    const { kernel, datagrams } = this.#options;
    for (let turn = 0; turn < TRIES && kernel !== null && kernel.isReady(); turn++) {
      kernel.put(QUESTION, [ANSWER]);
      const answer = await datagrams.ask(QUESTION, address, PROBE_PORT, PROBE_TIMEOUT_MS);
      if (answer !== null && Buffer.compare(answer, ANSWER) === 0) return true;
    }
    return false;
  }
}

/** RFC 1035 §4.1, with one question and no records. */
function probeMessage(flags: number): Uint8Array {
  const name = NAME.flatMap((label) => [label.length, ...Buffer.from(label)]);
  return Uint8Array.of(0, 1, flags >>> 8, flags & 0xff, 0, 1, 0, 0, 0, 0, 0, 0, ...name, 0, 0, TYPE_A, 0, CLASS_IN);
}
