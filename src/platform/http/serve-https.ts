import { AppError, describeError, HTTP_STATUS } from "../../model/error.ts";
import { FRAME_BYTES_MAX } from "../../model/wire.ts";
import type { Clock } from "../ports/clock.ts";
import type { HttpHandler, HttpRequest, HttpResponse, HttpUpgrade } from "../ports/http.ts";
import { OwnAddresses } from "./own-addresses.ts";
import { Overdue } from "./overdue.ts";
import { isLoopback, wrapRequest } from "./bun-request.ts";
import { toBunResponse } from "./bun-response.ts";
import { closeSockets, socketHandler, type BunSocket, type SocketData } from "./bun-socket.ts";

export interface ServeOptions {
  /** Address to listen on: "0.0.0.0", "::" or one of the machine's own. */
  readonly hostname: string;
  /** 0 takes any free port. */
  readonly port: number;
  /** PEM certificate and key. */
  readonly identity: { readonly certificate: string; readonly key: string };
  /** Port of a second, plain HTTP listener on 127.0.0.1; null for none. */
  readonly plainPort: number | null;
  readonly handle: HttpHandler;
  /** Largest request body; default 8 MiB. */
  readonly bodyBytesMax?: number;
  /** Requests whose bodies may be as large as `LARGE_BODY_BYTES_MAX`: it must refuse those who may not send them. */
  readonly isLarge?: ((request: HttpRequest) => boolean) | undefined;
  /** Time for a whole answer but for streams; default 60 s. */
  readonly requestTimeoutMs?: number;
  /** Requests that see to their own end, such as those that wait for a change: no time is set for them. */
  readonly isLong?: (request: HttpRequest) => boolean;
  readonly clock: Clock;
  /** Told of what is no AppError; `id` is what the client got to quote. */
  readonly onInternalError: (
    id: string,
    error: unknown,
    request: { readonly method: string; readonly path: string },
  ) => void;
}

export interface RunningServer {
  readonly port: number;
  readonly plainPort: number | null;
  /** Stops listening, closes WebSockets (1001), waits up to `graceMs` for requests under way. */
  close(graceMs: number): Promise<void>;
}

type BunServer = Bun.Server<SocketData>;

const BODY_BYTES_MAX = 8 * 1024 * 1024;
/** A backup of a large registry; it is held in memory, some times over. */
const LARGE_BODY_BYTES_MAX = 256 * 1024 * 1024;
const REQUEST_TIMEOUT_MS = 60_000;
/** A connection that sends nothing for this long is closed; also ends a request head that comes drop by drop. */
const IDLE_TIMEOUT_S = 30;
const BUN_TIMEOUT_S_MAX = 255;
const SOCKET_IDLE_S = 60;
/** A console or agent that falls this far behind is cut off and starts anew from a snapshot. */
const SOCKET_BACKLOG_BYTES_MAX = 4 * FRAME_BYTES_MAX;

/**
 * Listens for HTTPS, and for plain HTTP on loopback when asked. Never redirects and never rewrites a path but for dot
 * segments: ids with slashes come encoded or doubled, and only the router knows what they mean.
 * @throws AppError `conflict` when a port is taken, `unavailable` when the address is not this machine's.
 */
export function serveHttps(options: ServeOptions): RunningServer {
  const sockets = new Set<BunSocket>();
  const tls = { cert: options.identity.certificate, key: options.identity.key };
  const secure = listen(options, sockets, { hostname: options.hostname, port: options.port, tls });
  let plain: BunServer | null = null;
  try {
    if (options.plainPort !== null)
      plain = listen(options, sockets, { hostname: "127.0.0.1", port: options.plainPort });
  } catch (error) {
    void secure.stop(true);
    throw error;
  }
  const servers = plain === null ? [secure] : [secure, plain];
  return {
    port: secure.port ?? options.port,
    plainPort: plain?.port ?? null,
    close: (graceMs) => closeAll(servers, sockets, { options, graceMs }),
  };
}

/** The same in plain HTTP on one address, for APIs whose clients expect it so. @throws AppError, see `serveHttps`. */
export function serveHttp(options: Omit<ServeOptions, "identity" | "plainPort">): Omit<RunningServer, "plainPort"> {
  const sockets = new Set<BunSocket>();
  const server = listen(options, sockets, { hostname: options.hostname, port: options.port });
  return { port: server.port ?? options.port, close: (graceMs) => closeAll([server], sockets, { options, graceMs }) };
}

async function closeAll(
  servers: readonly BunServer[],
  sockets: Set<BunSocket>,
  { options, graceMs }: { readonly options: Handling; readonly graceMs: number },
): Promise<void> {
  const done = new AbortController();
  const stopped = Promise.all(servers.map((server) => server.stop()));
  closeSockets(sockets);
  await Promise.race([stopped, options.clock.sleep(graceMs, done.signal)]);
  done.abort();
  await Promise.all(servers.map((server) => server.stop(true)));
}

/** What answering needs to know, whatever the listener. */
type Handling = Omit<ServeOptions, "hostname" | "port" | "identity" | "plainPort">;

interface Place {
  readonly hostname: string;
  readonly port: number;
  readonly tls?: { readonly cert: string; readonly key: string };
}

function listen(options: Handling, sockets: Set<BunSocket>, place: Place): BunServer {
  const { hostname, port } = place;
  const overdue = new Overdue(options.clock, timeoutMs(options));
  const own = new OwnAddresses(options.clock);
  const listening = { options, overdue, own, secure: place.tls !== undefined, local: isLoopback(hostname) };
  try {
    return Bun.serve<SocketData>({
      ...place,
      idleTimeout: IDLE_TIMEOUT_S,
      // Bun would cut the connection without an answer; readBody() refuses at our limit and says so.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      fetch: (request, server) => answer(listening, request, server),
      websocket: {
        ...socketHandler(sockets),
        idleTimeout: SOCKET_IDLE_S,
        sendPings: true,
        maxPayloadLength: FRAME_BYTES_MAX,
        backpressureLimit: SOCKET_BACKLOG_BYTES_MAX,
        closeOnBackpressureLimit: true,
        perMessageDeflate: false,
      },
    });
  } catch (cause) {
    const taken = cause instanceof Error && "code" in cause && cause.code === "EADDRINUSE";
    throw new AppError(
      taken ? "conflict" : "unavailable",
      `Cannot listen on ${hostname}:${port}: ${taken ? "the port is taken" : describeError(cause)}`,
      {
        cause,
        hint: taken
          ? `See who has it with "ss -ltnp sport = :${port}", or choose another port`
          : "Use an address of this machine",
      },
    );
  }
}

interface Listening {
  readonly options: Handling;
  readonly overdue: Overdue;
  readonly own: OwnAddresses;
  readonly secure: boolean;
  /** Listens on a loopback address: whoever comes is on this machine. */
  readonly local: boolean;
}

async function answer(listening: Listening, raw: Request, server: BunServer): Promise<Response | undefined> {
  const { options } = listening;
  let over: AbortController | null = null;
  let isOver = false;
  const request: HttpRequest = wrapRequest(raw, {
    peer: () => peerOf(listening, () => server.requestIP(raw)?.address ?? ""),
    bodyBytesMax: () =>
      options.isLarge?.(request) === true ? LARGE_BODY_BYTES_MAX : (options.bodyBytesMax ?? BODY_BYTES_MAX),
    signal: () => {
      if (isLong) return raw.signal;
      over ??= new AbortController();
      if (isOver) over.abort();
      return AbortSignal.any([raw.signal, over.signal]);
    },
  });
  const isLong = options.isLong?.(request) === true;
  // Else Bun takes a handler that thinks for long for an idle client, and cuts it off.
  const idleS = Math.min(BUN_TIMEOUT_S_MAX, IDLE_TIMEOUT_S + Math.ceil(timeoutMs(options) / 1000));
  server.timeout(raw, isLong ? 0 : idleS);
  const outcome = await settle(
    listening,
    request,
    isLong
      ? null
      : () => {
          isOver = true;
          over?.abort();
        },
  );
  if ("upgrade" in outcome) {
    const data: SocketData = { opener: outcome.upgrade, peer: request.peer, listener: null };
    if (server.upgrade(raw, { data })) return undefined;
    return toBunResponse(errorAnswer(426, "invalid", "This address speaks WebSocket only"), request);
  }
  if (isStream(outcome.body)) server.timeout(raw, 0);
  return toBunResponse(outcome, request);
}

/** Asking Bun for the address is dear, and where only this machine can come from, hardly anybody wants to know it. */
function peerOf({ local, own, secure }: Listening, ask: () => string): HttpRequest["peer"] {
  if (!local) {
    const address = ask();
    return { address, loopback: isLoopback(address) || own.has(address), secure };
  }
  return {
    get address() {
      return ask();
    },
    loopback: true,
    secure,
  };
}

/** The handler's answer, or the one for what it threw, or 503 when its time is over; `end` is null for requests without a limit. */
async function settle(
  { options, overdue }: Listening,
  request: HttpRequest,
  end: (() => void) | null,
): Promise<HttpResponse | HttpUpgrade> {
  try {
    const answering = options.handle(request);
    return await (end === null ? answering : untilLate(answering, overdue, end));
  } catch (error) {
    if (error instanceof AppError) return errorAnswer(statusOf(error), error.code, error.message);
    const id = crypto.randomUUID();
    options.onInternalError(id, error, { method: request.method, path: request.path });
    return errorAnswer(500, "internal", `Internal error; the server's log has it under ${id}`);
  }
}

/** What comes first; one promise instead of the six of a race, since this is done for every request. */
function untilLate(
  answering: Promise<HttpResponse | HttpUpgrade>,
  overdue: Overdue,
  end: () => void,
): Promise<HttpResponse | HttpUpgrade> {
  return new Promise((resolve, reject) => {
    const done = overdue.watch(() => {
      end();
      resolve(errorAnswer(503, "unavailable", "The request took too long"));
    });
    answering.then(
      (answer) => {
        done();
        resolve(answer);
      },
      (error: unknown) => {
        done();
        reject(error as Error);
      },
    );
  });
}

function timeoutMs(options: Handling): number {
  return options.requestTimeoutMs ?? REQUEST_TIMEOUT_MS;
}

function statusOf(error: AppError): number {
  return typeof error.details["status"] === "number" ? error.details["status"] : HTTP_STATUS[error.code];
}

/** For errors that no API has put in its own form: `message` is where Marathon's clients look, `error` where ours do. */
function errorAnswer(status: number, code: string, message: string): HttpResponse {
  return {
    status,
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ message, error: { code, message } }),
  };
}

function isStream(body: HttpResponse["body"]): boolean {
  return body !== null && typeof body !== "string" && !(body instanceof Uint8Array);
}
