import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { z } from "zod";
import { AppError } from "../model/error.ts";
import { LAB_ROOT, labPaths } from "./lab-paths.ts";
import { isLabName } from "./lab-plan.ts";
import { isAlive } from "./process-table.ts";
import type { ProcessRef } from "./process-table.ts";

export type LabParts = "engines" | "all";

/** A loopback port of the machine that leads to a port in the lab. */
export interface LabForward {
  readonly node: string;
  readonly targetPort: number;
  readonly localPort: number;
}

/** What `state.json` holds: enough to use the lab from another process, and to take it down. */
export interface LabState {
  readonly name: string;
  readonly hosts: number;
  readonly parts: LabParts;
  /** `starting` when `up` did not come to its end. */
  readonly phase: "starting" | "up";
  readonly createdAtMs: number;
  /** The process that runs or ran `up`. */
  readonly owner: ProcessRef;
  /** The test run that made it (environment APOLLO_LAB_RUN), so that what a crashed test leaves can be told from a user's labs. */
  readonly run: string | null;
  /** Extra settings of every engine's daemon.json. */
  readonly engineConfig: Readonly<Record<string, unknown>>;
  /** Process 1 of `gate`, `fabric` and each node that is on; with start times, so that no stranger is taken for it. */
  readonly processes: Readonly<Record<string, ProcessRef>>;
  readonly forwards: readonly LabForward[];
}

const processRef = z.object({ pid: z.number().int().positive(), startTicks: z.number().int() });
const labState = z.object({
  name: z.string(),
  hosts: z.number().int(),
  parts: z.enum(["engines", "all"]),
  phase: z.enum(["starting", "up"]),
  createdAtMs: z.number(),
  owner: processRef,
  run: z.string().nullable(),
  engineConfig: z.record(z.string(), z.unknown()),
  processes: z.record(z.string(), processRef),
  forwards: z.array(z.object({ node: z.string(), targetPort: z.number().int(), localPort: z.number().int() })),
});

/** Reads the text of a state file. @throws AppError `invalid`. */
export function parseLabState(text: string): LabState {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new AppError("invalid", "Cannot read lab state: it is not JSON", { cause });
  }
  const result = labState.safeParse(value);
  if (!result.success) {
    const issue = result.error.issues[0];
    throw new AppError("invalid", `Cannot read lab state: ${issue?.path.join(".")}: ${issue?.message}`);
  }
  return result.data;
}

/** Null when there is no such lab, or its state was lost (then only `down` can deal with it). */
export function readLabState(lab: string): LabState | null {
  try {
    return parseLabState(readFileSync(labPaths(lab).state, "utf8"));
  } catch {
    return null;
  }
}

export function writeLabState(state: LabState): void {
  const path = labPaths(state.name).state;
  writeFileSync(`${path}.new`, `${JSON.stringify(state, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** Makes the lab's directory; its existence is the lock on the name. @throws AppError `conflict` when the name is taken. */
export function claimLabName(lab: string): void {
  mkdirSync(LAB_ROOT, { recursive: true, mode: 0o755 });
  try {
    mkdirSync(labPaths(lab).dir, { mode: 0o755 });
  } catch (cause) {
    throw new AppError("conflict", `Cannot start lab "${lab}": a lab of that name is there`, {
      cause,
      hint: `apollo lab down ${lab}`,
    });
  }
}

export function listLabNames(): readonly string[] {
  try {
    return readdirSync(LAB_ROOT)
      .filter((entry) => isLabName(entry))
      .toSorted();
  } catch {
    return [];
  }
}

/** @throws AppError `not-found` when there is no such lab. */
export function requireLabState(lab: string): LabState {
  const state = readLabState(lab);
  if (state === null) {
    throw new AppError("not-found", `Cannot find lab "${lab}"`, { hint: "apollo lab up, or apollo lab status" });
  }
  return state;
}

/** @throws AppError `not-found` when there is no such lab, `unavailable` when the node is off. */
export function processOf(lab: string, part: string): ProcessRef {
  const found = requireLabState(lab).processes[part];
  if (found === undefined || !isAlive(found)) {
    throw new AppError("unavailable", `Cannot reach "${part}" of lab "${lab}": it is not running`, {
      hint: `apollo lab start ${part}`,
    });
  }
  return found;
}
