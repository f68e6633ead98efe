import type { Clock } from "../../platform/ports/clock.ts";
import type { Store } from "../../platform/ports/store.ts";
import type { Metrics } from "./metrics.ts";

/** The same store; how long its commits take is told under the names that Consul has for its log. */
export function measuredStore(store: Store, metrics: Metrics, clock: Pick<Clock, "monotonicMs">): Store {
  return {
    get: (key) => store.get(key),
    list: (prefix) => store.list(prefix),
    commit: async (writes, conditions) => {
      const startedMs = clock.monotonicMs();
      const revision = await store.commit(writes, conditions);
      metrics.count("consul.raft.apply");
      metrics.sample("consul.raft.commitTime", clock.monotonicMs() - startedMs);
      return revision;
    },
    watch: (onChange) => store.watch(onChange),
    close: () => store.close(),
  };
}
