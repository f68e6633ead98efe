import { AppError } from "../model/error.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { StateFile } from "../platform/ports/state-file.ts";

const LATENCY_MS = 3;

/** A file that outlives the agent but not the test. */
export class MemoryFile implements StateFile {
  readonly path: string;
  readonly #clock: Clock;
  text: string | null = null;
  writes = 0;
  /** The disk is full. */
  full = false;

  constructor(path: string, clock: Clock) {
    this.path = path;
    this.#clock = clock;
  }

  async read(): Promise<string | null> {
    await this.#clock.sleep(LATENCY_MS);
    return this.text;
  }

  async write(text: string): Promise<void> {
    await this.#clock.sleep(LATENCY_MS);
    if (this.full) throw new AppError("unavailable", `Cannot write "${this.path}": no space left on device`);
    this.writes += 1;
    this.text = text;
  }
}
