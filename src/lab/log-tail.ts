import { readFileSync } from "node:fs";
import { AppError } from "../model/error.ts";
import { labPaths } from "./lab-paths.ts";

const LINES_MAX = 12;
const LINE_LENGTH_MAX = 300;

/** The last lines of a daemon's log, for an error: a lab that failed to start takes its logs with it. */
export function readLogTail(lab: string, log: string): string {
  try {
    const lines = readFileSync(`${labPaths(lab).logs}/${log}.log`, "utf8")
      .trimEnd()
      .split("\n");
    return lines
      .slice(-LINES_MAX)
      .map((line) => `  ${line.slice(0, LINE_LENGTH_MAX)}`)
      .join("\n");
  } catch {
    return "  (there is no log)";
  }
}

/** Runs a step; when it fails, the error also says what the daemons' logs said last. `logs` are asked for then. */
export async function withLogTail<T>(lab: string, logs: () => readonly string[], step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const tails = logs().map((log) => `${log}.log said last:\n${readLogTail(lab, log)}`);
    throw new AppError(error.code, [error.message, ...tails].join("\n"), { cause: error });
  }
}
