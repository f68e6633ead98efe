import type { AnnouncedKeys } from "../../model/host.ts";

/** This host's WireGuard key pairs, on its disk. */
export interface HostKeys {
  /** The public halves: the one in use and the next. */
  announced(): AnnouncedKeys;
  /** When the one in use came into use, wall clock. */
  sinceMs(): number;
  /** Takes the next one into use and makes another. On the disk before it returns. @throws AppError `unavailable`. */
  rotate(nowMs: number): AnnouncedKeys;
  /** The private half, base64; null when it is not (or no longer) one of this host's. */
  privateKeyOf(publicKey: string): string | null;
}
