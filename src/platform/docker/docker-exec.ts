import { readFile } from "node:fs/promises";
import type { Duplex } from "node:stream";
import type { ExecSession, OutputSink } from "../ports/engine.ts";
import type { DockerClient } from "./docker-client.ts";
import { deliverOutput } from "./docker-output.ts";

export interface ExecOptions {
  readonly id: string;
  readonly argv: readonly string[];
  readonly tty: boolean;
  readonly stdin: boolean;
}

interface ExecJson {
  readonly ExitCode?: number | null;
  readonly Running?: boolean;
  readonly Pid?: number;
}

/** Starts a program in a running container. @throws AppError not-found | conflict | unavailable. */
export async function openExec(client: DockerClient, options: ExecOptions, sink: OutputSink): Promise<ExecSession> {
  const attempt = {
    what: `run "${options.argv.join(" ")}" in container "${options.id.slice(0, 12)}"`,
    object: options.id,
  };
  const { Id: execId } = (await client.call({
    method: "POST",
    path: `/containers/${encodeURIComponent(options.id)}/exec`,
    body: { AttachStdin: options.stdin, AttachStdout: true, AttachStderr: true, Tty: options.tty, Cmd: options.argv },
    attempt,
  })) as { Id: string };
  // Without input a plain answer does, and one connection less is kept open both ways.
  const stream = await client.stream({
    method: "POST",
    path: `/exec/${execId}/start`,
    body: { Detach: false, Tty: options.tty },
    attempt,
    hijack: options.stdin,
  });
  const abort = new AbortController();
  const inspect = (): Promise<ExecJson> =>
    client.call({ method: "GET", path: `/exec/${execId}/json`, attempt }) as Promise<ExecJson>;
  const done = deliverOutput(stream, { tty: options.tty, sink, signal: abort.signal }).then(async () =>
    abort.signal.aborted ? null : ((await inspect()).ExitCode ?? null),
  );
  const input = options.stdin ? (stream as unknown as Duplex) : null;
  // Writing to a process that has just ended is no fault: its end is told by `done`.
  input?.on("error", () => undefined);
  return {
    done,
    write: (bytes) => void input?.write(bytes),
    endInput: () => void input?.end(),
    resize: async (columns, rows) => {
      if (columns < 1 || rows < 1) return;
      await client.call({
        method: "POST",
        path: `/exec/${execId}/resize`,
        query: { h: String(rows), w: String(columns) },
        attempt,
      });
    },
    close: () => {
      if (abort.signal.aborted) return;
      abort.abort();
      void endProcess(options.id, inspect);
    },
  };
}

/**
 * The engine lets a program run on when its caller leaves; a health check that hangs would leave one more each interval.
 * It runs as a process of this host, so we end it, after its control group has shown that the id is not someone else's.
 */
async function endProcess(containerId: string, inspect: () => Promise<ExecJson>): Promise<void> {
  try {
    const { Running, Pid } = await inspect();
    if (Running !== true || Pid === undefined || Pid <= 1) return;
    const groups = await readFile(`/proc/${Pid}/cgroup`, "utf8");
    if (groups.includes(containerId)) process.kill(Pid, "SIGKILL");
  } catch {
    // It ended by itself, or runs where we cannot see it: then only the engine could end it, and has no call for that.
  }
}
