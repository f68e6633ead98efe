/**
 * Fixed addresses of an app's instances. At any time an address belongs to one stored instance at most, so a rolling change
 * of an app that has no more addresses than instances ends an old one first.
 */
import type { AppSpec } from "../model/app.ts";
import type { Ipv4 } from "../model/ip.ts";
import type { AppCopies, Copy } from "./app-copies.ts";
import type { RollingLimits } from "./rolling-limits.ts";

/** Addresses that a new instance may get, as declared; null when the app has none and hosts choose. */
export function freeAddresses(spec: AppSpec, copies: AppCopies): readonly Ipv4[] | null {
  if (spec.addresses === undefined || spec.addresses.length === 0) return null;
  const { active, leaving, condemned } = copies;
  const held = new Set([...active, ...leaving, ...condemned].map(({ instance }) => instance.address));
  return spec.addresses.filter((address) => !held.has(address));
}

/** The instance on a lost host whose address moves to its replacement. */
export function lostHolder(address: Ipv4 | undefined, { lost }: AppCopies): Copy | undefined {
  return address === undefined ? undefined : lost.find(({ instance }) => instance.address === address);
}

/** Never more at once than there are addresses, and room to move. */
export function limitToAddresses(limits: RollingLimits, spec: AppSpec): RollingLimits {
  const count = spec.addresses?.length ?? 0;
  if (count === 0) return limits;
  return { healthyMin: Math.min(limits.healthyMin, count - 1), totalMax: Math.min(limits.totalMax, count) };
}
