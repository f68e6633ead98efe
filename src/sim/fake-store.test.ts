import { FakeStore } from "./fake-store.ts";
import { SeededRandom } from "./seeded-random.ts";
import { settledStore } from "./settled-store.ts";
import { storeContract } from "./store.contract.ts";
import { VirtualClock } from "./virtual-clock.ts";

storeContract("FakeStore", async () => {
  const clock = new VirtualClock();
  const store = new FakeStore({ clock, random: new SeededRandom(1), latencyMs: 5 });
  return {
    store: settledStore(store, clock),
    reopen: async () => settledStore(store.reopen(), clock),
    cleanUp: async () => {},
  };
});
