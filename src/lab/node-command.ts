import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { spawn } from "node:child_process";
import { AppError } from "../model/error.ts";
import { labPaths } from "./lab-paths.ts";
import { processOf } from "./lab-state.ts";
import { MARK_LAB, MARK_NODE } from "./process-table.ts";
import { runCommand } from "./run-command.ts";
import type { CommandResult } from "./run-command.ts";

export interface ExecOptions {
  readonly stdin?: string | Uint8Array;
  /** A file of the machine that becomes the input. */
  readonly stdinFile?: string;
  /** Default 20 s; the program inside is ended when it runs out. */
  readonly timeoutMs?: number;
  readonly env?: Readonly<Record<string, string>>;
}

const EXEC_TIMEOUT_MS = 20_000;
/** Exit code of `timeout` from coreutils when it had to end the program. */
const TIMEOUT_CODE = 124;

/**
 * Environment of everything in the lab. /usr/bin comes first: a machine may have a docker client of another make in
 * /usr/local/bin, and a host has what its packages brought. Nothing of the caller's environment (proxies!) gets in.
 */
export function nodeEnv(lab: string, node: string): Readonly<Record<string, string>> {
  return {
    PATH: "/usr/bin:/usr/sbin:/bin:/sbin:/usr/local/bin:/usr/local/sbin",
    HOME: "/root",
    LANG: "C.UTF-8",
    TERM: process.env.TERM ?? "dumb",
    [MARK_LAB]: lab,
    [MARK_NODE]: node,
  };
}

/** The argv that runs `argv` in a node, from the machine; for callers that spawn by themselves (a terminal). */
export function argvInNode(lab: string, node: string, argv: readonly string[]): readonly string[] {
  const { pid } = processOf(lab, node);
  return ["nsenter", "--target", String(pid), "--all", "--root", "--wdns=/", "--", ...argv];
}

/**
 * Runs a program in a host of a lab and hands back whatever exit code it had.
 * @throws AppError `not-found` (no such lab), `unavailable` (host is off, or the program took longer than `timeoutMs`).
 */
export async function execInHost(
  lab: string,
  host: string,
  argv: readonly string[],
  options: ExecOptions = {},
): Promise<CommandResult> {
  const timeoutMs = options.timeoutMs ?? EXEC_TIMEOUT_MS;
  const bounded = ["timeout", "--kill-after=1", String(timeoutMs / 1000), ...argv];
  const result = await runCommand(argvInNode(lab, host, bounded), {
    env: { ...nodeEnv(lab, host), ...options.env },
    // The outer deadline only matters when the inner one fails.
    timeoutMs: timeoutMs + 5000,
    ...(options.stdin === undefined ? {} : { stdin: options.stdin }),
    ...(options.stdinFile === undefined ? {} : { stdinFile: options.stdinFile }),
  });
  if (result.code === TIMEOUT_CODE) {
    throw new AppError("unavailable", `Cannot finish "${argv.join(" ")}" on ${host}: not done after ${timeoutMs} ms`);
  }
  return result;
}

/** As `execInHost`; any exit code but 0 is an AppError `unavailable`. Returns standard output. */
export async function mustExec(
  lab: string,
  host: string,
  argv: readonly string[],
  options: ExecOptions = {},
): Promise<string> {
  const result = await execInHost(lab, host, argv, options);
  if (result.code !== 0) {
    const said = (result.stderr.trim() || result.stdout.trim()).slice(-2000);
    throw new AppError("unavailable", `Cannot run "${argv.join(" ")}" on ${host}: exit code ${result.code}: ${said}`);
  }
  return result.stdout;
}

/**
 * Starts a program that stays, as a child of the node's process 1, writing to `logs/<node>-<log>.log` of the lab.
 * Resolves when it was started; whether it works is for the caller to ask.
 */
export async function startDaemon(
  lab: string,
  node: string,
  daemon: { readonly log: string; readonly argv: readonly string[]; readonly enter?: readonly string[] },
): Promise<void> {
  const logs = labPaths(lab).logs;
  mkdirSync(logs, { recursive: true });
  const log = openSync(`${logs}/${node}-${daemon.log}.log`, "a", 0o600);
  const enter = daemon.enter ?? argvInNode(lab, node, []);
  // setsid forks when it must and its parent ends: the daemon then belongs to process 1 inside, and nothing waits outside.
  const [program = "", ...rest] = [...enter, "setsid", "--fork", ...daemon.argv];
  try {
    await new Promise<void>((resolve, reject) => {
      const child = spawn(program, rest, { stdio: ["ignore", log, log], env: nodeEnv(lab, node) });
      child.on("error", reject);
      child.on("exit", (code) => {
        if (code === 0) resolve();
        else reject(new AppError("unavailable", `Cannot start "${daemon.argv[0]}" on ${node}: exit code ${code}`));
      });
    });
  } finally {
    closeSync(log);
  }
}

/** Writes a file of a node that is on, through its own root: changing the disk beneath a mounted overlay is undefined. */
export function writeInNode(lab: string, node: string, path: string, text: string): void {
  writeFileSync(`/proc/${processOf(lab, node).pid}/root${path}`, text);
}

/** Null when there is no such file. Symbolic links in `path` must be relative. */
export function readInNode(lab: string, node: string, path: string): string | null {
  try {
    return readFileSync(`/proc/${processOf(lab, node).pid}/root${path}`, "utf8");
  } catch (error) {
    if (error instanceof AppError) throw error;
    return null;
  }
}
