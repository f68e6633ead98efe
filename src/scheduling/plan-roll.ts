/**
 * The rolling restart: outdated instances go as ready new ones come. It looks only at what is there now, so a restart of
 * the server, a failed host or a second change in mid-way need no special case.
 *
 * Ready ones may go as long as `healthyMin` ready ones are left, outdated or new. Outdated ones that are not ready serve
 * nobody: they go when a new one needs their place, and when a ready new one has taken it. New ones start while the total,
 * leaving ones included, is below `totalMax`.
 */
import type { AppVersion } from "../model/app.ts";
import type { AppCopies, Copy } from "./app-copies.ts";
import { chooseVictims } from "./choose-victims.ts";
import { limitToAddresses } from "./fixed-addresses.ts";
import { rollingLimits } from "./rolling-limits.ts";

/** What an app's mode asks for. */
export interface Wish {
  readonly out: readonly { readonly copies: readonly Copy[]; readonly reason: string }[];
  /** Instances to start. */
  readonly start: number;
  /** Serve nobody, and may go too when no host has room for the ones to start. */
  readonly yielding: readonly Copy[];
}

export function planRoll({ spec }: AppVersion, copies: AppCopies): Wish {
  const { active, leaving, condemned, lost } = copies;
  const wanted = spec.instances;
  const { healthyMin, totalMax } = limitToAddresses(rollingLimits(wanted, spec.upgrade), spec);
  const fresh = active.filter((copy) => copy.current);
  const outdated = active.filter((copy) => !copy.current);
  const readyFresh = fresh.filter(isReadyCopy).length;
  const ready = readyFresh + outdated.filter(isReadyCopy).length;

  const missing = Math.max(0, wanted - fresh.length);
  const places = Math.max(0, totalMax - active.length - leaving.length - condemned.length);
  const start = Math.min(missing, places);
  // What is leaving already will make room by itself.
  const crowded = missing - start - leaving.length - condemned.length;

  const unready = outdated.filter((copy) => !copy.ready && isReachable(copy));
  const beyond = outdated.length - Math.max(0, wanted - readyFresh);
  const unreadyOut = chooseVictims(unready, Math.min(unready.length, Math.max(crowded, beyond)), spec);
  const unreadyNew = chooseVictims(
    fresh.filter((copy) => !copy.ready),
    fresh.length - wanted,
    spec,
  );

  let spare = Math.max(0, ready - healthyMin);
  const readyOut = chooseVictims(outdated.filter(isReadyCopy), spare, spec);
  spare -= readyOut.length;
  const surplus = Math.min(spare, fresh.length - unreadyNew.length - wanted);
  const readyNew = chooseVictims(fresh.filter(isReadyCopy), surplus, spec);

  return {
    start,
    yielding: unready.filter((copy) => !unreadyOut.includes(copy)),
    out: [
      { copies: [...unreadyOut, ...readyOut], reason: "it runs an outdated definition" },
      { copies: [...unreadyNew, ...readyNew], reason: `${wanted} are wanted` },
      { copies: lost.filter((copy) => !copy.current), reason: "it runs an outdated definition" },
    ],
  };
}

function isReadyCopy(copy: Copy): boolean {
  return copy.ready;
}

/** One whose host is not heard of may be ready for all we know: it is left until the host is up or lost. */
function isReachable({ host, status }: Copy): boolean {
  return host?.presence.phase === "up" && status !== undefined;
}
