import type { ChannelRequest } from "../model/wire.ts";
import type { ServerSocket, SocketListener, SocketOpener } from "../platform/ports/http.ts";
import type { AgentSession } from "./agent-session.ts";
import type { ChannelTable } from "./channel-table.ts";

/** First byte of a frame, see api/native/shapes.ts. */
const FROM_CLIENT = { input: 0, endInput: 1, resize: 2 } as const;
const TO_CLIENT = { stdout: 1, stderr: 2, end: 3 } as const;

const NORMAL_CLOSURE = 1000;
/** A client that does not read holds this much at most; then it is cut off, rather than the server filled up. */
const BACKLOG_BYTES_MAX = 8 * 1024 * 1024;
const COLUMNS_MAX = 10_000;

/** Joins a client's WebSocket to a logs or exec stream of the instance's host. */
export function containerSocket(channels: ChannelTable, session: AgentSession, request: ChannelRequest): SocketOpener {
  return (socket): SocketListener => {
    const channel = channels.open(session, request, {
      output: (stream, bytes) => {
        if (socket.bufferedBytes() > BACKLOG_BYTES_MAX) {
          channels.abandon(channel);
          end(socket, null, "the client reads too slowly");
        } else socket.send(frame(TO_CLIENT[stream], bytes));
      },
      end: (exitCode, error) => end(socket, exitCode, error),
    });
    return {
      message: (data) => {
        if (typeof data === "string") return;
        const rest = data.subarray(1);
        if (data[0] === FROM_CLIENT.input && rest.length > 0) channels.input(channel, rest);
        else if (data[0] === FROM_CLIENT.endInput) channels.endInput(channel);
        else if (data[0] === FROM_CLIENT.resize) {
          const size = parseSize(rest);
          if (size !== null) channels.resize(channel, size.columns, size.rows);
        }
      },
      closed: () => channels.abandon(channel),
    };
  };
}

function end(socket: ServerSocket, exitCode: number | null, error: string | null): void {
  socket.send(frame(TO_CLIENT.end, new TextEncoder().encode(JSON.stringify({ exitCode, error }))));
  socket.close(NORMAL_CLOSURE, "end of stream");
}

function frame(kind: number, bytes: Uint8Array): Uint8Array {
  const whole = new Uint8Array(bytes.length + 1);
  whole[0] = kind;
  whole.set(bytes, 1);
  return whole;
}

/** A size that cannot be read is left out: the terminal keeps the one it has. */
function parseSize(bytes: Uint8Array): { columns: number; rows: number } | null {
  try {
    const { columns, rows } = JSON.parse(new TextDecoder().decode(bytes)) as { columns?: unknown; rows?: unknown };
    const fits = (value: unknown): value is number =>
      Number.isInteger(value) && Number(value) > 0 && Number(value) < COLUMNS_MAX;
    return fits(columns) && fits(rows) ? { columns, rows } : null;
  } catch {
    return null;
  }
}
