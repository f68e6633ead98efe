/** Members that have been down for so long that nobody waits for them any more, as Consul's `reconnect_timeout` takes them away. */
import { describeError } from "../model/error.ts";
import type { HostId } from "../model/ids.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Log } from "../platform/ports/log.ts";

export interface ReapDeps {
  /** Consul's default is 72 hours. */
  readonly afterMs: number;
  readonly hosts: () => Iterable<{ readonly id: HostId; readonly name: string }>;
  readonly isDown: (id: HostId) => boolean;
  /** @throws AppError when it is up again after all. */
  readonly remove: (name: string) => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
}

/** Late by so much is nothing to a limit of days. */
const LOOKS = 100;
const LOOK_MS_MAX = 60_000;

/**
 * Runs until aborted. It counts the time that this process itself has seen a member down: neither a clock that was set nor a
 * machine that slept takes away who had no chance to come back.
 */
export async function reapMembers(deps: ReapDeps, signal: AbortSignal): Promise<void> {
  const { afterMs, hosts, isDown, remove, clock, log } = deps;
  const downSince = new Map<HostId, number>();
  while (!signal.aborted) {
    const nowMs = clock.monotonicMs();
    const down = [...hosts()].filter(({ id }) => isDown(id));
    const ids = new Set(down.map(({ id }) => id));
    for (const id of downSince.keys()) if (!ids.has(id)) downSince.delete(id);
    for (const { id, name } of down) {
      const sinceMs = downSince.get(id) ?? nowMs;
      downSince.set(id, sinceMs);
      if (nowMs - sinceMs < afterMs) continue;
      try {
        await remove(name);
        log.info("member removed: it was down for too long", { host: name });
      } catch (error) {
        log.warn("member not removed", { host: name, error: describeError(error) });
      }
    }
    await clock.sleep(Math.min(LOOK_MS_MAX, afterMs / LOOKS), signal);
  }
}
