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
   * Bytes of containers' packets that took the fast path, since the agent's programs were loaded. Null where there is none; what
   * goes the kernel's own way is not in it.
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

/** True when somebody who knows `before` would want to know `after`: figures move all the time, reasons do not. */
export function linksDiffer(before: readonly LinkReport[], after: readonly LinkReport[]): boolean {
  if (before.length !== after.length) return true;
  return after.some((link, at) => {
    const known = before[at];
    return known === undefined || linkDiffers(known, link);
  });
}

/** True when bytes have been counted since. */
export function linksCounted(before: readonly LinkReport[], after: readonly LinkReport[]): boolean {
  return after.some(({ txBytes, rxBytes }, at) => txBytes !== before[at]?.txBytes || rxBytes !== before[at]?.rxBytes);
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
