/** Light or dark: the system's choice until the person makes one, which is then kept in this browser. */
export type ThemeChoice = "system" | "light" | "dark";

const KEY = "apollo-theme";
const DARK_QUERY = "(prefers-color-scheme: dark)";

export class ThemeStore {
  readonly #listeners = new Set<() => void>();
  #choice: ThemeChoice;

  constructor() {
    this.#choice = readChoice();
    this.#show();
    window.matchMedia(DARK_QUERY).addEventListener("change", () => this.#changed());
  }

  /** What is shown now. */
  readonly shown = (): "light" | "dark" => {
    if (this.#choice !== "system") return this.#choice;
    return window.matchMedia(DARK_QUERY).matches ? "dark" : "light";
  };

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Changes to the other of light and dark; back to the system's choice where both agree. */
  toggle(): void {
    const next = this.shown() === "dark" ? "light" : "dark";
    const system = window.matchMedia(DARK_QUERY).matches ? "dark" : "light";
    this.#choice = next === system ? "system" : next;
    try {
      localStorage.setItem(KEY, this.#choice);
    } catch {
      // Storage may be forbidden; then the choice holds for this page only.
    }
    this.#show();
    this.#changed();
  }

  #show(): void {
    document.documentElement.dataset["theme"] = this.#choice;
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}

function readChoice(): ThemeChoice {
  try {
    const kept = localStorage.getItem(KEY);
    return kept === "light" || kept === "dark" ? kept : "system";
  } catch {
    return "system";
  }
}
