import type { Ipv4 } from "../../model/ip.ts";

export interface Upstream {
  readonly address: Ipv4;
  readonly port: number;
}

/**
 * Whom to ask, in order: each once, never ourselves, and the one that answered last time first, so that a dead first
 * server costs its timeout once and not on every question.
 */
export function chooseUpstreams(
  upstreams: readonly Upstream[],
  own: readonly Upstream[],
  lastGood: Upstream | null,
): readonly Upstream[] {
  const keyOf = (upstream: Upstream): string => `${upstream.address}:${upstream.port}`;
  const ownKeys = new Set(own.map(keyOf));
  const usable = [...new Map(upstreams.map((each) => [keyOf(each), each])).values()].filter(
    (each) => !ownKeys.has(keyOf(each)) && each.address !== "0.0.0.0",
  );
  const first = lastGood === null ? -1 : usable.findIndex((each) => keyOf(each) === keyOf(lastGood));
  return first <= 0 ? usable : [...usable.slice(first), ...usable.slice(0, first)];
}
