import type { ParsedResponse } from "./parse-response.ts";
import { copyOf, readUint32, writeUint32 } from "./wire-format.ts";

/** Bounded by count and by the size of each: 2,000 × 4 KiB is the most it can ever hold, some 8 MB. */
const ENTRIES_MAX = 2000;
const ENTRY_BYTES_MAX = 4096;
/** Longer than this nothing is believed, so that a changed outside name gets through to containers. */
const TTL_SECONDS_MAX = 300;
/** The TTL that an answer past its time is given out with (RFC 8767 §5). */
const STALE_TTL_SECONDS = 30;

interface Entry {
  readonly bytes: Uint8Array;
  readonly ttlOffsets: readonly number[];
  readonly storedAtMs: number;
  readonly freshMs: number;
}

/** Answers of upstreams by question, oldest use dropped first. Time comes in as a value: monotonic milliseconds. */
export class ResponseCache {
  readonly #entries = new Map<string, Entry>();

  get size(): number {
    return this.#entries.size;
  }

  put(key: string, bytes: Uint8Array, response: ParsedResponse, nowMs: number): void {
    if (response.ttlSeconds === 0 || response.truncated || bytes.length > ENTRY_BYTES_MAX) return;
    this.#entries.delete(key);
    const freshMs = Math.min(response.ttlSeconds, TTL_SECONDS_MAX) * 1000;
    this.#entries.set(key, { bytes: copyOf(bytes), ttlOffsets: response.ttlOffsets, storedAtMs: nowMs, freshMs });
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= ENTRIES_MAX) break;
      this.#entries.delete(oldest);
    }
  }

  /** A copy with its TTLs counted down, or null. */
  fresh(key: string, nowMs: number): Uint8Array | null {
    const entry = this.#entries.get(key);
    if (entry === undefined || nowMs - entry.storedAtMs >= entry.freshMs) return null;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    const age = Math.floor((nowMs - entry.storedAtMs) / 1000);
    return withTtls(entry, (ttl) => Math.max(0, Math.min(ttl, TTL_SECONDS_MAX) - age));
  }

  /** As `fresh`, also up to `staleMsMax` past its time: for when nobody can be asked. */
  stale(key: string, nowMs: number, staleMsMax: number): Uint8Array | null {
    const entry = this.#entries.get(key);
    if (entry === undefined || nowMs - entry.storedAtMs >= entry.freshMs + staleMsMax) return null;
    return withTtls(entry, () => STALE_TTL_SECONDS);
  }
}

function withTtls(entry: Entry, change: (ttlSeconds: number) => number): Uint8Array {
  const bytes = copyOf(entry.bytes);
  for (const offset of entry.ttlOffsets) writeUint32(bytes, offset, change(readUint32(bytes, offset)));
  return bytes;
}
