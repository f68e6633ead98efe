import { formatPageState, parsePageState, type PageState } from "./page-state.ts";

/** The page state as the address bar has it; back and forward work since every page is an address. */
export class NavigationStore {
  readonly #listeners = new Set<() => void>();
  #state: PageState;

  constructor() {
    this.#state = parsePageState(location.hash);
    window.addEventListener("hashchange", () => this.#read());
  }

  readonly state = (): PageState => this.#state;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Changes parts of the state without a step in the history: searching and selecting are not journeys. */
  refine(change: Partial<Omit<PageState, "page">>): void {
    history.replaceState(null, "", formatPageState({ ...this.#state, ...change }));
    this.#read();
  }

  /** Goes to another page, with a step in the history. */
  go(state: PageState): void {
    history.pushState(null, "", formatPageState(state));
    this.#read();
  }

  #read(): void {
    this.#state = parsePageState(location.hash);
    for (const listener of this.#listeners) listener();
  }
}
