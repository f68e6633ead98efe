import { AppError } from "../model/error.ts";
import type { Engine } from "../platform/ports/engine.ts";

/** Enough to see the exception's line; the rest is in the logs. */
const OUTPUT_LINES = 5;
const OUTPUT_CHARACTERS_MAX = 800;
/** Codes that a shell or the engine makes of a signal: 128 + its number. */
const SIGNAL_NAMES: Readonly<Record<number, string>> = {
  129: "SIGHUP",
  130: "SIGINT",
  131: "SIGQUIT",
  132: "SIGILL",
  134: "SIGABRT",
  135: "SIGBUS",
  136: "SIGFPE",
  137: "SIGKILL",
  139: "SIGSEGV",
  143: "SIGTERM",
};

/** Why an instance ended, in words for its owner. */
export function describeExit(end: {
  readonly exitCode: number | null;
  readonly oomKilled: boolean;
  readonly output: string;
}): string {
  const output = end.output === "" ? "" : `. Its last output: ${end.output}`;
  return `${describeCause(end.exitCode, end.oomKilled)}${output}`;
}

function describeCause(exitCode: number | null, oomKilled: boolean): string {
  if (oomKilled) return "The instance used more memory than its limit and was killed: raise mem";
  if (exitCode === null) return "The instance ended";
  const signal = SIGNAL_NAMES[exitCode];
  if (signal !== undefined) return `The instance was ended by ${signal} (exit code ${exitCode})`;
  if (exitCode === 0) return "The instance ended by itself (exit code 0)";
  return `The instance exited with code ${exitCode}`;
}

/** The last lines of a stopped container; empty when they cannot be had, since the exit is to be told anyway. */
export async function readLastOutput(engine: Engine, containerId: string): Promise<string> {
  let text = "";
  const decoder = new TextDecoder();
  const abort = new AbortController();
  const options = { follow: false, tail: OUTPUT_LINES, sinceMs: null };
  try {
    await engine.logs(containerId, options, (_stream, bytes) => void (text += decoder.decode(bytes)), abort.signal);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return "";
  }
  // Control characters of a coloured log would garble the operator's terminal.
  const clean = text.replaceAll(/\p{Cc}\[[0-9;]*[A-Za-z]/gu, "").replaceAll(/[^\P{Cc}\n]/gu, "");
  return clean.trim().replaceAll(/\n+/g, " | ").slice(-OUTPUT_CHARACTERS_MAX);
}
