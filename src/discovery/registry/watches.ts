/**
 * Who waits for what. A topic is the name of something a query depends on; each has the index of its last change. Topics of
 * things that are gone are kept for a while, so that a client that looks between two polls still learns of the end; when too
 * many have gathered, the floor rises instead (docs/consul-api.md).
 */
import type { Deadlines } from "./deadlines.ts";

/** A query depends on topics, on one KV key, or on all KV keys below a prefix. */
export type Interest =
  | { readonly kind: "topic"; readonly topic: string }
  | { readonly kind: "key"; readonly key: string }
  | { readonly kind: "keys"; readonly prefix: string };

interface Waiter {
  wake(): void;
}

export interface WaitOptions {
  readonly ms: number;
  readonly signal: AbortSignal;
}

export type Woken = "changed" | "timeout" | "aborted";

/** Ends of things that are remembered one by one. */
const RETIRED_MAX = 50_000;

export class Watches {
  readonly #deadlines: Deadlines;
  readonly #topics = new Map<string, number>();
  /** Topics of things that are gone, oldest first. */
  readonly #retired = new Set<string>();
  readonly #waiters = new Map<string, Set<Waiter>>();
  readonly #keyWaiters = new Map<string, Set<Waiter>>();
  readonly #prefixWaiters = new Map<string, Set<Waiter>>();
  /** Lengths of the prefixes that somebody waits for, with how many. */
  readonly #prefixLengths = new Map<number, number>();
  #floor: number;
  readonly #ends = new Set<(woken: Woken) => void>();

  constructor(deadlines: Deadlines, floor: number) {
    this.#deadlines = deadlines;
    this.#floor = floor;
  }

  /** What is not known to have changed later has this index. */
  get floor(): number {
    return this.#floor;
  }

  get waiting(): number {
    return this.#ends.size;
  }

  /** Index of the topic's last change. */
  indexOf(topic: string): number {
    return Math.max(this.#topics.get(topic) ?? 0, this.#floor);
  }

  /** Whether anything is known of the topic, be it that it is gone. */
  knows(topic: string): boolean {
    return this.#topics.has(topic);
  }

  /** Raises the floor: everybody with an older index is answered at once. */
  raiseFloor(index: number): void {
    this.#floor = Math.max(this.#floor, index);
  }

  /** Notes changes and wakes who waits for them. `retired`: those of the topics whose things are gone. */
  touch(topics: Iterable<string>, index: number, retired: ReadonlySet<string> = new Set()): void {
    for (const topic of topics) {
      this.#topics.set(topic, index);
      this.#retired.delete(topic);
      if (retired.has(topic)) this.#retired.add(topic);
      wakeAll(this.#waiters.get(topic));
    }
    while (this.#retired.size > RETIRED_MAX) this.#forgetOldest();
  }

  /** Wakes who waits for the key or a prefix of it. Its index is kept by who keeps the keys. */
  touchKey(key: string): void {
    wakeAll(this.#keyWaiters.get(key));
    for (const length of this.#prefixLengths.keys()) {
      if (length <= key.length) wakeAll(this.#prefixWaiters.get(key.slice(0, length)));
    }
  }

  /** Waits for the next change of any of the interests. */
  wait(interests: readonly Interest[], { ms, signal }: WaitOptions): Promise<Woken> {
    if (signal.aborted) return Promise.resolve("aborted");
    return new Promise((resolve) => {
      const end = (woken: Woken): void => {
        for (const interest of interests) this.#leave(interest, waiter);
        signal.removeEventListener("abort", onAbort);
        deadline.cancel();
        this.#ends.delete(end);
        resolve(woken);
      };
      const waiter: Waiter = { wake: () => end("changed") };
      const onAbort = (): void => end("aborted");
      const deadline = this.#deadlines.after(ms, () => end("timeout"));
      signal.addEventListener("abort", onAbort);
      for (const interest of interests) this.#join(interest, waiter);
      this.#ends.add(end);
    });
  }

  /** Lets everybody go. */
  close(): void {
    for (const end of this.#ends) end("aborted");
  }

  #join(interest: Interest, waiter: Waiter): void {
    if (interest.kind === "topic") return addTo(this.#waiters, interest.topic, waiter);
    if (interest.kind === "key") return addTo(this.#keyWaiters, interest.key, waiter);
    const { length } = interest.prefix;
    this.#prefixLengths.set(length, (this.#prefixLengths.get(length) ?? 0) + 1);
    addTo(this.#prefixWaiters, interest.prefix, waiter);
  }

  #leave(interest: Interest, waiter: Waiter): void {
    if (interest.kind === "topic") return dropFrom(this.#waiters, interest.topic, waiter);
    if (interest.kind === "key") return dropFrom(this.#keyWaiters, interest.key, waiter);
    const { length } = interest.prefix;
    const left = (this.#prefixLengths.get(length) ?? 1) - 1;
    if (left === 0) this.#prefixLengths.delete(length);
    else this.#prefixLengths.set(length, left);
    dropFrom(this.#prefixWaiters, interest.prefix, waiter);
  }

  #forgetOldest(): void {
    // Half at once: the floor moves once for many.
    for (const topic of [...this.#retired].slice(0, RETIRED_MAX / 2)) {
      this.#floor = Math.max(this.#floor, this.#topics.get(topic) ?? 0);
      this.#topics.delete(topic);
      this.#retired.delete(topic);
    }
  }
}

function wakeAll(waiters: ReadonlySet<Waiter> | undefined): void {
  // Each takes itself out meanwhile, which a Set allows.
  for (const waiter of waiters ?? []) waiter.wake();
}

function addTo(map: Map<string, Set<Waiter>>, key: string, waiter: Waiter): void {
  const group = map.get(key) ?? new Set<Waiter>();
  map.set(key, group.add(waiter));
}

function dropFrom(map: Map<string, Set<Waiter>>, key: string, waiter: Waiter): void {
  const group = map.get(key);
  group?.delete(waiter);
  if (group?.size === 0) map.delete(key);
}
