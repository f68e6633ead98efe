/** What handlers of every API see of a request and give as an answer; the adapter in platform/http speaks the protocol. */
export interface HttpQuery {
  /** First value, decoded; null when the name is not there. */
  get(name: string): string | null;
  /** All values, of `name` and of `name[]`, as older clients repeat lists. */
  all(name: string): readonly string[];
  names(): readonly string[];
}

export interface HttpRequest {
  /** Upper case. */
  readonly method: string;
  /** As sent, still percent-encoded and with double slashes, without the query: `/v2/apps//foo%2Fbar`. */
  readonly path: string;
  readonly query: HttpQuery;
  /** Value of a header by its lower-case name, or null. */
  header(name: string): string | null;
  /** Reads the whole body; a second call gives the same bytes. @throws AppError `invalid`, details.status 413, when it is too large. */
  body(): Promise<Uint8Array>;
  readonly peer: {
    readonly address: string;
    /** The client runs on this machine. */
    readonly loopback: boolean;
    /** Came over TLS. */
    readonly secure: boolean;
  };
  /** Aborts when the client has gone or the time for the request is over. */
  readonly signal: AbortSignal;
}

export interface HttpResponse {
  readonly status: number;
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>;
  /** Chunks of an iterable are sent as they come, until it ends or the client goes. */
  readonly body: string | Uint8Array | AsyncIterable<Uint8Array | string> | null;
}

/** The server's end of a WebSocket. */
export interface ServerSocket {
  readonly peer: HttpRequest["peer"];
  /** @returns false when the frame was dropped, since the socket is closed or holds too many unsent bytes. */
  send(frame: string | Uint8Array): boolean;
  /** Bytes that wait for a slow client. */
  bufferedBytes(): number;
  close(code: number, reason: string): void;
}

/** Called one at a time and in order; must not throw operating errors. */
export interface SocketListener {
  message(frame: string | Uint8Array): void;
  /** The client has taken what was buffered. */
  drain?(): void;
  closed(code: number, reason: string): void;
}

/** Accepts an upgrade by giving what makes the listener once the socket is open. */
export type SocketOpener = (socket: ServerSocket) => SocketListener;

/** Instead of an answer: the connection becomes a WebSocket. Only for requests with `upgrade: websocket`. */
export interface HttpUpgrade {
  readonly upgrade: SocketOpener;
}

export type HttpHandler = (request: HttpRequest) => Promise<HttpResponse | HttpUpgrade>;
