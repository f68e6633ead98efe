import { dlopen, FFIType, ptr } from "bun:ffi";
import { readFileSync } from "node:fs";
import type { Log } from "../ports/log.ts";
import type { ProcessWatcher } from "../ports/process-watcher.ts";

// Numbers of Linux, the same on x86-64 and arm64: <asm/unistd.h>, <fcntl.h>, <poll.h>.
const PIDFD_OPEN = 434;
const DUPLICATE_CLOEXEC = 1030;
const POLLIN = 1;

const { i32, i64, u64 } = FFIType;

/** Bun's types have these options and leave out that `connect` takes them. */
const connectDescriptor = Bun.connect as unknown as (options: Bun.FdSocketOptions) => Promise<Bun.Socket<undefined>>;

/**
 * By pidfd (Linux 5.3, pidfd_open(2)): such a file descriptor stands for one process, whatever becomes of its number, and is
 * readable from the moment on in which all of that process has ended, whoever is its parent.
 *
 * Bun 1.4 waits for nothing but its own sockets. One that is made of a foreign descriptor it hands to the event loop's
 * epoll(7) unseen, and closes it when the first read fails, as every read of a pidfd does (ENOTSOCK): so the
 * end of the socket is the news, half a millisecond after the end of the process, and waiting costs nothing. A second
 * descriptor tells whether it is true, so that a Bun that closes it for another reason makes no process look dead.
 */
export class LinuxProcessWatcher implements ProcessWatcher {
  readonly #libc = dlopen("libc.so.6", {
    syscall: { args: [i64, i64, i64], returns: i64 },
    fcntl: { args: [i32, i32, i32], returns: i32 },
    poll: { args: [FFIType.ptr, u64, i32], returns: i32 },
    close: { args: [i32], returns: i32 },
  }).symbols;
  readonly #log: Pick<Log, "debug">;

  constructor({ log }: { readonly log: Pick<Log, "debug"> }) {
    this.#log = log;
  }

  watch(pid: number, group: string, onEnd: () => void): (() => void) | null {
    const process = Number(this.#libc.syscall(PIDFD_OPEN, pid, 0));
    if (process < 0) return null;
    // Looked at after the process is held, and it is still there after the look: so it is that one's group.
    const waiting = isInGroup(pid, group) && !this.#hasEnded(process) ? this.#duplicate(process) : -1;
    if (waiting < 0) {
      this.#libc.close(process);
      return null;
    }
    return this.#wait({ pid, process, waiting }, onEnd);
  }

  #wait({ pid, process, waiting }: Held, onEnd: () => void): () => void {
    let isOver = false;
    let socket: Bun.Socket<undefined> | null = null;
    const finish = (): void => {
      if (isOver) return;
      isOver = true;
      this.#libc.close(process);
    };
    const see = (): void => {
      if (isOver) return;
      const ended = this.#hasEnded(process);
      finish();
      if (ended) onEnd();
      else this.#log.debug("The watch of a process broke off", { pid });
    };
    const handlers: Bun.SocketHandler<undefined> = {
      open: (opened) => {
        socket = opened;
        // Nobody stays for the sake of a watch.
        opened.unref();
        if (isOver) opened.terminate();
      },
      data: () => undefined,
      close: see,
      error: () => undefined,
    };
    connectDescriptor({ fd: waiting, socket: handlers }).catch((error: unknown) => {
      this.#log.debug("Cannot wait for the end of a process", { pid, error });
      finish();
    });
    return () => {
      finish();
      socket?.terminate();
    };
  }

  #hasEnded(process: number): boolean {
    const polled = new DataView(new ArrayBuffer(8));
    polled.setInt32(0, process, true);
    polled.setInt16(4, POLLIN, true);
    return this.#libc.poll(ptr(polled), 1, 0) > 0;
  }

  #duplicate(descriptor: number): number {
    return this.#libc.fcntl(descriptor, DUPLICATE_CLOEXEC, 0);
  }
}

/** Two descriptors of one process: ours, and the one that is Bun's to close. */
interface Held {
  readonly pid: number;
  readonly process: number;
  readonly waiting: number;
}

function isInGroup(pid: number, group: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cgroup`, "utf8").includes(group);
  } catch {
    // It has ended meanwhile.
    return false;
  }
}
