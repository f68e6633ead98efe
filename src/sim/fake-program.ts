/** What a program in a fake container does. */
export interface FakeProgram {
  readonly output: readonly { readonly stream: "stdout" | "stderr"; readonly text: string }[];
  /** Null: it runs until it is killed or its input ends. */
  readonly exitAfterMs: number | null;
  readonly exitCode: number;
  /** It writes what it reads, until the input ends. */
  readonly echo: boolean;
}

const QUIET: FakeProgram = { output: [], exitAfterMs: 0, exitCode: 0, echo: false };

/**
 * The few programs that tests start: `sleep`, `true`, `false`, `cat` and `sh -c` with `echo TEXT [>&2]`, `sleep`
 * and `exit N`. Null: there is no such program.
 */
export function fakeProgram(argv: readonly string[]): FakeProgram | null {
  switch (argv[0]) {
    case "sleep":
      return { ...QUIET, exitAfterMs: null };
    case "true":
      return QUIET;
    case "false":
      return { ...QUIET, exitCode: 1 };
    case "cat":
      return { ...QUIET, exitAfterMs: null, echo: true };
    case "sh":
    case "/bin/sh":
      return argv[1] === "-c" ? script(argv[2] ?? "") : { ...QUIET, exitAfterMs: null };
    default:
      return null;
  }
}

function script(text: string): FakeProgram {
  let program = QUIET;
  for (const command of text.split(";").map((part) => part.trim())) {
    const [verb = "", ...rest] = command.split(" ");
    if (verb === "exit") return { ...program, exitCode: Number(rest[0] ?? 0) };
    if (verb === "sleep") return { ...program, exitAfterMs: null };
    if (verb !== "echo") return { ...program, exitCode: 127 };
    const toError = rest.at(-1) === ">&2";
    const line = {
      stream: toError ? "stderr" : "stdout",
      text: `${rest.slice(0, toError ? -1 : undefined).join(" ")}\n`,
    } as const;
    program = { ...program, output: [...program.output, line] };
  }
  return program;
}
