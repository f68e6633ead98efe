/**
 * `GROUP_BY`: the groups of the app (values of a field) fill evenly. An instance may go to a group that has as few as the
 * emptiest one. With a number N, new groups are opened until N are in use, or until there is no other, and then no more.
 */
import type { Constraint } from "../model/app.ts";
import { fieldValue, formatConstraint, missing } from "./constraints.ts";
import type { TallyRule } from "./constraints.ts";
import type { HostLoad } from "./host-load.ts";

export class GroupRule implements TallyRule {
  readonly constraint: Constraint;
  readonly tally = new Map<string, number>();
  readonly #limit: number | null;
  /** Groups with a host that could take an instance: number of such cells of hosts. */
  readonly #open = new Map<string, number>();
  #least = 0;
  /** Groups at `#least`; the emptiest level is looked for anew when it reaches 0, which is once a round. */
  #atLeast = 0;

  constructor(constraint: Constraint) {
    this.constraint = constraint;
    this.#limit = constraint.value === null ? null : Number(constraint.value);
  }

  open(value: string): void {
    this.#open.set(value, (this.#open.get(value) ?? 0) + 1);
  }

  /** A cell of hosts of this group is full. True when that lets other groups go on. */
  shut(value: string): boolean {
    const left = (this.#open.get(value) ?? 1) - 1;
    if (left > 0) {
      this.#open.set(value, left);
      return false;
    }
    this.#open.delete(value);
    // A group with instances stays in the count, full or not: the spread is a rule, not a wish.
    if (this.tally.has(value) || !this.#opening()) return false;
    this.#atLeast -= 1;
    return this.#atLeast <= 0 ? this.settle() : false;
  }

  /** Finds the emptiest level anew; true when it changed. */
  settle(): boolean {
    const before = this.#least;
    const counts = new Map(this.tally);
    if (this.#opening()) for (const value of this.#open.keys()) counts.set(value, counts.get(value) ?? 0);
    this.#least = counts.size === 0 ? 0 : Math.min(...levels(counts));
    this.#atLeast = 0;
    for (const count of counts.values()) if (count === this.#least) this.#atLeast += 1;
    return this.#least !== before;
  }

  refuse(host: HostLoad): string | null {
    const value = fieldValue(host, this.constraint.field);
    if (value === undefined) return missing(this.constraint);
    const here = this.tally.get(value) ?? 0;
    if (here === 0 && this.#limit !== null && this.tally.size >= this.#limit) {
      return `constraint "${formatConstraint(this.constraint)}": ${this.#limit} groups are in use already`;
    }
    if (here <= this.#least) return null;
    return `constraint "${formatConstraint(this.constraint)}": "${value}" has ${here}, another group ${this.#least}`;
  }

  count(host: HostLoad): void {
    const value = fieldValue(host, this.constraint.field);
    if (value !== undefined) this.tally.set(value, (this.tally.get(value) ?? 0) + 1);
  }

  /** Counts an instance placed in this call; true when the emptiest level rose. */
  countPlaced(host: HostLoad): boolean {
    const opened = this.tally.size;
    this.count(host);
    this.#atLeast -= 1;
    const full = this.#limit !== null && this.tally.size !== opened && this.tally.size >= this.#limit;
    return this.#atLeast <= 0 || full ? this.settle() : false;
  }

  #opening(): boolean {
    return this.#limit === null || this.tally.size < this.#limit;
  }
}

function levels(counts: ReadonlyMap<string, number>): ReadonlySet<number> {
  return new Set(counts.values());
}
