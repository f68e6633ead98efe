#!/usr/bin/env bun
/** Entry of the `apollo` binary. */
import { readFileSync, statSync } from "node:fs";
import { basename } from "node:path";
import { AppError } from "../model/error.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import type { CliContext } from "./cli-context.ts";
import { CNI_NAME } from "./cni-name.ts";
import type { ConfigFiles } from "./connection.ts";
import { EXIT_INTERRUPTED } from "./exit-codes.ts";
import { programs } from "./programs.ts";
import { runCli } from "./run-cli.ts";
import { openTerminal } from "./terminal.ts";

const files: ConfigFiles = {
  read: (path) => {
    try {
      return { text: readFileSync(path, "utf8"), mode: statSync(path).mode };
    } catch (cause) {
      const code = cause instanceof Error && "code" in cause ? cause.code : null;
      // Not being allowed to look into the server's directory is the same as there being none: the next place is tried.
      if (code === "ENOENT" || code === "ENOTDIR" || (code === "EACCES" && path.startsWith("/var/lib/"))) return null;
      throw new AppError("denied", `Cannot read ${path}`, { cause, hint: "Run this as a user who may read it" });
    }
  },
};

/** One Ctrl-C arrives twice when both npm and the terminal's process group pass it on: within this time it is the same one. */
const SAME_SIGNAL_MS = 500;

/** The first signal asks everything to end; the second does not wait for it. */
function abortOnSignals(): AbortSignal {
  const end = new AbortController();
  let firstMs = 0;
  const stop = (): void => {
    const nowMs = systemClock.monotonicMs();
    if (!end.signal.aborted) {
      firstMs = nowMs;
      end.abort();
    } else if (nowMs - firstMs > SAME_SIGNAL_MS) process.exit(EXIT_INTERRUPTED);
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  return end.signal;
}

const context: CliContext = {
  env: process.env,
  files,
  stdin: () => process.stdin,
  stdout: openTerminal(process.stdout, process.env),
  stderr: openTerminal(process.stderr, process.env),
  clock: systemClock,
  signal: abortOnSignals(),
  programs,
  setExitCode: () => undefined,
};

// Container runtimes start their plugins by name and say what they want in the environment.
const asCni = basename(process.argv0) === CNI_NAME;
process.exit(asCni ? await programs.runCni(context) : await runCli(process.argv.slice(2), context));
