import { readFileSync, rmSync, writeFileSync } from "node:fs";

export type LockResult =
  | { readonly kind: "claimed"; release(): void }
  /** Another process that lives holds it. */
  | { readonly kind: "held"; readonly pid: number };

/**
 * Lets one process of a machine do a thing: the file names the process that does. A file that a killed process left behind
 * is void, also when its number went to another one, since the time of its start is written beside it. For programs that
 * a person or an init system starts one after the other; two in the same millisecond could both get it.
 */
export function claimLock(path: string): LockResult {
  const [pid = 0, startTicks = 0] = (readText(path) ?? "").split(" ").map(Number);
  if (pid > 0 && pid !== process.pid && startTicksOf(pid) === startTicks) return { kind: "held", pid };
  const own = `${process.pid} ${startTicksOf(process.pid)}`;
  writeFileSync(path, own);
  const release = (): void => {
    if (readText(path) === own) rmSync(path, { force: true });
  };
  return { kind: "claimed", release };
}

/** Field 22 of /proc/PID/stat; the program's name before it may hold spaces and brackets. Null when there is none. */
function startTicksOf(pid: number): number | null {
  const stat = readText(`/proc/${pid}/stat`);
  return stat === null ? null : Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]);
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null;
  }
}
