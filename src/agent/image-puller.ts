import type { Engine } from "../platform/ports/engine.ts";
import { Limiter } from "./limiter.ts";

/** Two pulls fill a host's uplink; more would only make each slower, and starts of other images would wait longer. */
const PULLS_AT_ONCE = 2;

/** Pulls images, one pull for all instances that wait for the same image. */
export class ImagePuller {
  readonly #engine: Engine;
  readonly #limiter = new Limiter(PULLS_AT_ONCE);
  readonly #underWay = new Map<string, Promise<void>>();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** @throws AppError as Engine.pullImage does. */
  pull(image: string, signal: AbortSignal): Promise<void> {
    const current = this.#underWay.get(image);
    if (current !== undefined) return current;
    const pull = this.#limiter
      .run(() => this.#engine.pullImage(image, signal))
      .finally(() => this.#underWay.delete(image));
    this.#underWay.set(image, pull);
    return pull;
  }
}
