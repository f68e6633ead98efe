export type Topic =
  | "identity"
  | "assignments"
  | "catalog"
  | "peers"
  | "network-config"
  | "holders"
  | "consul"
  | "ports"
  | "rules"
  | "keys"
  | "served-rules"
  | "imports"
  | "names"
  /** What `wiredPorts` of the attach parts gives has changed. */
  | "wired"
  | "local"
  | "checks"
  | "check-results"
  /** Checks that containers of this host declare, and what those say. */
  | "container-checks"
  | "container-results"
  | "reports"
  | "health"
  | "applied"
  | "released"
  | "connection"
  | "link-facts"
  | "link-rows"
  | "links"
  | "addresses"
  | "probe-address"
  /** `resolverAt` has changed. */
  | "resolver"
  /** `declared` has changed. */
  | "declared"
  | "ways"
  | "slow"
  | "conditions";

/** What wakes parts of the agent: by topic, in the order they asked. */
export class AgentEvents {
  readonly #listeners = new Map<Topic, Set<() => void>>();

  on(topic: Topic, listener: () => void): () => void {
    const set = this.#listeners.get(topic) ?? new Set();
    this.#listeners.set(topic, set.add(listener));
    return () => set.delete(listener);
  }

  emit(topic: Topic): void {
    for (const listener of this.#listeners.get(topic) ?? []) listener();
  }
}
