/** An abort controller that knows who still listens: what is left after a loop has ended was leaked by it. */
export interface TrackedAbort {
  readonly signal: AbortSignal;
  abort(): void;
  listeners(): number;
}

export function trackedAbort(): TrackedAbort {
  const controller = new AbortController();
  const { signal } = controller;
  const held = new Set<unknown>();
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (...args: Parameters<typeof add>) => {
    held.add(args[1]);
    add(...args);
  };
  signal.removeEventListener = (...args: Parameters<typeof remove>) => {
    held.delete(args[1]);
    remove(...args);
  };
  return { signal, abort: () => controller.abort(), listeners: () => held.size };
}
