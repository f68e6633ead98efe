import { AppError } from "../../model/error.ts";
import type { HttpQuery, HttpRequest } from "../ports/http.ts";

export interface RequestContext {
  /** Called once at most, as is `signal`: most requests are answered without either. */
  readonly peer: () => HttpRequest["peer"];
  /** Called when the body is read. */
  readonly bodyBytesMax: () => number;
  readonly signal: () => AbortSignal;
}

/** Wraps Bun's request as the port has it. What costs something is made when it is first looked at. */
export function wrapRequest(request: Request, context: RequestContext): HttpRequest {
  const { path, search } = splitTarget(request.url);
  let body: Promise<Uint8Array> | undefined;
  let query: HttpQuery | undefined;
  let peer: HttpRequest["peer"] | undefined;
  let signal: AbortSignal | undefined;
  return {
    method: request.method,
    path,
    get query() {
      return (query ??= search === "" ? NO_QUERY : readQuery(search));
    },
    header: (name) => request.headers.get(name),
    body: () => (body ??= readBody(request, context.bodyBytesMax())),
    get peer() {
      return (peer ??= context.peer());
    },
    get signal() {
      return (signal ??= context.signal());
    },
  };
}

const NO_QUERY: HttpQuery = { get: () => null, all: () => [], names: () => [] };

export function isLoopback(address: string): boolean {
  return address === "::1" || /^(::ffff:)?127\./.test(address);
}

/** Cuts by hand: URL's own pathname is right too, but a Host header of nonsense would make its constructor throw. */
function splitTarget(url: string): { readonly path: string; readonly search: string } {
  const start = url.startsWith("/") ? 0 : url.indexOf("/", url.indexOf("://") + 3);
  const target = start < 0 ? "/" : url.slice(start);
  const mark = target.indexOf("?");
  return mark < 0 ? { path: target, search: "" } : { path: target.slice(0, mark), search: target.slice(mark + 1) };
}

function readQuery(search: string): HttpQuery {
  const parameters = new URLSearchParams(search);
  return {
    get: (name) => parameters.get(name),
    all: (name) => [...parameters.getAll(name), ...parameters.getAll(`${name}[]`)],
    names: () => [...new Set(parameters.keys())],
  };
}

/**
 * A body of a known length is taken in one go, which is several times faster in Bun 1.4; one without is read chunk by
 * chunk, so that a client that never ends it costs at most the limit.
 */
async function readBody(request: Request, bytesMax: number): Promise<Uint8Array> {
  const length = request.headers.get("content-length");
  if (Number(length ?? 0) > bytesMax) throw tooLarge(bytesMax);
  if (length !== null && request.headers.get("transfer-encoding") === null) return await readWhole(request);
  if (request.body === null) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of request.body as unknown as AsyncIterable<Uint8Array>) {
      size += chunk.byteLength;
      if (size > bytesMax) throw tooLarge(bytesMax);
      chunks.push(chunk);
    }
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw brokenOff(cause);
  }
  return chunks.length === 1 ? (chunks[0] ?? new Uint8Array()) : Buffer.concat(chunks);
}

async function readWhole(request: Request): Promise<Uint8Array> {
  try {
    return new Uint8Array(await request.arrayBuffer());
  } catch (cause) {
    throw brokenOff(cause);
  }
}

function brokenOff(cause: unknown): AppError {
  return new AppError("invalid", "Cannot read request body: the client broke off", { cause, details: { status: 400 } });
}

function tooLarge(bytesMax: number): AppError {
  return new AppError("invalid", `Cannot read request body: it is larger than ${bytesMax} bytes`, {
    details: { status: 413 },
  });
}
