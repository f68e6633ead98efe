import type { Socket } from "bun";
import { formatEndpoint } from "../../model/ip6.ts";
import type { HttpProbe, Prober, ProbeResult } from "../ports/prober.ts";
import { parseStatusLine } from "./parse-status-line.ts";

/** More of a body than this is not read; the instance may see its connection cut then. */
const BODY_BYTES_MAX = 256 * 1024;

interface Attempt {
  readonly address: string;
  readonly port: number;
  readonly tls: boolean;
  readonly timeoutMs: number;
  /** Sent when the connection is open; null closes it at once. */
  readonly request: string | null;
}

/**
 * Probes over plain sockets. A full HTTP client would follow the environment's proxy settings, keep connections and
 * read whole bodies; a check needs one status line.
 */
export const socketProber: Prober = {
  http: ({ address, port, path, tls, timeoutMs }: HttpProbe) =>
    ask({ address, port, tls, timeoutMs, request: renderRequest(address, port, path) }) as Promise<ProbeResult<number>>,
  tcp: async (address, port, timeoutMs) => {
    const result = await ask({ address, port, tls: false, timeoutMs, request: null });
    return result.ok ? { ok: true, answer: null } : result;
  },
};

function renderRequest(address: string, port: number, path: string): string {
  // A path from an app's definition must not be able to add lines of its own.
  const target = path.replaceAll(/[^\x21-\x7e]/g, (character) => encodeURIComponent(character));
  const lines = [
    `GET ${target} HTTP/1.1`,
    `Host: ${formatEndpoint(address, port)}`,
    "User-Agent: apollo-health-check",
    "Accept: */*",
    "Connection: close",
  ];
  return `${lines.join("\r\n")}\r\n\r\n`;
}

/** The status of the answer, or 0 for an open port where nothing was asked. */
function ask(attempt: Attempt): Promise<ProbeResult<number>> {
  const { promise, resolve } = Promise.withResolvers<ProbeResult<number>>();
  let opened: Socket<undefined> | null = null;
  let expired = false;
  let head = "";
  let bytes = 0;
  const decoder = new TextDecoder("latin1");
  const timer = setTimeout(() => {
    expired = true;
    resolve({ ok: false, cause: `no answer within ${attempt.timeoutMs / 1000} s` });
    opened?.terminate();
  }, attempt.timeoutMs);
  const close = (): void => {
    clearTimeout(timer);
    resolve({
      ok: false,
      cause: head === "" ? "the connection was closed without an answer" : "the answer is not HTTP",
    });
  };
  const begin = (socket: Socket<undefined>): void => {
    opened = socket;
    if (attempt.request === null) {
      resolve({ ok: true, answer: 0 });
      socket.end();
      return;
    }
    socket.write(attempt.request);
    socket.flush();
  };
  const connecting = Bun.connect({
    hostname: attempt.address,
    port: attempt.port,
    ...(attempt.tls ? { tls: { rejectUnauthorized: false } } : {}),
    socket: {
      // Over TLS the port is open before anyone can be spoken to.
      open: (socket) => (attempt.tls ? undefined : begin(socket)),
      handshake: (socket) => (attempt.tls ? begin(socket) : undefined),
      data: (socket, piece) => {
        bytes += piece.length;
        if (head.length < STATUS_LINE_MAX) head += decoder.decode(piece);
        const status = parseStatusLine(head);
        if (status === null && head.length >= STATUS_LINE_MAX) resolve({ ok: false, cause: "the answer is not HTTP" });
        if (status !== null) resolve({ ok: true, answer: status });
        // The rest is read and dropped, so that the instance does not log a broken connection for every check.
        if (bytes > BODY_BYTES_MAX) socket.terminate();
      },
      end: (socket) => {
        socket.end();
      },
      close,
      error: (_socket, error) => {
        clearTimeout(timer);
        resolve({ ok: false, cause: describe(error) });
      },
    },
  });
  connecting.then(
    (socket) => {
      opened = socket;
      // The connection came about after we gave it up.
      if (expired) socket.terminate();
    },
    (error: unknown) => {
      clearTimeout(timer);
      resolve({ ok: false, cause: describe(error) });
    },
  );
  return promise;
}

const STATUS_LINE_MAX = 1024;

function describe(error: unknown): string {
  const code = typeof error === "object" && error !== null && "code" in error ? String(error.code) : "";
  const words: Readonly<Record<string, string>> = {
    ECONNREFUSED: "connection refused",
    ECONNRESET: "connection reset",
    EHOSTUNREACH: "no route to the instance",
    ENETUNREACH: "no route to the instance",
    ETIMEDOUT: "no answer to the connection attempt",
  };
  return words[code] ?? (error instanceof Error ? error.message : String(error));
}
