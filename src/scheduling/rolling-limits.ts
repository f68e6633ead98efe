import type { UpgradeStrategy } from "../model/app.ts";

/** Bounds of a rolling restart, in instances. */
export interface RollingLimits {
  /** Ready ones that stay at least, given that there were as many. */
  readonly healthyMin: number;
  /** Instances at once at most, leaving ones included. */
  readonly totalMax: number;
}

/** Shares such as 0.1 are not exact in binary: 10 × (1 + 0.7) must give 17 and 100 × 0.07 no more than 7. */
const ROUNDING = 1e-9;

/**
 * Marathon's limits for `instances` wanted ones. Where both are the same nothing could ever move, so one instance more is
 * allowed then.
 */
export function rollingLimits(instances: number, upgrade: UpgradeStrategy): RollingLimits {
  const healthyMin = Math.max(0, Math.ceil(instances * upgrade.minimumHealthCapacity - ROUNDING));
  const capacityMax = Math.floor(instances * (1 + upgrade.maximumOverCapacity) + ROUNDING);
  return { healthyMin, totalMax: healthyMin === capacityMax ? capacityMax + 1 : capacityMax };
}
