import type { Ipv4 } from "../../model/ip.ts";
import type { Random } from "../../platform/ports/random.ts";

export interface Upstream {
  readonly address: Ipv4;
  readonly port: number;
}

/**
 * Whom to ask, in order: each once, never ourselves, and the one that answered last time first, so that a dead first
 * server costs its timeout once and not on every question. With chance in place of the last good one, the order is drawn
 * and spreads the questions.
 */
export function chooseUpstreams(
  upstreams: readonly Upstream[],
  own: readonly Upstream[],
  first: Upstream | Random | null,
): readonly Upstream[] {
  const keyOf = (upstream: Upstream): string => `${upstream.address}:${upstream.port}`;
  const ownKeys = new Set(own.map(keyOf));
  const usable = [...new Map(upstreams.map((each) => [keyOf(each), each])).values()].filter(
    (each) => !ownKeys.has(keyOf(each)) && each.address !== "0.0.0.0",
  );
  if (first !== null && "next" in first) return shuffled(usable, first);
  const at = first === null ? -1 : usable.findIndex((each) => keyOf(each) === keyOf(first));
  return at <= 0 ? usable : [...usable.slice(at), ...usable.slice(0, at)];
}

function shuffled(upstreams: readonly Upstream[], random: Random): readonly Upstream[] {
  const drawn = upstreams.map((upstream) => ({ upstream, place: random.next() }));
  return drawn.toSorted((a, b) => a.place - b.place).map(({ upstream }) => upstream);
}
