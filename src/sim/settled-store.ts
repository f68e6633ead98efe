import type { Store } from "../platform/ports/store.ts";
import type { VirtualClock } from "./virtual-clock.ts";

/** A store whose calls move the virtual clock on until they are done: for tests that are about the store, not about time. */
export function settledStore(store: Store, clock: VirtualClock): Store {
  return {
    get: (key) => clock.settle(store.get(key)),
    list: (prefix) => clock.settle(store.list(prefix)),
    commit: (writes, conditions) => clock.settle(store.commit(writes, conditions)),
    watch: (onChange) => store.watch(onChange),
    close: () => clock.settle(store.close()),
  };
}
