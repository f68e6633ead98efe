import { AppError } from "../model/error.ts";
import type { Host, HostPhase } from "../model/host.ts";
import type { HostId } from "../model/ids.ts";
import type { HostAddress } from "../model/ip6.ts";

/** What a machine found out about itself before it asked to join. */
export interface JoinExamination {
  /** Its clock, ms since 1970. */
  readonly clockMs: number;
  /** Those that are not well. */
  readonly findings: readonly {
    readonly check: string;
    readonly state: "warning" | "error";
    readonly text: string;
    readonly hint: string | null;
  }[];
  /** The operator knows, and wants it all the same. */
  readonly force: boolean;
}

/**
 * What compares times of two hosts goes wrong beyond this: versions of apps, events, deadlines of sessions. Certificates
 * would fail only at a day.
 */
export const JOIN_SKEW_MS_MAX = 60_000;

/**
 * Refuses a machine that would make a bad host, with what mends it. What is only a warning is let in, and is a condition
 * or a finding of the doctor afterwards. Agents of before examine nothing, and are let in.
 * @throws AppError `conflict`.
 */
export function checkJoin(
  around: { readonly nowMs: number; phaseOf(id: HostId): HostPhase },
  request: { readonly name: string; readonly address: HostAddress; readonly examination?: JoinExamination },
  members: readonly Host[],
): void {
  const { name, address, examination } = request;
  if (examination === undefined || examination.force) return;
  const refuse = (why: string, hint: string): never => {
    throw new AppError("conflict", `Cannot join host "${name}": ${why}`, { hint: `${hint}; or join with --force` });
  };
  const skewMs = examination.clockMs - around.nowMs;
  if (Math.abs(skewMs) > JOIN_SKEW_MS_MAX) {
    const seconds = Math.round(Math.abs(skewMs) / 1000);
    refuse(
      `its clock is ${seconds} s ${skewMs > 0 ? "ahead of" : "behind"} the server's`,
      "Set it, and keep it set: timedatectl set-ntp true",
    );
  }
  const double = members.find(
    (each) => each.name !== name && each.address === address && around.phaseOf(each.id) === "up",
  );
  if (double !== undefined) {
    refuse(
      `host "${double.name}" has its address ${address}`,
      `Join with --address and the one that other hosts reach this machine by, or: apollo host remove ${double.name}`,
    );
  }
  const fault = examination.findings.find(({ state }) => state === "error");
  if (fault !== undefined) refuse(fault.text, fault.hint ?? "Mend it");
}
