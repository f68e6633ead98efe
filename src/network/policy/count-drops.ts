/**
 * Counters that outlive those of the kernel: every change of our rules makes new ones that begin at zero. What is counted
 * between the last look and the change is lost, so it is looked at often.
 */
export class DropTotals {
  readonly #totals = new Map<string, number>();
  #last: ReadonlyMap<string, number> = new Map();

  /** Takes what the kernel says now. */
  observe(counters: ReadonlyMap<string, number>): void {
    for (const [name, packets] of counters) {
      const last = this.#last.get(name) ?? 0;
      const more = packets >= last ? packets - last : packets;
      if (more > 0) this.#totals.set(name, (this.#totals.get(name) ?? 0) + more);
    }
    this.#last = counters;
  }

  of(name: string): number {
    return this.#totals.get(name) ?? 0;
  }
}
