import { AppError, describeError } from "../../model/error.ts";

export interface MachineLock {
  release(): void;
}

/** Whoever holds a lock answers at once; a process that is stopped (SIGSTOP) does not. */
const ANSWER_MS_MAX = 500;

/**
 * Makes this process the only one of its kind in this network namespace, which is what a bridge and its routes belong to. The
 * lock is an abstract Unix socket: the kernel ends it with the process, so that none is ever left behind. It answers
 * every caller with `holder`, a line for people.
 *
 * @throws AppError `conflict` when another process has it, with what that says of itself; `unavailable` when there are
 *   no such sockets.
 */
export async function lockMachine(name: string, holder: string): Promise<MachineLock> {
  const address = `\0apollo-${name}`;
  try {
    const listener = Bun.listen({
      unix: address,
      socket: {
        open: (socket) => void socket.end(`${holder}\n`),
        data: () => undefined,
      },
    });
    // A lock keeps no program running.
    listener.unref();
    return { release: () => listener.stop(true) };
  } catch (cause) {
    if (!isTaken(cause)) {
      throw new AppError("unavailable", `Cannot lock "${name}" on this machine: ${describeError(cause)}`, { cause });
    }
    const other = (await askHolder(address)) || "another process";
    throw new AppError("conflict", `Cannot start the ${name}: ${other} runs on this machine already`, {
      cause,
      hint: "One machine has one: stop the other first, systemctl stop apollo-agent",
    });
  }
}

function isTaken(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "EADDRINUSE";
}

async function askHolder(address: string): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  const timer = setTimeout(() => resolve(""), ANSWER_MS_MAX);
  let text = "";
  try {
    const socket = await Bun.connect({
      unix: address,
      socket: {
        data: (_socket, bytes) => {
          text += bytes.toString("utf8");
        },
        close: () => resolve(text.trim()),
        error: () => resolve(text.trim()),
      },
    });
    const answer = await promise;
    socket.terminate();
    return answer;
  } catch {
    // It ended between the two calls: what it was does not matter any more.
    return "";
  } finally {
    clearTimeout(timer);
  }
}
