import { AppError } from "../../model/error.ts";

/** HAProxy answers in well under a millisecond; one that needs this long is stuck. */
const ANSWER_TIMEOUT_MS = 3000;
/** 10,000 servers make 4 MB of statistics. */
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;

/**
 * Asks HAProxy one thing over its socket and resolves with the whole answer. One connection a command, as HAProxy ends
 * the answer by closing; that costs 0.2 ms and leaves no state to mend after an error.
 *
 * @throws AppError `not-found` when nothing listens there, `unavailable` when it does not answer in 3 s.
 */
export async function askAdminSocket(path: string, command: string): Promise<string> {
  if (command.includes("\n")) throw new Error(`Unexpected line break in HAProxy command: ${command}`);
  const chunks: Uint8Array[] = [];
  let size = 0;
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  // A refused connection rejects `Bun.connect` first: nobody then waits for this one.
  promise.catch(() => undefined);
  const fail = (what: string, cause?: unknown): void =>
    reject(new AppError("unavailable", `Cannot ask HAProxy "${command}": ${what}`, { cause, details: { path } }));
  const timer = setTimeout(() => fail(`no answer within ${ANSWER_TIMEOUT_MS} ms`), ANSWER_TIMEOUT_MS);
  try {
    const socket = await Bun.connect({
      unix: path,
      socket: {
        data: (_, bytes) => {
          chunks.push(Uint8Array.from(bytes));
          size += bytes.length;
          if (size > ANSWER_BYTES_MAX) fail(`the answer is longer than ${ANSWER_BYTES_MAX} bytes`);
        },
        close: () => resolve(Buffer.concat(chunks).toString("utf8")),
        error: (_, error) => fail(error.message, error),
      },
    }).catch((cause: unknown) => {
      throw new AppError("not-found", `Cannot reach HAProxy at ${path}: nothing listens there`, { cause });
    });
    try {
      socket.write(`${command}\n`);
      return await promise;
    } finally {
      socket.end();
    }
  } finally {
    clearTimeout(timer);
  }
}
