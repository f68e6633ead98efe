import type { HostId } from "./ids.ts";

/** The link to one peer as its host sees it; in memory only. */
export interface LinkReport {
  readonly peerId: HostId;
  /** Name of the peer's host. */
  readonly peer: string;
  readonly mode: "direct" | "vxlan" | "wireguard" | "relay" | "none";
  /** In relay mode: the host that carries packets on. */
  readonly via: string | null;
  readonly why: string;
  /** Whether the peer answers; null until it is known. */
  readonly up: boolean | null;
  readonly rttMs: number | null;
  /** Of the last 50 probes. */
  readonly lossPercent: number;
  /** Bytes that containers can send whole. */
  readonly mtu: number | null;
  /**
   * Bytes of packets inside the container range, by the fast path and the kernel's own way; they begin anew with an update of the
   * agent, or its restart. Null until they were counted.
   */
  readonly txBytes: number | null;
  readonly rxBytes: number | null;
  readonly encryption: "none" | "wireguard";
  /** When it came into this mode, ms since 1970. */
  readonly sinceMs: number;
}

/** Below this a change of the round trip is noise. */
const RTT_NOISE_MS = 1;
const LOSS_NOISE_PERCENT = 5;

export interface LinkChanges {
  readonly upsert: readonly LinkReport[];
  readonly remove: readonly HostId[];
}

/** What somebody who knows `before` would want to know of `after`, null for nothing: figures move all the time, reasons do not. */
export function linkChanges(before: readonly LinkReport[], after: readonly LinkReport[]): LinkChanges | null {
  const known = new Map(before.map((link) => [link.peerId, link]));
  const upsert = after.filter((link) => {
    const old = known.get(link.peerId);
    return old === undefined || linkDiffers(old, link);
  });
  const there = new Set(after.map(({ peerId }) => peerId));
  const remove = [...known.keys()].filter((id) => !there.has(id));
  return upsert.length + remove.length === 0 ? null : { upsert, remove };
}

/** `links` after the changes, sorted by the peers' names. */
export function applyLinkChanges(links: readonly LinkReport[], { upsert, remove }: LinkChanges): readonly LinkReport[] {
  const byPeer = new Map(links.map((link) => [link.peerId, link]));
  for (const id of remove) byPeer.delete(id);
  for (const link of upsert) byPeer.set(link.peerId, link);
  return [...byPeer.values()].toSorted((a, b) => (a.peer < b.peer ? -1 : 1));
}

/** The links that have counted bytes since, null for none. */
export function countedLinks(before: readonly LinkReport[], after: readonly LinkReport[]): LinkChanges | null {
  const known = new Map(before.map((link) => [link.peerId, link]));
  const upsert = after.filter(({ peerId, txBytes, rxBytes }) => {
    const old = known.get(peerId);
    return txBytes !== old?.txBytes || rxBytes !== old?.rxBytes;
  });
  return upsert.length === 0 ? null : { upsert, remove: [] };
}

/** Both together; null for none. */
export function joinLinkChanges(a: LinkChanges | null, b: LinkChanges | null): LinkChanges | null {
  if (a === null || b === null) return a ?? b;
  const told = new Set(a.upsert.map(({ peerId }) => peerId));
  return {
    upsert: [...a.upsert, ...b.upsert.filter(({ peerId }) => !told.has(peerId))],
    remove: [...new Set([...a.remove, ...b.remove])],
  };
}

function linkDiffers(a: LinkReport, b: LinkReport): boolean {
  const settled = (["peerId", "peer", "mode", "via", "why", "up", "mtu", "encryption", "sinceMs"] as const).every(
    (key) => a[key] === b[key],
  );
  if (!settled || (a.rttMs === null) !== (b.rttMs === null)) return true;
  const [low, high] = [a.rttMs ?? 0, b.rttMs ?? 0].toSorted((x, y) => x - y);
  if ((high ?? 0) > 2 * (low ?? 0) && (high ?? 0) - (low ?? 0) > RTT_NOISE_MS) return true;
  return Math.abs(a.lossPercent - b.lossPercent) >= LOSS_NOISE_PERCENT;
}
