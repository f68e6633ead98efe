import { z } from "zod";
import { AppError } from "../model/error.ts";
import { mustRun } from "./run-command.ts";
import { readShape } from "./tour-client.ts";

/**
 * A program that drives the console in a browser. It is no part of ours: the binary carries neither browser nor driver, so
 * whoever starts the demo from the sources hands it over in this variable, as a JSON list of program and arguments.
 */
export const CONSOLE_CHECK_VARIABLE = "APOLLO_CONSOLE_CHECK";

export interface ConsoleTask {
  /** Of the console, ending in `/ui/`. */
  readonly url: string;
  readonly token: string;
  readonly app: string;
  readonly scaleTo: number;
  readonly hosts: readonly string[];
  /** Where to put a picture when something is not as it must be. */
  readonly failureImage: string;
}

const reportShape = z.object({
  hosts: z.number(),
  before: z.number(),
  after: z.number(),
  addresses: z.array(z.string()),
  passing: z.number(),
  liveMs: z.number(),
  followedMs: z.number(),
  healthyMs: z.number(),
});
/** What a person would have seen: numbers, addresses, and how long they took to show. */
export type ConsoleSight = z.infer<typeof reportShape>;

/** Scales an app by the console's own control and says what the console showed. */
export type ScaleByConsole = (task: ConsoleTask) => Promise<ConsoleSight>;

/** Each single wait of the check has a deadline of its own; this is for a browser that hangs. */
const TIMEOUT_MS = 180_000;

/** Null when nobody handed a check over. @throws AppError `invalid` when it is no list of strings. */
export function readConsoleCheck(env: Readonly<Record<string, string | undefined>>): ScaleByConsole | null {
  const text = env[CONSOLE_CHECK_VARIABLE] ?? "";
  return text === "" ? null : consoleCheckBy(parseArgv(text));
}

/** Runs the check as a program of its own, with the token where other users cannot read it. */
export function consoleCheckBy(argv: readonly string[]): ScaleByConsole {
  return async ({ url, token, app, scaleTo, hosts, failureImage }) => {
    const words = ["--url", url, "--app", app, "--scale-to", String(scaleTo), "--hosts", hosts.join(",")];
    const { PATH = "", HOME = "/root" } = process.env;
    const env = { PATH, HOME, APOLLO_TOKEN: token };
    const said = await mustRun([...argv, ...words, "--failure-image", failureImage], { env, timeoutMs: TIMEOUT_MS });
    return parseSight(said);
  };
}

/** The last line of what the check printed. @throws AppError `unavailable` when it is no report. */
export function parseSight(text: string): ConsoleSight {
  const line = text.trim().split("\n").at(-1) ?? "";
  try {
    return readShape(reportShape, JSON.parse(line), "the console check");
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw new AppError("unavailable", `The console check printed no report: ${line.slice(0, 200)}`, { cause });
  }
}

function parseArgv(text: string): readonly string[] {
  try {
    return z.array(z.string().min(1)).min(1).parse(JSON.parse(text));
  } catch (cause) {
    throw new AppError(
      "invalid",
      `Cannot use ${CONSOLE_CHECK_VARIABLE}: it must be a JSON list of a program and its arguments`,
      { cause },
    );
  }
}
