import type { SeededRandom } from "./seeded-random.ts";

/** What can go wrong. */
export type ClusterFault =
  | "killAgent"
  | "restartAgent"
  | "powerCut"
  | "restartEngine"
  | "killContainer"
  | "sicken"
  | "cut"
  | "stall"
  | "killProxy"
  | "fillDisk"
  | "pauseAgent"
  | "hangEngine"
  | "reinstall"
  | "meddle"
  | "cordon"
  | "pauseServer"
  | "restartServer";

export interface Weather {
  /** Share of the events that are a user's. */
  readonly calm: number;
  readonly delayMsMax: number;
  /** How often each happens, as weights; what a seed leaves out has 0. */
  readonly faults: Readonly<Record<ClusterFault, number>>;
}

/** A fifth of the seeds has no faults at all; the others leave out about half of them. */
export function drawWeather(random: SeededRandom): Weather {
  const calm = random.chance(0.2);
  const maybe = (weight: number): number => (!calm && random.chance(0.6) ? weight * random.next() : 0);
  return {
    calm: calm ? 1 : 0.3 + random.next() * 0.5,
    delayMsMax: random.pick([5, 5, 50, 400]),
    faults: {
      killAgent: maybe(1),
      restartAgent: maybe(0.7),
      powerCut: maybe(0.7),
      restartEngine: maybe(0.5),
      killContainer: maybe(1),
      sicken: maybe(1),
      cut: maybe(1),
      stall: maybe(0.7),
      killProxy: maybe(0.3),
      fillDisk: maybe(0.2),
      pauseAgent: maybe(0.4),
      hangEngine: maybe(0.4),
      reinstall: maybe(0.3),
      meddle: maybe(0.3),
      cordon: maybe(0.3),
      pauseServer: maybe(0.5),
      restartServer: maybe(1),
    },
  };
}

/** Null when this weather has none. */
export function drawFault(random: SeededRandom, { faults }: Weather): ClusterFault | null {
  const entries = Object.entries(faults) as [ClusterFault, number][];
  let left = random.next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
  return entries.find(([, weight]) => weight > 0 && (left -= weight) <= 0)?.[0] ?? null;
}
