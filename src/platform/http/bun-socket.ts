import type { HttpRequest, ServerSocket, SocketListener, SocketOpener } from "../ports/http.ts";

/** What Bun keeps for us with each WebSocket. */
export interface SocketData {
  readonly opener: SocketOpener;
  readonly peer: HttpRequest["peer"];
  listener: SocketListener | null;
}

export type BunSocket = Bun.ServerWebSocket<SocketData>;

const GOING_AWAY = 1001;

export interface SocketHandler {
  open(socket: BunSocket): void;
  message(socket: BunSocket, frame: string | Uint8Array): void;
  drain(socket: BunSocket): void;
  close(socket: BunSocket, code: number, reason: string): void;
}

/** Joins Bun's socket events to our listeners; `open` holds the living ones, since Bun gives no list of them. */
export function socketHandler(open: Set<BunSocket>): SocketHandler {
  return {
    open(socket) {
      socket.binaryType = "uint8array";
      open.add(socket);
      socket.data.listener = socket.data.opener(wrapSocket(socket));
    },
    message(socket, frame) {
      socket.data.listener?.message(frame);
    },
    drain(socket) {
      socket.data.listener?.drain?.();
    },
    close(socket, code, reason) {
      open.delete(socket);
      socket.data.listener?.closed(code, reason);
      socket.data.listener = null;
    },
  };
}

function wrapSocket(socket: BunSocket): ServerSocket {
  return {
    peer: socket.data.peer,
    // -1 says that the frame waits in the buffer, 0 that it is lost.
    send: (frame) => socket.send(frame) !== 0,
    bufferedBytes: () => socket.getBufferedAmount(),
    close: (code, reason) => socket.close(code, reason),
  };
}

/** Tells every client that the server goes away. */
export function closeSockets(open: ReadonlySet<BunSocket>): void {
  for (const socket of open) socket.close(GOING_AWAY, "server stops");
}
