import { AppError } from "../model/error.ts";
import type { AnnouncedKeys } from "../model/host.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { HostKeys } from "../platform/ports/host-keys.ts";
import type { Log } from "../platform/ports/log.ts";
import type { AgentPart, AgentState } from "./agent-state.ts";

export interface KeyPartOptions {
  readonly state: AgentState;
  /** @throws AppError `unavailable`: then this host has no keys, and its links that must be encrypted carry nothing. */
  readonly openKeys: () => HostKeys;
  readonly clock: Clock;
  readonly log: Log;
  /** A key is used no longer than this; 0 for as long as it lasts. */
  readonly rotateEveryMs: number;
}

export interface KeyPart extends AgentPart {
  /** See `HostKeys.privateKeyOf`. */
  privateKeyOf(publicKey: string): string | null;
}

/** Days pass between changes: a minute more or less is nothing. */
const CHECK_MS = 60_000;

/**
 * Holds this host's keys and changes them: by age while a server can tell the others, and when asked (`rotate-keys`). The
 * change itself needs nobody: the others have known the next key since the last one, see `plan-wireguard.ts`.
 */
export function createKeyPart({ state, openKeys, clock, log, rotateEveryMs }: KeyPartOptions): KeyPart {
  const keys = open();
  if (keys !== null) state.setKeys(keys.announced());

  state.queries.register("rotate-keys", async ({ leaked = false }): Promise<AnnouncedKeys> => {
    if (typeof leaked !== "boolean")
      throw new AppError("invalid", 'Cannot rotate keys: "leaked" must be true or false');
    if (keys === null) {
      throw new AppError("unavailable", "Cannot rotate keys: this host has none", { hint: "See its agent's log" });
    }
    // Who read the key file has the next key as well: that one is passed over, at the price of a short pause until all know.
    if (leaked) keys.rotate(clock.nowMs());
    return rotate(keys, leaked ? "they leaked" : "asked for");
  });

  function open(): HostKeys | null {
    try {
      return openKeys();
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      log.error(error.message, { hint: error.hint });
      const hint = `${error.hint ?? "Mend it"}; then restart the agent`;
      state.setConditions("keys", [{ code: "keys-unreadable", severity: "error", text: error.message, hint }]);
      return null;
    }
  }

  function rotate(present: HostKeys, why: string): AnnouncedKeys {
    const announced = present.rotate(clock.nowMs());
    log.info("WireGuard keys rotated", { why, publicKey: announced.publicKey });
    state.setKeys(announced);
    return announced;
  }

  async function run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await clock.sleep(CHECK_MS, signal);
      if (signal.aborted || keys === null || rotateEveryMs === 0 || !state.connected) continue;
      if (clock.nowMs() - keys.sinceMs() < rotateEveryMs) continue;
      try {
        rotate(keys, "their age");
      } catch (error) {
        // A disk that is full today: the old key goes on, and the next turn tries again.
        if (!(error instanceof AppError)) throw error;
        log.warn(error.message, { hint: error.hint });
      }
    }
  }

  return { name: "keys", run, privateKeyOf: (publicKey) => keys?.privateKeyOf(publicKey) ?? null };
}
