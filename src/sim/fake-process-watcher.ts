import type { ProcessWatcher } from "../platform/ports/process-watcher.ts";

interface Watch {
  readonly pid: number;
  readonly group: string;
  readonly onEnd: () => void;
}

/** Processes in memory; a process that was never started here cannot be watched. */
export class FakeProcessWatcher implements ProcessWatcher {
  /** By number: the path of its control group. */
  readonly #processes = new Map<number, string>();
  readonly #watches = new Set<Watch>();

  start(pid: number, group: string): void {
    this.#processes.set(pid, group);
  }

  end(pid: number): void {
    this.#processes.delete(pid);
    for (const watch of this.#watches) {
      if (watch.pid !== pid) continue;
      this.#watches.delete(watch);
      watch.onEnd();
    }
  }

  watched(): readonly number[] {
    return [...this.#watches].map(({ pid }) => pid).toSorted((a, b) => a - b);
  }

  watch(pid: number, group: string, onEnd: () => void): (() => void) | null {
    if (this.#processes.get(pid)?.includes(group) !== true) return null;
    const watch = { pid, group, onEnd };
    this.#watches.add(watch);
    return () => void this.#watches.delete(watch);
  }
}
