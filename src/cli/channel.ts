import { AppError } from "../model/error.ts";
import type { ApolloClient } from "./client.ts";
import { connectionError } from "./client.ts";

/** First byte of each binary frame; see api/native/shapes.ts. */
const FRAME = { input: 0, stdout: 1, stderr: 2 } as const;
const FRAME_INPUT_END = 1;
const FRAME_RESIZE = 2;
const FRAME_END = 3;
/** Input waits while this much is on its way: a pipe may be faster than the container. */
const UNSENT_BYTES_MAX = 1024 * 1024;

export interface ChannelEnd {
  readonly exitCode: number | null;
  readonly error: string | null;
}

export type ChannelOutput = (stream: "stdout" | "stderr", bytes: Uint8Array) => void;

/** A byte stream to a container: logs or exec. */
export interface Channel {
  /** Settles when the other side ended it. @throws AppError `unavailable` when it broke off. */
  readonly done: Promise<ChannelEnd>;
  write(bytes: Uint8Array): void;
  endInput(): void;
  resize(columns: number, rows: number): void;
  /** Whether input should wait. */
  isFull(): boolean;
  /** Ends it from here; `done` then resolves without an exit code. */
  close(): void;
}

/** Opens a channel; output goes to `onOutput` as it comes. */
export function openChannel(client: ApolloClient, path: string, onOutput: ChannelOutput): Channel {
  const url = `${client.connection.url.replace(/^http/, "ws")}${path}`;
  const socket = new WebSocket(url, { headers: client.headers(), tls: client.tls() });
  socket.binaryType = "arraybuffer";
  const { promise, resolve, reject } = Promise.withResolvers<ChannelEnd>();
  // Whoever opened it may look at `done` later.
  promise.catch(() => undefined);
  const waiting: Uint8Array<ArrayBuffer>[] = [];
  let closed = false;
  const send = (kind: number, payload: Uint8Array): void => {
    const frame = new Uint8Array(payload.length + 1);
    frame[0] = kind;
    frame.set(payload, 1);
    if (socket.readyState === WebSocket.OPEN) socket.send(frame);
    else if (socket.readyState === WebSocket.CONNECTING) waiting.push(frame);
  };
  socket.addEventListener("open", () => {
    for (const frame of waiting.splice(0)) socket.send(frame);
  });
  socket.addEventListener("message", (event: MessageEvent<unknown>) => {
    if (!(event.data instanceof ArrayBuffer)) return;
    const frame = new Uint8Array(event.data);
    const payload = frame.subarray(1);
    if (frame[0] === FRAME.stdout) onOutput("stdout", payload);
    else if (frame[0] === FRAME.stderr) onOutput("stderr", payload);
    else if (frame[0] === FRAME_END) {
      resolve(parseEnd(payload));
      socket.close();
    }
  });
  socket.addEventListener("error", (event) => {
    const message = "message" in event ? String(event.message) : "the connection failed";
    reject(connectionError(new Error(message), client.connection, false));
  });
  socket.addEventListener("close", (event) => {
    if (closed) resolve({ exitCode: null, error: null });
    const reason = event.reason === "" ? `code ${event.code}` : event.reason;
    reject(new AppError("unavailable", `Cannot go on with the stream: the server closed it (${reason})`));
  });
  return {
    done: promise,
    write: (bytes) => send(FRAME.input, bytes),
    endInput: () => send(FRAME_INPUT_END, new Uint8Array()),
    resize: (columns, rows) => send(FRAME_RESIZE, new TextEncoder().encode(JSON.stringify({ columns, rows }))),
    isFull: () => socket.bufferedAmount > UNSENT_BYTES_MAX,
    close: () => {
      closed = true;
      resolve({ exitCode: null, error: null });
      socket.close();
    },
  };
}

function parseEnd(payload: Uint8Array): ChannelEnd {
  try {
    const value = JSON.parse(new TextDecoder().decode(payload)) as Partial<ChannelEnd>;
    return { exitCode: value.exitCode ?? null, error: value.error ?? null };
  } catch {
    return { exitCode: null, error: "the server ended the stream in an unknown form" };
  }
}
