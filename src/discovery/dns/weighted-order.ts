import type { Random } from "../../platform/ports/random.ts";

/**
 * Arranges `order` so that each of the rest comes next with a chance by its weight (RFC 2782); those of weight 0 come last.
 * Each draws a waiting time that is exponential in its weight, and the shortest goes first: one draw and one comparison
 * sort in place of a sum over the rest for each place (Efraimidis and Spirakis, 2006).
 */
export function arrangeByWeight(order: Uint32Array, weights: readonly number[], random: Random): void {
  const times = weights.map((weight) =>
    weight > 0 ? -Math.log(1 - random.next()) / weight : Number.MAX_VALUE * (0.5 + random.next() / 2),
  );
  order.sort((a, b) => (times[a] ?? 0) - (times[b] ?? 0));
}
