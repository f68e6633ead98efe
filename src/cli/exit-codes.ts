import { EXIT_CODE } from "../model/error.ts";

/** Ended by Ctrl-C: what shells give a program that SIGINT killed. */
export const EXIT_INTERRUPTED = 130;

export interface ExitCodeRow {
  readonly code: number;
  readonly name: string;
  readonly meaning: string;
}

/** Every exit code of every command; `apollo exec` gives that of the command it ran. */
export const EXIT_CODE_TABLE: readonly ExitCodeRow[] = [
  { code: 0, name: "ok", meaning: "Done" },
  { code: EXIT_CODE.internal, name: "internal", meaning: "A fault of Apollo, or a step of the demo that did not hold" },
  {
    code: EXIT_CODE.invalid,
    name: "invalid",
    meaning: "The command line or the given file is wrong; nothing was changed",
  },
  {
    code: EXIT_CODE["not-found"],
    name: "not-found",
    meaning: "There is no such app, instance, host, service or deployment",
  },
  {
    code: EXIT_CODE.conflict,
    name: "conflict",
    meaning: "Something else is in the way: a deployment, a name or a port that is taken",
  },
  {
    code: EXIT_CODE.unavailable,
    name: "unavailable",
    meaning: "Something does not answer, or did not come about in time",
  },
  { code: EXIT_CODE.denied, name: "denied", meaning: "The token or the server's certificate is not accepted" },
  { code: EXIT_INTERRUPTED, name: "interrupted", meaning: "Ended by Ctrl-C" },
];
