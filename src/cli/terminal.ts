import { writeSync } from "node:fs";
import { isatty } from "node:tty";

/** One of the two streams that a person or a pipe reads. */
export interface Terminal {
  readonly isTty: boolean;
  /** Whether control sequences for colour are wanted. */
  readonly color: boolean;
  /** Width in characters; 80 when it is not a terminal. */
  columns(): number;
  write(output: string | Uint8Array): void;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** While a reader is slower than we are and its pipe does not block (another program may have set it so). */
const FULL_PIPE_WAIT_MS = 2;

/**
 * Opens stdout or stderr. Written at once and to the end, so that nothing is lost at exit and a slow reader slows us
 * instead of filling memory (`process.stdout.write` of Bun 1.4 reports a pipe as drained before it is). A reader that goes
 * away (`apollo ps | head -1`) ends the program without a message, as it does with any Unix tool.
 */
export function openTerminal(stream: NodeJS.WriteStream & { readonly fd: number }, env: Environment): Terminal {
  const isTty = isatty(stream.fd);
  return {
    isTty,
    color: wantsColor(isTty, env),
    columns: () => (isTty ? stream.columns : 80),
    write: (output) => writeAll(stream.fd, typeof output === "string" ? Buffer.from(output) : output),
  };
}

function writeAll(fd: number, bytes: Uint8Array): void {
  let rest = bytes;
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(fd, rest));
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : null;
      if (code === "EPIPE") process.exit(0);
      if (code !== "EAGAIN") throw error;
      Bun.sleepSync(FULL_PIPE_WAIT_MS);
    }
  }
}

/** NO_COLOR counts when it is set to anything (no-color.org). */
export function wantsColor(isTty: boolean, env: Environment): boolean {
  return isTty && (env["NO_COLOR"] ?? "") === "" && env["TERM"] !== "dumb";
}
