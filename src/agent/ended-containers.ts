import type { Container } from "../model/container.ts";
import type { ProcessWatcher } from "../platform/ports/process-watcher.ts";

/** One life of a container: its first process, from one start to one end. */
interface Life {
  readonly pid: number;
  readonly startedAtMs: number | null;
  readonly stop: () => void;
  ended: boolean;
}

/**
 * Containers whose first process has ended, though the engine says that they run. Docker 20.10 takes 40 to 140 ms to tell
 * of a death, the kernel less than one. What is known here is only that such a container serves nobody any more; why it ended,
 * and whether it comes back, is the engine's to say. Without the early word all is the same, later.
 */
export class EndedContainers {
  readonly #watcher: ProcessWatcher;
  readonly #onEnd: () => void;
  readonly #lives = new Map<string, Life>();

  constructor(watcher: ProcessWatcher, onEnd: () => void) {
    this.#watcher = watcher;
    this.#onEnd = onEnd;
  }

  /** Watches exactly these from now on, as the engine describes them. Repeatable; one that could not be watched is tried again. */
  follow(containers: readonly Container[]): void {
    const seen = new Map(containers.map((container) => [container.id, container]));
    for (const id of this.#lives.keys()) {
      const container = seen.get(id);
      if (container === undefined || this.#lifeOf(container) === null) this.forget(id);
    }
    for (const container of containers) if (!this.#lives.has(container.id)) this.#watch(container);
  }

  has(container: Container): boolean {
    return this.#lifeOf(container)?.ended === true;
  }

  /** It has been started again: whatever is known of it is of an earlier life. */
  forget(containerId: string): void {
    this.#lives.get(containerId)?.stop();
    this.#lives.delete(containerId);
  }

  /** Ends all watches. */
  close(): void {
    for (const id of this.#lives.keys()) this.forget(id);
  }

  #watch(container: Container): void {
    const { id, pid, startedAtMs } = container;
    if (pid === null) return;
    const stop = this.#watcher.watch(pid, id, () => {
      const life = this.#lifeOf(container);
      if (life?.stop !== stop || stop === null) return;
      life.ended = true;
      this.#onEnd();
    });
    if (stop !== null) this.#lives.set(id, { pid, startedAtMs, stop, ended: false });
  }

  /** Null: it is not watched, or not in this life. */
  #lifeOf({ id, pid, startedAtMs }: Container): Life | null {
    const life = this.#lives.get(id);
    return life !== undefined && life.pid === pid && life.startedAtMs === startedAtMs ? life : null;
  }
}
