/** Lets tasks run one after another, in the order they came: each plans on the state that the one before it left. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  /** A task that fails does not keep the next one from running. */
  take<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#last.then(task);
    this.#last = result.catch(() => undefined);
    return result;
  }
}
