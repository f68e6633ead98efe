import { AppError } from "../../model/error.ts";
import type { Clock } from "../ports/clock.ts";

/** A piece of the world that a loop keeps as desired. `State` and `Action` are plain data. */
export interface Subject<State, Action> {
  /** For logs: "network", "ingress". */
  readonly name: string;
  observe(): Promise<State>;
  /** Total and deterministic; equal inputs give []. */
  plan(observed: State): readonly Action[];
  apply(action: Action): Promise<void>;
}

export interface LoopOptions<Action> {
  readonly clock: Clock;
  /** Drift that no event tells of is found at the latest after this. */
  readonly resyncMs?: number | (() => number);
  readonly retryMs?: number;
  /** Records an operating error; `action` is missing when observing failed. */
  readonly onFailure: (error: AppError, action?: Action) => void;
  /** Runs each pass inside, as for a loop that must not plan on what another is about to change. */
  readonly within?: (pass: () => Promise<boolean>) => Promise<boolean>;
  /** Called after each pass; `clean` when nothing failed. */
  readonly onPass?: (clean: boolean, actions: readonly Action[]) => void;
}

const RESYNC_MS = 30_000;
const RETRY_MS = 1000;

/**
 * Observe → plan → apply, again and again. Events only wake it; bursts fold into one pass; a failed action does not
 * keep the independent rest from being applied, and the next pass plans anew.
 */
export class ReconcileLoop<State, Action> {
  readonly #subject: Subject<State, Action>;
  readonly #options: LoopOptions<Action>;
  #poked = false;
  #nap = new AbortController();

  constructor(subject: Subject<State, Action>, options: LoopOptions<Action>) {
    this.#subject = subject;
    this.#options = options;
  }

  /** Asks for a pass. Any number of calls before it starts make one pass. */
  poke(): void {
    this.#poked = true;
    this.#nap.abort();
  }

  /** Runs until aborted; resolves when the pass under way has ended. */
  async run(signal: AbortSignal): Promise<void> {
    const wake = (): void => this.#nap.abort();
    signal.addEventListener("abort", wake);
    while (!signal.aborted) {
      this.#poked = false;
      this.#nap = new AbortController();
      const clean = await this.pass();
      if (this.#poked || signal.aborted) continue;
      await this.#options.clock.sleep(clean ? this.#resyncMs() : (this.#options.retryMs ?? RETRY_MS), this.#nap.signal);
    }
    signal.removeEventListener("abort", wake);
  }

  #resyncMs(): number {
    const { resyncMs = RESYNC_MS } = this.#options;
    return typeof resyncMs === "number" ? resyncMs : resyncMs();
  }

  /** One pass; true when nothing failed. */
  pass(): Promise<boolean> {
    const { within = (run) => run() } = this.#options;
    return within(() => this.#pass());
  }

  async #pass(): Promise<boolean> {
    let clean = true;
    const fail = (error: unknown, action?: Action): void => {
      // A programmer error ends the process: only what an operator can act on is retried.
      if (!(error instanceof AppError)) throw error;
      clean = false;
      this.#options.onFailure(error, action);
    };
    let actions: readonly Action[] = [];
    try {
      const observed = await this.#subject.observe();
      actions = this.#subject.plan(observed);
      for (const action of actions) {
        await this.#subject.apply(action).catch((error: unknown) => fail(error, action));
      }
    } catch (error) {
      fail(error);
    }
    this.#options.onPass?.(clean, actions);
    return clean;
  }
}
