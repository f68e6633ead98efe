import { AppError } from "../model/error.ts";

/** Answers one kind of question. `fields` is what was asked beside the kind: input from outside, to be parsed. */
export type Answer = (fields: Readonly<Record<string, unknown>>, signal: AbortSignal) => Promise<unknown>;

/**
 * What can be asked of an agent beside the stream: by the server on behalf of its clients, and by programs on this host
 * through the agent's own socket. Parts register what they answer; who may ask was decided before.
 */
export class AgentQueries {
  readonly #answers = new Map<string, Answer>();

  /** @throws Error for a kind that is answered already: two parts would fight over it. */
  register(kind: string, answer: Answer): void {
    if (this.#answers.has(kind)) throw new Error(`Cannot register "${kind}" twice`);
    this.#answers.set(kind, answer);
  }

  /** @throws AppError `invalid` for a question without a kind, `not-found` for a kind that nobody answers. */
  async ask(question: unknown, signal: AbortSignal): Promise<unknown> {
    if (typeof question !== "object" || question === null || !("kind" in question)) {
      throw new AppError("invalid", 'Cannot ask the agent: the question must be an object with a "kind"');
    }
    const { kind, ...fields } = question;
    const answer = typeof kind === "string" ? this.#answers.get(kind) : undefined;
    if (answer === undefined) {
      throw new AppError("not-found", `Cannot ask the agent for "${String(kind)}": it knows no such question`, {
        hint: `It answers: ${[...this.#answers.keys()].toSorted().join(", ")}`,
      });
    }
    return answer(fields, signal);
  }
}
