import { AliasKeeper } from "./alias-keeper.ts";
import { measuredStore } from "./measured-store.ts";
import { Metrics } from "./metrics.ts";
import { CheckKeeper } from "./check-keeper.ts";
import { Coordinates } from "./coordinates.ts";
import { LockDelayKeeper } from "./lock-delay-keeper.ts";
import { PlatformCatalog } from "./platform-catalog.ts";
import { Registry, type RegistryDeps } from "./registry.ts";
import { SessionKeeper } from "./session-keeper.ts";
import { LockDelays } from "./session-operations.ts";
import { UserEvents } from "./user-events.ts";

/** The registry with what lives beside it. */
export interface RegistryParts {
  readonly registry: Registry;
  readonly sessions: SessionKeeper;
  readonly lockDelays: LockDelays;
  readonly events: UserEvents;
  readonly checks: CheckKeeper;
  readonly platform: PlatformCatalog;
  readonly coordinates: Coordinates;
  readonly metrics: Metrics;
  close(): void;
}

export async function openRegistry(deps: RegistryDeps): Promise<RegistryParts> {
  const metrics = new Metrics(deps.clock);
  const registry = await Registry.open({ ...deps, store: measuredStore(deps.store, metrics, deps.clock) });
  const lockDelays = new LockDelays(deps.clock);
  // It only follows the registry: nobody asks it anything.
  new LockDelayKeeper(registry, lockDelays);
  const sessions = new SessionKeeper(registry, lockDelays);
  const events = new UserEvents(registry);
  const checks = new CheckKeeper(registry);
  new AliasKeeper(registry, checks);
  const platform = new PlatformCatalog(registry);
  const coordinates = new Coordinates(registry);
  const parts = { registry, sessions, lockDelays, events, checks, platform, coordinates, metrics };
  return { ...parts, close: () => registry.close() };
}
