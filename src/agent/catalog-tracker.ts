/** What changed in the catalog since its reader last looked: a reader with an index of its own then looks at that alone. */
export class CatalogTracker {
  #ids: Set<string> | null = null;

  note(ids: Iterable<string>): void {
    for (const id of ids) this.#ids?.add(id);
  }

  /** Everything may be other. */
  noteAll(): void {
    this.#ids = null;
  }

  /** Ids that came, changed or went; null for all. */
  take(): ReadonlySet<string> | null {
    const ids = this.#ids;
    this.#ids = new Set();
    return ids;
  }
}
