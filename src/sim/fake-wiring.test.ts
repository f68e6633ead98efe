import { systemClock } from "../platform/clock/system-clock.ts";
import { FakeWiring } from "./fake-wiring.ts";
import { testWiring } from "./wiring.contract.ts";

testWiring("fake", () => {
  const wiring = new FakeWiring(systemClock);
  const namespaces = ["/run/netns/a", "/run/netns/b"] as const;
  for (const path of namespaces) wiring.startNamespace(path);
  return Promise.resolve({
    wiring,
    namespaces,
    endNamespace: async (path) => wiring.endNamespace(path),
  });
});
