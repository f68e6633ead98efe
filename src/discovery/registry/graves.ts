/** Keys that are gone and when: what watchers of a prefix need to learn of deletions between two polls. */
import { SortedKeys } from "./sorted-keys.ts";

/** The older half is forgotten when there are more. */
const GRAVES_MAX = 50_000;

export class Graves {
  readonly #indexes = new Map<string, number>();
  readonly #keys = new SortedKeys();

  dig(key: string, index: number): void {
    this.#indexes.delete(key);
    this.#indexes.set(key, index);
    this.#keys.add(key);
  }

  /** The key is back. */
  fill(key: string): void {
    if (this.#indexes.delete(key)) this.#keys.delete(key);
  }

  indexOf(key: string): number {
    return this.#indexes.get(key) ?? 0;
  }

  /** Latest deletion below the prefix, 0 for none known. */
  latestBelow(prefix: string): number {
    let latest = 0;
    for (const key of this.#keys.withPrefix(prefix)) latest = Math.max(latest, this.#indexes.get(key) ?? 0);
    return latest;
  }

  /** Makes room; gives the latest index that was forgotten, 0 for none. */
  forget(): number {
    if (this.#indexes.size <= GRAVES_MAX) return 0;
    let latest = 0;
    for (const [key, index] of [...this.#indexes].slice(0, GRAVES_MAX / 2)) {
      latest = Math.max(latest, index);
      this.fill(key);
    }
    return latest;
  }
}
