import type { DoctorHost } from "./doctor-facts.ts";

/** Up to so many hosts every pair is looked at: 32 hosts are 992 directions. */
export const ALL_PAIRS_HOSTS_MAX = 32;
/** With one host named, so many of the others. */
export const ONE_HOST_PEERS_MAX = 64;

/**
 * Whom each host looks at. Of few hosts: all others. Of many: the hosts at the distances 1, 2, 4, 8 … in the order of
 * names, both ways round, so that every host is looked at by, and looks at, some twenty of a thousand, and each failing switch or
 * firewall between two groups is crossed by some pair. With `only`, its pairs alone: all, or 64 spread evenly.
 */
export function choosePairs(
  hosts: readonly DoctorHost[],
  only: string | null,
): ReadonlyMap<string, readonly DoctorHost[]> {
  const sorted = hosts.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  if (only !== null) return pairsOf(sorted, only);
  const pairs = sorted.map((host, at): [string, readonly DoctorHost[]] => {
    if (sorted.length <= ALL_PAIRS_HOSTS_MAX) return [host.name, sorted.filter((each) => each !== host)];
    return [host.name, atDistances(sorted, at)];
  });
  return new Map(pairs);
}

function atDistances(sorted: readonly DoctorHost[], at: number): readonly DoctorHost[] {
  const { length } = sorted;
  const chosen = new Set<DoctorHost>();
  for (let distance = 1; distance < length; distance *= 2) {
    for (const other of [sorted[(at + distance) % length], sorted[(at - distance + length) % length]]) {
      if (other !== undefined && other !== sorted[at]) chosen.add(other);
    }
  }
  return [...chosen].toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

function pairsOf(sorted: readonly DoctorHost[], only: string): ReadonlyMap<string, readonly DoctorHost[]> {
  const host = sorted.find(({ name }) => name === only);
  if (host === undefined) return new Map();
  const others = sorted.filter((each) => each !== host);
  const step = Math.max(1, others.length / ONE_HOST_PEERS_MAX);
  const peers = others
    .filter((_, at) => Math.floor(at / step) !== Math.floor((at - 1) / step))
    .slice(0, ONE_HOST_PEERS_MAX);
  return new Map([[only, peers], ...peers.map(({ name }): [string, readonly DoctorHost[]] => [name, [host]])]);
}
