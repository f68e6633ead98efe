import { AppError } from "../../model/error.ts";
import { FRAME_BYTES_MAX } from "../../model/wire.ts";
import type { Transport, TransportConnection, TransportListener } from "../ports/transport.ts";

export interface WebSocketTransportOptions {
  /** PEM of the cluster's CA: no other is trusted. */
  readonly caPem: string;
  /** The name in the server's certificate, whatever address is dialled. */
  readonly serverName: string;
  readonly credential: string;
}

const PATH = "/api/agent";
/** A server or a network that is gone without a word is noticed after two of these. */
const PING_EVERY_MS = 2000;
const PING_MISSES_MAX = 2;

/** Bun's client has more than the standard's: headers, TLS options, pings. */
type BunWebSocket = WebSocket & { ping(): void; terminate(): void };

/** The stream to a server as a WebSocket over TLS (wss). */
export function webSocketTransport(options: WebSocketTransportOptions): Transport {
  return { connect: (url, listener, timeoutMs) => open(options, { url, listener, timeoutMs }) };
}

function open(
  { caPem, serverName, credential }: WebSocketTransportOptions,
  {
    url,
    listener,
    timeoutMs,
  }: { readonly url: string; readonly listener: TransportListener; readonly timeoutMs: number },
): Promise<TransportConnection> {
  const { promise, resolve, reject } = Promise.withResolvers<TransportConnection>();
  const target = new URL(PATH, url);
  target.protocol = "wss:";
  const init = { headers: { authorization: `Bearer ${credential}` }, tls: { ca: caPem, serverName } };
  const socket = new WebSocket(target.href, init as unknown as string[]) as BunWebSocket;
  let opened = false;
  let problem = "";
  let unanswered = 0;
  let pings: ReturnType<typeof setInterval> | null = null;
  const end = (reason: string): void => {
    clearTimeout(timer);
    if (pings !== null) clearInterval(pings);
    if (opened) listener.closed(reason);
    else reject(connectError(url, reason));
  };
  const timer = setTimeout(() => {
    problem = `no answer within ${timeoutMs / 1000} s`;
    socket.terminate();
  }, timeoutMs);
  socket.addEventListener("open", () => {
    opened = true;
    clearTimeout(timer);
    pings = setInterval(() => {
      if (unanswered >= PING_MISSES_MAX) {
        problem = "the server does not answer any more";
        socket.terminate();
        return;
      }
      unanswered += 1;
      socket.ping();
    }, PING_EVERY_MS);
    resolve({
      send: (frame) => {
        if (socket.readyState === WebSocket.OPEN) socket.send(frame);
      },
      bufferedBytes: () => socket.bufferedAmount,
      close: () => socket.close(1000, "the agent ends"),
    });
  });
  socket.addEventListener("pong", () => {
    unanswered = 0;
  });
  socket.addEventListener("message", (event: MessageEvent) => {
    unanswered = 0;
    if (typeof event.data === "string" && event.data.length <= FRAME_BYTES_MAX) listener.frame(event.data);
  });
  socket.addEventListener("error", (event) => {
    // Ending it ourselves is an error event too; the reason is known then.
    if (problem !== "") return;
    problem = "message" in event && typeof event.message === "string" ? event.message : "the connection failed";
  });
  socket.addEventListener("close", (event: CloseEvent) =>
    end(problem || event.reason || `closed with code ${event.code}`),
  );
  return promise;
}

function connectError(url: string, reason: string): AppError {
  if (/status code: 40[13]/.test(reason)) {
    return new AppError("denied", `Cannot connect to server ${url}: it does not take this host's credential`, {
      hint: "apollo agent --server https://ADDRESS:8443 --token TOKEN joins again, with a token from apollo host token",
    });
  }
  const certificate = /certificate|altnames/i.test(reason);
  const why = reason.replace(/^WebSocket connection to '[^']*' failed: /, "");
  const hint = certificate
    ? "Another server answers there, or the cluster's CA was replaced: join again with a new token"
    : "Check that the server runs and that this host reaches its address";
  return new AppError("unavailable", `Cannot connect to server ${url}: ${why}`, { hint });
}
