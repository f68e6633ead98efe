import { networkInterfaces } from "node:os";
import type { Clock } from "../ports/clock.ts";

/** Asking the kernel for all addresses costs some 50 µs; one that came a moment ago is nobody's yet. */
const FRESH_MS = 1000;

/** The addresses of this machine: the kernel takes no packet from outside that says it comes from one of them. */
export class OwnAddresses {
  readonly #clock: Clock;
  readonly #read: () => Iterable<string>;
  #known: ReadonlySet<string> = new Set();
  #readAtMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, read: () => Iterable<string> = readAddresses) {
    this.#clock = clock;
    this.#read = read;
  }

  /** An address as sockets give it: IPv4 may come as `::ffff:192.0.2.1`. */
  has(address: string): boolean {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#readAtMs >= FRESH_MS) {
      this.#known = new Set(this.#read());
      this.#readAtMs = nowMs;
    }
    return this.#known.has(address.replace(/^::ffff:/, ""));
  }
}

function readAddresses(): Iterable<string> {
  return Object.values(networkInterfaces()).flatMap((all = []) => all.map(({ address }) => address));
}
