import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/**
 * The lab's processes, found by what they are, not by remembered numbers: everything the lab starts carries a mark in its
 * environment, and each host is a PID namespace, so ending the first process of it ends all of it.
 */
export const MARK_LAB = "APOLLO_LAB_MARK";
export const MARK_NODE = "APOLLO_LAB_NODE";

/** A process that cannot be mistaken for a later one with the same number. */
export interface ProcessRef {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks after boot. */
  readonly startTicks: number;
}

export interface MarkedProcess extends ProcessRef {
  readonly lab: string;
  readonly node: string;
  /** First process of a PID namespace. */
  readonly init: boolean;
}

/** Start time from the text of /proc/PID/stat; the name in it may hold spaces and brackets. Null when it is not one. */
export function parseStartTicks(stat: string): number | null {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const ticks = Number(fields[19]);
  return fields.length > 19 && Number.isInteger(ticks) ? ticks : null;
}

/** True when the `NSpid` line of /proc/PID/status says: process 1 of a namespace below the machine's. */
export function parseIsInit(status: string): boolean {
  const ids = /^NSpid:\s+(.*)$/m.exec(status)?.[1]?.split(/\s+/) ?? [];
  return ids.length > 1 && ids.at(-1) === "1";
}

export function parseEnviron(text: string): Readonly<Record<string, string>> {
  const pairs = text.split("\0").flatMap((entry) => {
    const at = entry.indexOf("=");
    return at > 0 ? [[entry.slice(0, at), entry.slice(at + 1)] as const] : [];
  });
  return Object.fromEntries(pairs);
}

export function processRef(pid: number): ProcessRef | null {
  const stat = readProc(pid, "stat");
  const startTicks = stat === null ? null : parseStartTicks(stat);
  return startTicks === null ? null : { pid, startTicks };
}

export function isAlive(process: ProcessRef): boolean {
  return processRef(process.pid)?.startTicks === process.startTicks && !isZombie(process.pid);
}

/** Every process that carries the mark of a lab, or of the one lab named; never this process itself. */
export function listMarked(lab?: string): readonly MarkedProcess[] {
  return listPids().flatMap((pid) => {
    if (pid === process.pid) return [];
    const environ = readProc(pid, "environ");
    if (environ === null || !environ.includes(`${MARK_LAB}=`)) return [];
    const env = parseEnviron(environ);
    const name = env[MARK_LAB];
    const ref = processRef(pid);
    if (ref === null || name === undefined || (lab !== undefined && name !== lab) || isZombie(pid)) return [];
    const init = parseIsInit(readProc(pid, "status") ?? "");
    return [{ ...ref, lab: name, node: env[MARK_NODE] ?? "", init }];
  });
}

/** Processes in the PID namespace of `init`, with their argv. */
export function listInNamespace(init: ProcessRef): readonly (ProcessRef & { readonly argv: readonly string[] })[] {
  const namespace = namespaceId(init.pid);
  if (namespace === null) return [];
  return listPids().flatMap((pid) => {
    if (namespaceId(pid) !== namespace) return [];
    const ref = processRef(pid);
    const argv = (readProc(pid, "cmdline") ?? "").split("\0").slice(0, -1);
    return ref === null ? [] : [{ ...ref, argv }];
  });
}

/** Sends the signal if it is still the same process. False when it is gone. */
export function signalProcess(ref: ProcessRef, signal: NodeJS.Signals): boolean {
  if (!isAlive(ref)) return false;
  try {
    process.kill(ref.pid, signal);
    return true;
  } catch {
    return false;
  }
}

/** Children of a process, by the machine's numbers. */
export function listChildren(parent: number): readonly ProcessRef[] {
  return listPids().flatMap((pid) => {
    const isChild = new RegExp(`^PPid:\\s+${parent}$`, "m").test(readProc(pid, "status") ?? "");
    const ref = isChild ? processRef(pid) : null;
    return ref === null ? [] : [ref];
  });
}

function listPids(): readonly number[] {
  return readdirSync("/proc")
    .filter((entry) => /^[0-9]+$/.test(entry))
    .map(Number);
}

function isZombie(pid: number): boolean {
  const stat = readProc(pid, "stat");
  return stat === null || stat.slice(stat.lastIndexOf(")") + 2, stat.lastIndexOf(")") + 3) === "Z";
}

function namespaceId(pid: number): string | null {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return null;
  }
}

/** Null when the process has ended meanwhile. */
function readProc(pid: number, file: string): string | null {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return null;
  }
}
